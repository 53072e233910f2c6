"""What a finished run shows on a terminal of 80 columns: three models in a table, one verdict, other policies below."""

import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from i2i_unlearn.report.words import OUTCOMES, in_order, interval, number
from i2i_unlearn.support.table import table

WIDTH = 79
_ROWS = {"forget": "to forget", "retain": "to keep", "retain_holdout": "never seen"}
_COLUMNS = {"teacher": "original", "unlearned": "unlearned", "reference": "retrained"}
_METRIC = "hole_psnr_db"


def summary_lines(
    metrics: Mapping[str, Any], verdicts: Mapping[str, Any], presets: Collection[str] = ()
) -> Iterator[str]:
    """Lines of at most 79 characters. `presets`: names of presets; one trains for the policy of the same name."""
    yield "How well hidden pixels are restored: PSNR in dB (95 % interval), high = well"
    yield ""
    yield from _scores(metrics["scores"]).splitlines()
    yield ""
    deciding = verdicts["deciding"]
    yield from _wrapped(_verdict(deciding, verdicts["verdicts"][deciding]))
    for name, verdict in verdicts["verdicts"].items():
        if name != deciding:
            yield from _wrapped(_other(name, verdict, presets))


def _scores(scores: Mapping[str, Any]) -> str:
    models = in_order(scores, _COLUMNS)
    rows = [
        (label, *(_cell(scores[model].get(name, {}).get(_METRIC)) for model in models)) for name, label in _ROWS.items()
    ]
    return table(("images", *(_COLUMNS.get(model, model) for model in models)), rows)


def _cell(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return number(None, 2)
    between = interval(score, 2).replace(" to ", " … ")
    return f"{number(score['value'], 2)} ({between})" if between else number(score["value"], 2)


def _verdict(name: str, verdict: Mapping[str, Any]) -> str:
    """`PASSED forgotten (4 of 4 lines).`, or which lines were not passed."""
    lines = verdict["lines"]
    missed = [line["name"] for line in lines if line["outcome"] != "pass"]
    passed = f"{len(lines) - len(missed)} of {len(lines)} lines"
    unjudged = (
        f"; not judged without a retrained model: {', '.join(verdict['left_out'])}" if verdict["left_out"] else ""
    )
    not_passed = f" Not passed: {', '.join(missed)}." if missed else ""
    return f"{OUTCOMES[verdict['outcome']].upper()} {name} ({passed}{unjudged}).{not_passed}"


def _other(name: str, verdict: Mapping[str, Any], presets: Collection[str]) -> str:
    asks = verdict.get("asks") or verdict["purpose"]
    preset = name.replace("_", "-")
    trains = f" Preset {preset} trains for that." if preset in presets and verdict["outcome"] != "pass" else ""
    return f"{name}: {OUTCOMES[verdict['outcome']].lower()}; it asks that {_clause(asks)}.{trains}"


def _clause(text: str) -> str:
    """A sentence as the end of another one."""
    return text[:1].lower() + text[1:].rstrip(".")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
