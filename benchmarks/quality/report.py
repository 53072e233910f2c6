"""Writes docs/results/DATA/: README.md with the tables, scores.csv with every number, PNG plots."""

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.quality import plots, tables
from benchmarks.quality.execute import Failure
from benchmarks.quality.plan import MAIN_STUDY, RETAIN_STUDY, Selection
from benchmarks.quality.results import Group, Place
from benchmarks.quality.settings import Settings
from i2i_unlearn.support.files import atomic_folder

VERSIONS = ("torch", "transformers", "diffusers", "numpy", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Report:
    data: str
    command: str
    settings: Settings
    selection: Selection
    places: Sequence[Place]
    chosen: Mapping[tuple[str, str], Group]
    failures: Sequence[Failure]
    num_older: int
    """Cells that other code made."""
    seconds: float
    """Of all cells in use, on the clock of the worker."""


def write(report: Report, out: Path) -> Path:
    """Replace the folder as a whole; return the page."""
    with atomic_folder(out) as folder:
        (folder / "README.md").write_text(_page(report, folder), encoding="utf-8")
        with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(tables.LONG_HEADER)
            for place in report.places:
                writer.writerows(tables.long_rows(place))
    return out / "README.md"


def _page(report: Report, folder: Path) -> str:
    parts = [_head(report)]
    families = list(dict.fromkeys(place.case.family for place in report.places))
    for family in families:
        parts.append(f"## Family {family}\n")
        parts += _family(report, [place for place in report.places if place.case.family == family], folder)
    if report.failures:
        parts.append("## Not computed\n")
        parts.append("".join(f"- {failure.label}: {failure.reason}\n" for failure in report.failures))
    return "\n".join(parts)


def _head(report: Report) -> str:
    device = torch.cuda.get_device_name() if report.selection.device == "cuda" else f"CPU ({platform.machine()})"
    older = f" {report.num_older} cells were made by earlier code and taken as they were." if report.num_older else ""
    seeds = ", ".join(map(str, report.selection.seeds))
    return (
        f"# Quality benchmark: {report.data}\n\n"
        f"```sh\n{report.command}\n```\n\n"
        f"Device: {device}, one thread a worker. {_versions()}. Seeds {seeds}. The cells of these tables took"
        f" {report.seconds / 60:.0f} minutes of one worker in all.{older}\n\n"
        f"Settings: `benchmarks/quality/settings.yaml` over `params.yaml`. Each objective's setting was chosen on"
        f" `{report.selection.chosen_on}` with `{report.settings.main_operator}`: the one that meets most aims of"
        " nearness there; other requests and operators confirm it. Sets: forget; retain; unseen = held out, of the"
        " classes to keep; forget, held out. FD and KID are distances in features of EfficientNet-Lite0 and no FID;"
        f" with at most {report.settings.data[report.data].scored_images} images a set FD is biased and compares models"
        " on the same images only. The classifier score is the Inception Score's formula with EfficientNet-Lite0's own"
        " classifier. `±` is half the 95 % interval (Student's t over seeds; for AUC a bootstrap over images and"
        " seeds).\n"
    )


def _versions() -> str:
    found = []
    for name in VERSIONS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join([f"Python {platform.python_version()}", *found])


def _family(report: Report, places: Sequence[Place], folder: Path) -> list[str]:
    chosen = {key: group.case.setting for key, group in report.chosen.items()}
    compared = [place for place in places if place.case.study == MAIN_STUDY and place.unlearned]
    parts = [tables.overview_table(compared, chosen).markdown()] if compared else []
    for place in places:
        if place.case.study == RETAIN_STUDY:
            parts.append(tables.retain_table(place).markdown())
            continue
        rows = tables.rows_of(place, chosen)
        unlearned = rows[2:]
        if not unlearned:
            continue
        parts += [tables.paper_table(place, chosen).markdown(), tables.score_table(place, rows).markdown()]
        parts.append(tables.nearness_table(place, unlearned).markdown())
        if _is_development(report, place):
            parts += _development(place, unlearned, folder)
    return parts


def _development(place: Place, unlearned: Sequence[Group], folder: Path) -> list[str]:
    family = place.case.family
    front, nearness = f"front-{family}.png", f"nearness-{family}.png"
    plots.front_plot(place, folder / front)
    plots.nearness_plot(place, unlearned, folder / nearness)
    whole = tables.nearness_table(place, place.unlearned)
    return [
        f"![Nearness to the reference]({nearness})\n",
        tables.front_table(place).markdown(),
        f"![Fronts]({front})\n",
        "<details><summary>Every setting of the grid</summary>\n",
        tables.score_table(place, place.unlearned).markdown(),
        whole.markdown(),
        "</details>\n",
    ]


def _is_development(report: Report, place: Place) -> bool:
    case = place.case
    here = (report.settings.main_operator, report.selection.chosen_on, MAIN_STUDY)
    return (case.operator, case.request, case.study) == here
