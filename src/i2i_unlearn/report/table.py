"""The short table that ends a run on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from i2i_unlearn.report.verdict import decision
from i2i_unlearn.report.words import MODELS, OUTCOMES, in_order, interval, number

_ROWS = {"forget": "forget", "retain": "retain", "retain_holdout": "unseen"}
_METRIC = "hole_psnr_db"
_STYLES = {"pass": "bold green", "fail": "bold red", "undecided": "bold yellow"}


def summary_table(metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> Table:
    """Hole PSNR with its interval on forget, retain and unseen for each model; the verdicts stand below."""
    table = Table(
        title="Hole PSNR in dB (95 % interval)",
        title_justify="left",
        caption_justify="left",
        caption_style="",
        box=SIMPLE_HEAD,  # without side lines, three models with intervals fit into 80 columns
        pad_edge=False,
    )
    scores = metrics["scores"]
    models = in_order(scores, MODELS)
    table.add_column("", no_wrap=True)
    for model in models:
        table.add_column(MODELS.get(model, model).lower(), justify="right", no_wrap=True)
    for name, label in _ROWS.items():
        table.add_row(label, *(_cell(scores[model].get(name, {}).get(_METRIC)) for model in models))
    table.caption = _verdict_lines(verdicts)
    return table


def _cell(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return number(None, 2)
    between = interval(score, 2).replace(" to ", " … ")
    return f"{number(score['value'], 2)} ({between})" if between else number(score["value"], 2)


def _verdict_lines(verdicts: Mapping[str, Any]) -> Text:
    """Text objects, not markup: nothing in a name is taken for a style."""
    view = decision(verdicts)
    text = Text("Gate: ")
    text.append(OUTCOMES[view.deciding.outcome].lower(), style=_STYLES[view.deciding.outcome])
    text.append(f" (policy {view.deciding.name}, {view.deciding.tally})")
    for other in view.others:
        text.append("\nBeside it: ")
        text.append(OUTCOMES[other.outcome].lower(), style=_STYLES[other.outcome])
        text.append(f" (policy {other.name}, {other.tally})")
    if view.difference:
        text.append(f"\n{view.difference}")
    return text
