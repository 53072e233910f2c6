"""The four numbers of the first screen, for readers who know none of the method's words.

An error here is the mean squared error in the filled-in part, so a change of d dB is 10^(-d/10) times the error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.evaluation.findings import REFERENCE, TEACHER, UNLEARNED, original_in, pair_name
from i2i_unlearn.report.words import MISSING, PLAIN_SETS, listed, number

_METRIC = "hole_psnr_db"


@dataclass(frozen=True)
class Tile:
    """One number: what it is about, the number, its range, and what it means."""

    title: str
    value: str
    interval: str
    meaning: str


def tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    """The error on images to forget, to keep and never seen, as a multiple of before, and how sure that is."""
    return [*(_tile(metrics, name, f"Images {which}") for name, which in PLAIN_SETS.items()), _how_sure(metrics)]


def _tile(metrics: Mapping[str, Any], set_name: str, title: str) -> Tile:
    original = original_in(metrics["models"])
    change = metrics["differences"].get(pair_name(UNLEARNED, original), {}).get(set_name, {}).get(_METRIC)
    if change is None or change["value"] is None:
        return Tile(title, MISSING, "", "not measured: there are too few images")
    low, high = (_times(change[end]) for end in ("high", "low"))  # less closeness is more error
    reference = metrics["differences"].get(pair_name(REFERENCE, original), {}).get(set_name, {}).get(_METRIC)
    compared = f"; a model trained without them: {_times(reference['value'])}" if reference else ""
    before = "before" if original == TEACHER else "with the original model, before any request"
    meaning = f"as much error as {before}{compared if set_name == 'forget' else ''}"
    return Tile(title, _times(change["value"]), "" if MISSING in (low, high) else f"{low} to {high}", meaning)


def _times(change_db: float | None) -> str:
    """The error as a multiple of before, two decimals: 1.41×."""
    return MISSING if change_db is None else f"{number(10 ** (-change_db / 10), 2)}×"


def _how_sure(metrics: Mapping[str, Any]) -> Tile:
    counts = [f"{metrics['sets'].get(name, {}).get('num_scored', 0):,}" for name in PLAIN_SETS]
    return Tile("How sure", "95 %", "", f"that each range is right; measured on {listed(counts)} images")
