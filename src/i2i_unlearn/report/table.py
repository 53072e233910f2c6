"""What a finished run shows on a terminal of 80 columns: three models in a table, one verdict, other policies below."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from i2i_unlearn.report.words import OUTCOMES, in_order, interval, number
from i2i_unlearn.support.table import table

WIDTH = 79
_ROWS = {"forget": "to forget", "retain": "to keep", "retain_holdout": "never seen"}
_COLUMNS = {"teacher": "original", "unlearned": "unlearned", "reference": "retrained"}
_METRIC = "hole_psnr_db"


def summary_lines(metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> Iterator[str]:
    """Lines of at most 79 characters from the content of metrics.json and verdicts.json."""
    yield "How well hidden pixels are restored: PSNR in dB (95 % interval), high = well"
    yield ""
    yield from _scores(metrics["scores"]).splitlines()
    yield ""
    deciding, presets = verdicts["deciding"], set()
    yield from _wrapped(_verdict(deciding, verdicts["verdicts"][deciding]))
    for name, verdict in verdicts["verdicts"].items():
        if name != deciding:
            outcome, preset = verdict["outcome"], verdict["preset"]
            helps = preset and preset not in presets and outcome != "pass"
            trains = f" Preset {preset} trains for that." if helps else ""
            yield from _wrapped(f"{name}: {OUTCOMES[outcome].lower()}; it asks that {verdict['asks']}.{trains}")
            presets.add(preset)


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
    left_out = ", ".join(verdict.get("left_out", ()))
    unjudged = f"; not judged without a retrained model: {left_out}" if left_out else ""
    not_passed = f" Not passed: {', '.join(missed)}." if missed else ""
    return f"{OUTCOMES[verdict['outcome']].upper()} {name} ({passed}{unjudged}).{not_passed}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
