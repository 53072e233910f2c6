"""The plot of a sweep: forgetting against retention, original and reference marked. An SVG in the page's colours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from i2i_unlearn.report.plots import INK, LINE, QUIET, TERM_COLOURS, inline_svg, short_text, styled_figure
from i2i_unlearn.report.words import MODELS, OUTCOME_SIGNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "oDs^vPX<>ph"
_COLOURS = (*TERM_COLOURS[1:], TERM_COLOURS[0])  # the ink last, since the landmarks are drawn in it
_MOST_LABELS = 40
"""With more, the values next to the marks would overlap; they are in the table."""


def pareto_plot(table: Mapping[str, Any]) -> str:
    """The points of points.json: a mark and a colour for each objective, filled where the point is on the front."""
    points = [row for row in table["points"] if row["forgetting"]["value"] is not None]
    with styled_figure("pareto") as figure:
        figure.set_size_inches(7.2, 4.8)
        axes = figure.add_subplot()
        for name, landmark in table["landmarks"].items():
            if landmark is not None:
                _landmark(axes, "Original" if name == "original" else MODELS[name], landmark)
        _front(axes, [row for row in points if row["on_front"]])
        for index, objective in enumerate(dict.fromkeys(row["objective"] for row in points)):
            own = [row for row in points if row["objective"] == objective]
            _objective(axes, objective, own, _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)])
        if len(points) <= _MOST_LABELS:
            _labels(axes, points)
        axes.margins(0.09)
        axes.set_xlabel("change on the forget set (dB); further left = more forgotten")
        axes.set_ylabel("change on what is kept (dB); higher = better kept")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return inline_svg(figure, "pareto", "Each point's retention against its forgetting, next to the original's")


def _landmark(axes: "Axes", title: str, landmark: Mapping[str, Any]) -> None:
    x, y = landmark["forgetting"]["value"], landmark["retention"]["value"]
    axes.axvline(x, color=LINE, linewidth=1.0, zorder=0)
    axes.plot([x], [y], linestyle="none", marker="*", markersize=13, color=INK, zorder=4)
    # To the left, since the original is the rightmost unless a point forgot nothing.
    style: dict[str, Any] = {"color": INK, "weight": "bold", "fontsize": 9, "ha": "right"}
    axes.annotate(title, (x, y), xytext=(-8, 6), textcoords="offset points", **style)


def _front(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    places = sorted((row["forgetting"]["value"], row["retention"]["value"]) for row in points)
    axes.plot(*zip(*places, strict=True), color=QUIET, linewidth=1.4, linestyle="--", zorder=1, label="front")


def _objective(axes: "Axes", objective: str, points: Sequence[Mapping[str, Any]], colour: str, marker: str) -> None:
    """Points of one objective: whiskers for the intervals, hollow marks where another point is better in both."""
    for row in points:
        x, y = row["forgetting"], row["retention"]
        for ends, other, draw in ((x, y, axes.hlines), (y, x, axes.vlines)):
            if ends["low"] is not None and ends["high"] is not None:
                draw(other["value"], ends["low"], ends["high"], colors=colour, linewidth=1.0, alpha=0.55)
    for filled in (True, False):
        chosen = [row for row in points if row["on_front"] is filled]
        if chosen:
            axes.plot(
                [row["forgetting"]["value"] for row in chosen],
                [row["retention"]["value"] for row in chosen],
                linestyle="none",
                marker=marker,
                markersize=8,
                color=colour,
                markerfacecolor=colour if filled else "none",
                markeredgewidth=1.5,
                zorder=3,
            )
    # One entry in the legend, always filled.
    axes.plot([], [], linestyle="none", marker=marker, markersize=8, color=colour, label=short_text(objective))


def _labels(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    for row in points:
        value = f"{row['value']:g} " if row["dial"] else ""
        axes.annotate(
            f"{value}{OUTCOME_SIGNS[row['gate']]}",
            (row["forgetting"]["value"], row["retention"]["value"]),
            xytext=(6, -11),
            textcoords="offset points",
            color=QUIET,
            fontsize=8,
        )
