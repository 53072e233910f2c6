"""Drawings by model: ROC of the membership attack, relearning of forget images, loss by time step, shifts of ranks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from i2i_unlearn.evaluation.findings import original_in
from i2i_unlearn.report import rank_shift
from i2i_unlearn.report.plots import INK, MODEL_COLOURS, QUIET, inline_svg, short_text, styled_figure, whiskers
from i2i_unlearn.report.words import MODELS, SETS, in_order, model_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ATTACKS = {
    "loss": "By the model's own loss",
    "similarity": "By likeness of completion and original",
    "calibrated": "By loss against retrained models",
}
_DASHES: Mapping[str, Any] = {"teacher": "-", "unlearned": (0, (5, 1.5)), "reference": (0, (1, 1))}
"""Curves can be told apart without colours too."""


def roc_plot(metrics: Mapping[str, Any]) -> str | None:
    """The membership attack on every model, a panel for each way to attack; None where it was not made."""
    curves = metrics.get("audits", {}).get("membership", {}).get("curves", {})
    models = in_order(curves, MODELS)
    attacks = [name for name in _ATTACKS if any(f"tpr_{name}" in curves[model] for model in models)]
    if not attacks:
        return None
    with styled_figure("roc") as figure:
        figure.set_size_inches(9.6, 4.6)
        for axes, attack in zip(figure.subplots(1, len(attacks), squeeze=False)[0], attacks, strict=True):
            axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--", label="a guess")
            for model in models:
                columns = curves[model]
                if f"tpr_{attack}" in columns:
                    title = model_title(model, metrics)
                    _curve(axes, model, title, columns[f"fpr_{attack}"], columns[f"tpr_{attack}"])
            axes.set_title(_ATTACKS[attack])
            axes.set_xlabel("others taken for forget images")
            axes.set_ylabel("forget images found")
            axes.set_aspect("equal")
        axes.legend(loc="lower right")
        return inline_svg(figure, "roc", "ROC curves of the membership attack on each model")


def relearning_plot(metrics: Mapping[str, Any]) -> str | None:
    """Hole PSNR of forget images that the attacker does not hold, over its training; None where it was not made."""
    audit = metrics.get("audits", {}).get("relearning", {})
    curves = {name: columns for name, columns in audit.get("curves", {}).items() if "others_psnr_db" in columns}
    if not curves:
        return None
    with styled_figure("relearning") as figure:
        figure.set_size_inches(7.2, 3.4)
        axes = figure.add_subplot()
        for model in in_order(curves, MODELS):
            title = model_title(model, metrics)
            _curve(axes, model, title, curves[model]["step"], curves[model]["others_psnr_db"], marker=True)
        level_db = audit.get("facts", {}).get("teacher_level_db")
        if level_db is not None:
            axes.axhline(level_db, color=INK, linewidth=1, linestyle="--", label="original before")
        axes.set_xlabel("step of the attacker's training")
        axes.set_ylabel("hole PSNR (dB)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return inline_svg(
            figure, "relearning", "Hole PSNR of forget images not shown to the attacker, over its training"
        )


def time_loss_plot(metrics: Mapping[str, Any]) -> str | None:
    """Loss of a diffusion model over its schedule, a panel for each set; None where it was not measured."""
    curves = metrics.get("time_losses", {})
    models = in_order(curves, MODELS)
    sets = in_order(dict.fromkeys(name for model in models for name in curves[model]), SETS)
    if not sets:
        return None
    with styled_figure("time-loss") as figure:
        figure.set_size_inches(max(2.5 * len(sets), 4.8), 3.2)
        every = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for axes, set_name in zip(every, sets, strict=True):
            for model in models:
                columns = curves[model].get(set_name)
                if columns:
                    title = model_title(model, metrics)
                    _curve(axes, model, title, columns["share"], columns["loss"], marker=True)
            axes.set_title(short_text(SETS.get(set_name, set_name)))
            axes.set_xlabel("time of the schedule")
        every[0].set_ylabel("loss")
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(len(labels), 1))
        return inline_svg(figure, "time-loss", "Training loss of each model over the diffusion schedule, by set")


def shift_plot(metrics: Mapping[str, Any]) -> str | None:
    """Rank shifts of every model but the original, a row for each number; None where they were not measured."""
    audit = metrics.get("audits", {}).get(rank_shift.NAME, {})
    found = {name: audit["models"][name] for name in in_order(audit.get("models", {}), MODELS)}
    models = [name for name in found if name != original_in(found)]
    rows = [row for row in rank_shift.ROWS if any(f"{row}_shift" in found[name] for name in models)]
    if not rows:
        return None
    with styled_figure("shifts") as figure:
        figure.set_size_inches(7.2, 0.9 + 0.12 * len(models) * len(rows) + 0.2 * len(rows))
        axes = figure.add_subplot()
        axes.axvline(0, color=QUIET, linewidth=1, linestyle="--")
        for index, name in enumerate(models):
            offset = (index - (len(models) - 1) / 2) * 0.6 / len(models)
            shifts = [found[name].get(f"{row}_shift") for row in rows]
            whiskers(axes, shifts, offset, name, model_title(name, metrics))
        axes.set_yticks(range(len(rows)), [rank_shift.ROWS[row] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("shift of the rank from that under the original model")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return inline_svg(figure, "shifts", "Rank shifts of each model with 95 % intervals; 0 = as by the original")


def _curve(axes: "Axes", model: str, title: str, across: list[float], up: list[float], *, marker: bool = False) -> None:
    axes.plot(
        across,
        up,
        color=MODEL_COLOURS.get(model, QUIET),
        linestyle=_DASHES.get(model, "-."),
        linewidth=1.8,
        marker="o" if marker else None,
        markersize=3.5,
        label=short_text(title),
    )
