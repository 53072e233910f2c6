"""docs/results/singles.md from the cells that are there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.singles.chain import NUM_CANDIDATES
from i2i_unlearn.evaluation.findings import TEACHER, UNLEARNED, is_reference
from i2i_unlearn.support.files import read_json

FULL_STEPS = 10_000
REQUESTS = ("40", "10", "class")
ALL = [
    *((data, "mae", request, seed) for data in ("digits", "cifar10") for request in REQUESTS for seed in (0, 1, 2)),
    *(("digits", "diffusion", request, 0) for request in REQUESTS),
]
"""Cells that the benchmark wants: data, family, request, seed."""
SETS = {"forget": "forget", "retain": "retain", "never-seen of other classes": "retain_holdout"}
_INTRODUCTION = f"""\
# Single images and a class: the default, the paper's method, retraining

    {{command}}

The command of a cell is `python -m benchmarks.singles cell --data D --family F --singles N --seed S --references R`
(`--singles 0`: one class). Computed on two shared CPU cores.

Half of a request of single images are the most memorised of {NUM_CANDIDATES} candidates, the other half the least: by
the growth of the error in the hole (log) from the original to a model retrained without the candidates, which is not
one of the references. The candidates are training images drawn by their bytes.

Hole of half the side. Brackets are 95 % intervals over images. Rank and shift: audit `rank_shift`; membership: AUC,
calibrated by the references, of each reference by the others (n/a where there is one). Share: seconds of unlearning of
one retraining of {FULL_STEPS:,} steps, which was not run: extrapolated from the measured rate of the references. All
models share one split, so that the never-seen images are the same.
"""


def write(cells: Path, page: Path, command: str) -> Path:
    """Write the page over all cells in a folder."""
    found = [read_json(path) for path in sorted(cells.glob("*.json"))]
    parts = [_INTRODUCTION.format(command=command), *(_section(cell) for cell in found), _missing(found)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _name(cell: Mapping[str, Any]) -> tuple[str, str, str, int]:
    wish = cell["wish"]
    return wish["data"], wish["family"], str(wish["singles"] or "class"), wish["seed"]


def _missing(found: Iterable[Mapping[str, Any]]) -> str:
    there = {_name(cell) for cell in found}
    left = [f"- {', '.join(map(str, cell[:3]))}, seed {cell[3]}" for cell in ALL if cell not in there]
    return "## Not run\n\n" + ("\n".join(left) or "Nothing: all cells are above.") + "\n"


def _section(cell: Mapping[str, Any]) -> str:
    data, family, request, seed = _name(cell)
    what = "one class" if request == "class" else f"{request} single images"
    wish = cell["wish"]
    header = ["model", "as_unseen", *(f"{name}, dB" for name in SETS), "error: rank", "shift", "contrast: shift"]
    header += ["roughness: shift", "edge: shift", "calibrated AUC", "share"]
    lines = [
        f"## {data}, {family}, {what}, seed {seed}\n",
        f"{wish['num_references']} reference(s) of {cell['retraining_steps']:,} steps.\n",
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
    ]
    full = cell["seconds_per_step"] * FULL_STEPS
    arms = list(cell["arms"].items())
    shared = arms[0][1]["metrics"]
    lines.append(_row("original", shared, TEACHER, "", ""))
    for name, arm in arms:
        lines.append(_row(name, arm["metrics"], UNLEARNED, arm["verdict"]["outcome"], f"{arm['seconds'] / full:.1%}"))
    for model in shared["models"]:
        if is_reference(model):
            lines.append(_row(model, shared, model, "", f"{cell['retraining_steps'] / FULL_STEPS:.0%}"))
    lines.append("")
    for name, arm in arms:
        lines += [f"- {name}, {line['outcome']}: {line['why']}" for line in _against(arm["verdict"])]
    return "\n".join(lines) + "\n"


def _against(verdict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Lines that decide and did not pass."""
    return [line for line in verdict["lines"] if line["outcome"] in ("fail", "undecided")]


def _row(name: str, metrics: Mapping[str, Any], model: str, outcome: str, share: str) -> str:
    scores = metrics["scores"][model]
    ranks = metrics["audits"]["rank_shift"]["models"].get(model, {})
    member = metrics["audits"]["membership"]["models"].get(model, {})
    cells = [name, outcome or "-", *(_one(scores.get(of, {}).get("hole_psnr_db"), "{:.2f}") for of in SETS.values())]
    cells += [_one(ranks.get("error_rank"), "{:.3f}"), _one(ranks.get("error_shift"), "{:+.3f}")]
    cells += [_one(ranks.get(f"{shape}_shift"), "{:+.3f}") for shape in ("contrast", "roughness", "edge")]
    return "| " + " | ".join([*cells, _one(member.get("auc_calibrated"), "{:.3f}"), share or "-"]) + " |"


def _one(measured: Mapping[str, Any] | None, form: str) -> str:
    if not measured or measured["value"] is None:
        return "n/a"
    value = form.format(measured["value"])
    if measured["low"] is None or measured["high"] is None:
        return value
    return f"{value} ({form.format(measured['low'])}, {form.format(measured['high'])})"
