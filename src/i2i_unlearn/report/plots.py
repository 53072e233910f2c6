"""Plots of the page as SVG that follows its colours, and the picture sheet as PNG. No pyplot, no global state kept.

matplotlib writes fixed colours; each is replaced by a CSS variable of the page, so that one drawing is right in light,
dark and print. Equal input gives equal bytes: no date, no random ids.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.shown import EmbeddingMap
from i2i_unlearn.report.words import MODELS, SETS, in_order, metric_words, model_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE = "#1c2126", "#59636e", "#d5dae0"
# Okabe and Ito's palette: told apart by readers with any kind of colour vision.
MODEL_COLOURS = {
    "teacher": "#0072b2",
    "unlearned": "#d55e00",
    "original": "#7f7f33",
    "reference": "#009e73",
    "reference_2": "#009e71",
    "reference_3": "#009e72",
}
SET_COLOURS = {"forget": "#d55e01", "retain": "#7a8591", "forget_holdout": "#cc79a7", "retain_holdout": "#56b4e9"}
SET_MARKERS = {"forget": "D", "retain": "o", "forget_holdout": "^", "retain_holdout": "s"}
TERM_COLOURS = ("#1c2127", "#0072b3", "#d55e02", "#009e74", "#cc79a8", "#7a8592")
"""Each differs from its like above in the last digit: a colour stands for one CSS variable."""
_VARIABLES = {
    INK: "--ink",
    QUIET: "--quiet",
    LINE: "--line",
    **{colour: f"--{name.partition('_')[0]}" for name, colour in MODEL_COLOURS.items()},
    **{colour: f"--set-{name.replace('_', '-')}" for name, colour in SET_COLOURS.items()},
    **dict(zip(TERM_COLOURS, ("--ink", "--teacher", "--unlearned", "--reference", "--fourth", "--quiet"), strict=True)),
}
NOT_TERMS = frozenset(
    {"step", "phase", "lr", "learning_rate", "seconds", "images_per_second", "gradient_norm", "grad_norm"}
)
_LONGEST_LABEL = 30
_MOST_POINTS = 400  # of a curve: more than a screen shows


def loss_plot(steps: Sequence[Mapping[str, float]]) -> str | None:
    """Each term of the loss over the steps; None where there are fewer than two steps."""
    names = list(dict.fromkeys(name for step in steps for name in step if name not in NOT_TERMS))
    if len(steps) < 2 or not names:  # noqa: PLR2004  a curve needs two points
        return None
    stride = -(-len(steps) // _MOST_POINTS)
    chosen = [*steps[::stride]] if (len(steps) - 1) % stride == 0 else [*steps[::stride], steps[-1]]
    with styled_figure("loss") as figure:
        figure.set_size_inches(7.2, 3.2)
        axes = figure.add_subplot()
        for name, colour in zip(names, _cycle(TERM_COLOURS), strict=False):
            points = [(step["step"], step[name]) for step in chosen if name in step]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=short_text(name))
        if _needs_log_scale([step[name] for step in chosen for name in names if name in step]):
            axes.set_yscale("log", nonpositive="mask")  # the retain term begins at exactly 0
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return inline_svg(figure, "loss", "Loss of each term over the steps of unlearning")


def _needs_log_scale(values: Sequence[float]) -> bool:
    """Whether terms differ so much that one would lie on the axis. Ascending objectives are negative: linear."""
    positive = [value for value in values if value > 0]
    return min(values) >= 0 and bool(positive) and max(positive) > 20 * min(positive)


def score_plot(metrics: Mapping[str, Any], metric: str = "hole_psnr_db") -> str | None:
    """One metric with its intervals: a row for each set, a mark for each model. None where it was not measured."""
    models = in_order(metrics["scores"], MODELS)
    scores = metrics["scores"]
    sets = [name for name in in_order(metrics["sets"], SETS) if any(metric in scores[m].get(name, {}) for m in models)]
    if not sets:
        return None
    words = metric_words(metric)
    with styled_figure(f"score-{metric}") as figure:
        figure.set_size_inches(7.2, 0.9 + 0.55 * len(sets))
        axes = figure.add_subplot()
        for index, model in enumerate(models):
            offset = (index - (len(models) - 1) / 2) * 0.22
            of_sets = [scores[model].get(name, {}).get(metric) for name in sets]
            whiskers(axes, of_sets, offset, model, model_title(model, metrics))
        axes.set_yticks(range(len(sets)), [short_text(SETS.get(name, name)) for name in sets])
        axes.set_ylim(len(sets) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{words.title} ({words.unit})" if words.unit else words.title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return inline_svg(figure, f"score-{metric}", f"{words.title} of each model on each set, with 95 % intervals")


def embedding_plot(embedding: EmbeddingMap, metrics: Mapping[str, Any]) -> str:
    """The t-SNE map, a panel for each model; the points of the other models stay behind in grey."""
    models, sets = np.asarray(embedding.models), np.asarray(embedding.sets)
    panels = in_order(dict.fromkeys(embedding.models), MODELS)
    with styled_figure("tsne") as figure:
        figure.set_size_inches(9.6, 9.6 / max(len(panels), 2) + 0.5)
        every = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
        for axes, model in zip(every, panels, strict=False):
            _panel(axes, embedding.points_N2, models == model, sets)
            axes.set_title(short_text(model_title(model, metrics)))
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(
            handles[::-1], labels[::-1], loc="outside lower center", ncols=max(len(labels), 1), markerscale=1.5
        )
        return inline_svg(figure, "tsne", "t-SNE map of embeddings, one panel for each model")


def picture_sheet(
    blocks: Sequence[tuple[str, Mapping[str, Sequence[NDArray[np.uint8]]]]], note: str = "", *, dpi: int = 130
) -> bytes:
    """PNG of picture blocks side by side; in each a column for each key and a row for each image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    num_rows = max((len(images) for _, columns in blocks for images in columns.values()), default=0)
    widths = [len(columns) for _, columns in blocks]
    with styled_figure("sheet") as figure:
        FigureCanvasAgg(figure)
        figure.set_layout_engine("none")
        figure.patch.set_facecolor("white")
        width, height = max(sum(widths) + 0.6 * max(len(blocks) - 1, 0), 1) + 0.3, num_rows + 0.85 + 0.3 * bool(note)
        figure.set_size_inches(width, height)
        left = 0.15
        for (title, columns), count in zip(blocks, widths, strict=True):
            figure.text((left + 0.04) / width, 1 - 0.14 / height, title, va="top", fontsize=13, weight="bold")
            _block(figure, columns, left, (width, height))
            left += count + 0.6
        if note:
            figure.text(0.19 / width, 0.1 / height, note, va="bottom", fontsize=11, color=QUIET)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()


def _block(
    figure: "Figure", columns: Mapping[str, Sequence[NDArray[np.uint8]]], left: float, size: tuple[float, float]
) -> None:
    """Pictures at one inch each, below their column's name."""
    width, height = size
    for column, (name, images) in enumerate(columns.items()):
        figure.text((left + column + 0.5) / width, 1 - 0.58 / height, name, ha="center", va="center", fontsize=10)
        for row, image_HWC in enumerate(images):
            bottom = height - 0.72 - (row + 1)
            axes = figure.add_axes(
                ((left + column + 0.04) / width, (bottom + 0.04) / height, 0.92 / width, 0.92 / height)
            )
            axes.set_axis_off()
            axes.imshow(np.repeat(image_HWC, 3 // image_HWC.shape[-1], axis=-1), interpolation="nearest")


def whiskers(axes: "Axes", scores: Sequence[Mapping[str, Any] | None], offset: float, model: str, title: str) -> None:
    """A model's values with their intervals, each in its row."""
    colour = MODEL_COLOURS.get(model, QUIET)
    found = [(row + offset, score) for row, score in enumerate(scores) if score and score.get("value") is not None]
    for height, score in found:
        low, high = score.get("low"), score.get("high")
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot(
        [score["value"] for _, score in found],
        [height for height, _ in found],
        linestyle="none",
        marker={"teacher": "o", "original": "P", "unlearned": "D", "reference": "s", "reference_2": "^"}.get(
            model, "v"
        ),
        markersize=6,
        color=colour,
        label=short_text(title),
    )


def _panel(axes: "Axes", points_N2: NDArray[np.float32], mine: NDArray[np.bool_], sets: NDArray[np.str_]) -> None:
    others, here = points_N2[~mine], points_N2[mine]
    axes.scatter(others[:, 0], others[:, 1], s=5, color=LINE, linewidths=0)
    # Forget sets last: they are few and must not disappear below the others.
    for name in reversed(in_order(dict.fromkeys(sets.tolist()), SETS)):
        of_set = here[sets[mine] == name]
        size = 14 if "forget" in name else 8
        axes.scatter(
            of_set[:, 0],
            of_set[:, 1],
            s=size,
            color=SET_COLOURS.get(name, QUIET),
            marker=SET_MARKERS.get(name, "o"),
            linewidths=0,
            label=short_text(SETS.get(name, name)),
        )
    axes.spines[:].set_visible(True)
    axes.set_xticks([])
    axes.set_yticks([])
    low, high = points_N2.min(0), points_N2.max(0)
    middle, reach = (low + high) / 2, 0.54 * float((high - low).max() or 1)  # a square around all points, in all panels
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)
    axes.set_aspect("equal")


@contextmanager
def styled_figure(salt: str) -> "Iterator[Figure]":
    """An empty figure in the page's style. matplotlib's settings are put back afterwards."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {  # newer stubs of matplotlib list every key, older ones none
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],
        "font.size": 10,
        "text.color": INK,
        "text.parse_math": False,
        "axes.labelcolor": QUIET,
        "axes.edgecolor": LINE,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": QUIET,
        "ytick.labelcolor": INK,
        "axes.unicode_minus": True,
    }
    with rc_context(settings):
        yield Figure(layout="constrained", facecolor="none")


def inline_svg(figure: "Figure", name: str, label: str) -> str:
    """The figure as an inline SVG element that screen readers announce by `label` (plain text of ours)."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None}, transparent=True
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # Two drawings on one page must not share ids, and groups need none.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font(-family)?: ?[^;\"]*'DejaVu Sans'[^;\"]*", _page_font, text)
    opening = f'<svg role="img" aria-label="{escape(label)}" class="plot {name}"'
    return re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', rf'{opening} viewBox="\1">', text, count=1)


def standalone_svg(svg: str) -> str:
    """A drawing of `inline_svg` as a file of its own: the light colours of the page, on white."""
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(f"var({variable})", colour)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt"'
    svg = svg.replace("<svg", f'{opening} style="font-family: sans-serif; background: white"', 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _page_font(match: "re.Match[str]") -> str:
    size = re.search(r"[\d.]+px", match.group())
    return f"font-size: {size.group()}" if size else ""


def short_text(text: str) -> str:
    """A label that matplotlib does not hide (leading underscore) and that leaves room for the plot."""
    flat = " ".join(text.split()).lstrip("_") or "?"
    return flat if len(flat) <= _LONGEST_LABEL else f"{flat[: _LONGEST_LABEL - 1]}…"


def _cycle(colours: Sequence[str]) -> Iterator[str]:
    while True:
        yield from colours
