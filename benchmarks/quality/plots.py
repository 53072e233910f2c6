"""Two pictures a family: the fronts with the reference marked, and how far each objective is from every aim."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.aims import aims
from benchmarks.quality.front import damage_and_forget
from benchmarks.quality.results import Group, Place

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1c2126", "#7a8591", "#8c564b", "#bcbd22")
"""Okabe and Ito's palette and more."""
MARKERS = "osD^vPX*<>"
_MOST_EXCESS = 5.0  # a bar that leaves the picture says enough
_MOST_DAMAGE = 1.0
_DPI = 110


def front_plot(place: Place, path: Path) -> None:
    """Retain damage against the forget score; each line is one objective's dial."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for number, objective in enumerate(place.objectives):
        points = [damage_and_forget(group, place.original) for group in place.of(objective)]
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        axes.plot(*zip(*points, strict=True), label=objective, markersize=5, linewidth=1.2, **style)
    for group, marker, name in ((place.original, "s", "original"), (place.reference, "*", "reference")):
        damage, forget = damage_and_forget(group, place.original)
        axes.plot(damage, forget, marker=marker, markersize=10, color="black", linestyle="none", label=name)
    axes.axhline(damage_and_forget(place.reference, place.original)[1], color="black", linewidth=0.6, linestyle=":")
    axes.set_xlim(*_range(place))
    axes.set_xlabel("retain damage (dB; right = worse)")
    axes.set_ylabel("hole PSNR on forget (dB; down = more forgotten)")
    axes.set_title(_title(place))
    figure.legend(loc="outside right upper", fontsize=8)
    _save(figure, path)


def _range(place: Place) -> tuple[float, float]:
    """What is worth seeing: settings that lose more than `_MOST_DAMAGE` are of no use and would squeeze the rest."""
    groups = (place.original, place.reference, *place.unlearned)
    damages = [damage_and_forget(group, place.original)[0] for group in groups]
    right = max([damage for damage in damages if damage <= _MOST_DAMAGE])
    margin = 0.05 * (right - min(damages)) + 0.01
    return min(damages) - margin, right + margin


def nearness_plot(place: Place, groups: Sequence[Group], path: Path) -> None:
    """Bars in units of each aim's limit: at most 1 is met."""
    from matplotlib.figure import Figure

    found = {group.name: aims(group, place) for group in groups}
    names = [aim.name for aim in next(iter(found.values()))]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(found)
    for number, (name, measured) in enumerate(found.items()):
        heights = [min(max(aim.excess, 0.0), _MOST_EXCESS) for aim in measured]
        places = [position - 0.4 + width * (number + 0.5) for position in range(len(names))]
        axes.bar(places, heights, width, color=COLOURS[number % len(COLOURS)], label=name)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("distance in units of the limit (1 = met)")
    axes.set_title(_title(place))
    figure.legend(loc="outside right upper", fontsize=8)
    _save(figure, path)


def _title(place: Place) -> str:
    case = place.case
    return f"{case.data}, {case.family}, {case.operator}, {case.request}"


def _save(figure: "object", path: Path) -> None:
    """No date in the file: equal numbers give equal bytes."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})  # type: ignore[attr-defined]
