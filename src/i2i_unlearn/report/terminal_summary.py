"""What a finished run shows on a terminal of 80 columns: a table of three models, one verdict, the other policies."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from i2i_unlearn.evaluation.findings import REFERENCE, UNLEARNED, original_in
from i2i_unlearn.report.words import OUTCOMES, PLAIN_SETS, REHEARSED, interval, number
from i2i_unlearn.support.table import table

WIDTH = 79
_COLUMNS = {"teacher": "original", "original": "original", "unlearned": "unlearned", "reference": "retrained"}
_METRIC = "hole_psnr_db"


def summary_lines(metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> Iterator[str]:
    """Lines of at most 79 characters from the content of metrics.json and verdicts.json."""
    yield "How well hidden pixels are restored: PSNR in dB (95 % interval), high = well"
    yield ""
    yield from _scores(metrics["scores"]).splitlines()
    yield ""
    yield from verdict_lines(verdicts)


def verdict_lines(verdicts: Mapping[str, Any]) -> Iterator[str]:
    """The deciding policy, then the others, from the content of verdicts.json."""
    deciding = verdicts["deciding"]
    yield from wrapped(_verdict(deciding, verdicts["verdicts"][deciding]))
    yield from wrapped(_others({name: one for name, one in verdicts["verdicts"].items() if name != deciding}))


def _scores(scores: Mapping[str, Any]) -> str:
    models = [name for name in (original_in(scores), UNLEARNED, REFERENCE) if name in scores]
    rows = [
        (label, *(_cell(scores[model].get(name, {}).get(_METRIC)) for model in models))
        for name, label in PLAIN_SETS.items()
    ]
    return table(("images", *(_COLUMNS[model] for model in models)), rows)


def _cell(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return number(None, 2)
    between = interval(score, 2).replace(" to ", " … ")
    return f"{number(score['value'], 2)} ({between})" if between else number(score["value"], 2)


def _verdict(name: str, verdict: Mapping[str, Any]) -> str:
    """`PASSED forgotten (4 of 4 lines).`, or which lines were not passed."""
    lines = [line for line in verdict["lines"] if line["decides"] or line["outcome"] != "n/a"]
    missed = [line["name"] for line in lines if line["outcome"] != "pass"]
    rehearsed = sum(line["by_rehearsal"] for line in lines)
    passed = f"{len(lines) - len(missed)} of {len(lines)} lines{f', {rehearsed} {REHEARSED}' if rehearsed else ''}"
    not_passed = f" Not passed: {', '.join(missed)}." if missed else ""
    return f"{OUTCOMES[verdict['outcome']].upper()} {name} ({passed}).{not_passed}"


def _others(verdicts: Mapping[str, Any]) -> str:
    """One sentence on all other policies, and one on the first that failed and has a preset; the report says more."""
    if not verdicts:
        return ""
    outcomes = ", ".join(f"{name} {OUTCOMES[one['outcome']].lower()}" for name, one in verdicts.items())
    helped = next((n for n, one in verdicts.items() if one["preset"] and one["outcome"] != "pass"), None)
    if helped is None:
        return f"Other policies: {outcomes}."
    asks, preset = verdicts[helped]["asks"].partition(",")[0], verdicts[helped]["preset"]
    return f"Other policies: {outcomes}. {helped} asks that {asks}; preset {preset} trains for that."


def wrapped(text: str) -> list[str]:
    """Lines of at most 79 characters, unless a word is longer."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
