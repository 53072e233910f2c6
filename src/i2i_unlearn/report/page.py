"""The report as one HTML file that needs no network: decision, pictures, numbers, and what is not claimed."""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from i2i_unlearn.evaluation.findings import FORGET_SETS
from i2i_unlearn.report import asked, audits, rank_shift, scores, tables, words
from i2i_unlearn.report.audit_plots import relearning_plot, roc_plot, shift_plot, time_loss_plot
from i2i_unlearn.report.claims import not_claimed
from i2i_unlearn.report.facts import ReportFacts
from i2i_unlearn.report.headline import tiles
from i2i_unlearn.report.next_steps import ANSWERS, next_steps
from i2i_unlearn.report.pictures import GridView, first_and_rest, grid_views, shown_grids
from i2i_unlearn.report.plots import embedding_plot, loss_plot, score_plot
from i2i_unlearn.report.verdict import decision
from i2i_unlearn.support.files import atomic_file

_VERSION = re.compile(r'(<span id="version">)[^<]*(</span>)')
_COST = {
    "unlearn_s": ("Unlearning", words.seconds),
    "reference_s": ("Retraining the reference", words.seconds),
    "share_of_reference": (
        "Share of the reference's time",
        lambda value: words.MISSING if value is None else f"{value:.1%}",
    ),
    "peak_memory_bytes": ("Peak memory of unlearning", words.memory),
}


def write_report(facts: ReportFacts, out: Path) -> None:
    """Write the page to `out`, whole or not at all. Equal facts give equal bytes; the file stays below 5 MB.

    Forget images are on it only where `facts.show_forget_images` is true, whatever `facts.pictures` holds.
    """
    text = render(facts)
    with atomic_file(out) as aside:
        aside.write_text(text, encoding="utf-8")


def render(facts: ReportFacts) -> str:
    """The page as text. Everything from `facts` is escaped; only our own style, script and drawings are not."""
    return sealed("page.html.j2", asset("page.js"), _view(facts))


def registered(page: str, told: str) -> str:
    """The page as it is kept with a registered version, whose number and registrar `told` names."""
    return _VERSION.sub(lambda found: f"{found[1]}{escape(told)}{found[2]}", page, count=1)


def sealed(template: str, script: str, view: Mapping[str, Any]) -> str:
    """A page that no request can leave and on which no other script can run, even if some text escaped the escaping."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template(template)
        .render(
            style=Markup(asset("page.css")),
            script=Markup(script),
            security=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'",
            **view,
        )
    )


def _view(facts: ReportFacts) -> dict[str, Any]:
    """What the template shows, all as text."""
    metrics = words.with_version(facts.metrics, facts.lineage)
    grids, cut = grid_views(shown_grids(facts))
    first, rest = first_and_rest(grids)
    decided = decision(facts.verdicts, metrics)
    return {
        "decision": decided,
        "answer": ANSWERS[decided.deciding.outcome],
        "next_steps": next_steps(decided.deciding.outcome, facts.due),
        "day": facts.day,
        "model_name": facts.model_name,
        "tiles": tiles(metrics),
        "outcomes": words.OUTCOMES,
        "signs": words.OUTCOME_SIGNS,
        "requests": facts.requests,
        "asked": asked.asked_sentences(facts),
        "done": asked.done_sentences(facts),
        "operator": words.operator_sentence(metrics["operator"], metrics["keep_fraction"]),
        "sets": scores.set_views(metrics),
        "columns": [(words.COLUMNS[name], words.COLUMN_MEANINGS[name]) for name in _shown_columns(facts)],
        "first_pictures": first,
        "pictures": by_set(rest),
        "pictures_cut": cut,
        "withheld": not facts.show_forget_images,
        "forget_titles": words.listed([words.SETS[name] for name in words.SETS if name in FORGET_SETS]),
        "score_table": scores.score_table(metrics),
        "score_plot": _drawing(score_plot(metrics)),
        "has_reference": scores.has_reference(metrics),
        "comparison": scores.comparison_sentences(metrics),
        "gap_table": scores.gap_table(metrics),
        "behaviour_table": scores.behaviour_table(metrics),
        "more_tables": {
            title: table
            for title, table in (
                ("Against several retrained models", tables.relative_table(metrics)),
                ("Are kept images remembered more?", tables.gap_growth_table(metrics)),
                ("Classes that lost most", tables.class_table(metrics)),
                ("Earlier requests", rank_shift.earlier_table(metrics)),
                ("Each operator", tables.operator_table(metrics)),
            )
            if table
        },
        **_audits(metrics),
        "loss_plot": _drawing(loss_plot(facts.steps)),
        "time_loss_plot": _drawing(time_loss_plot(metrics)),
        "loss_ends": _loss_ends(facts),
        "embedding_plot": _drawing(embedding_plot(facts.embeddings, metrics) if facts.embeddings else None),
        "embedding_caption": facts.embeddings.caption if facts.embeddings else "",
        "cost": _cost(metrics.get("cost", {})),
        "lineage": facts.lineage,
        "not_claimed": not_claimed(metrics, str(facts.method.get("scope", ""))),
    }


def _shown_columns(facts: ReportFacts) -> list[str]:
    """The columns that some picture has."""
    shown = {name for grid in shown_grids(facts) for name in grid.rows}
    return [name for name in words.COLUMNS if name in shown]


def _audits(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The attacks, their plots, and what a status means."""
    found = audits.audit_views(metrics)
    drawings = {
        rank_shift.NAME: shift_plot(metrics),
        "membership": roc_plot(metrics),
        "relearning": relearning_plot(metrics),
    }
    return {
        "audits": found,
        "rank_table": rank_shift.rank_table(metrics),
        "rank_controls": rank_shift.control_sentences(metrics),
        "audit_plots": {name: _drawing(svg) for name, svg in drawings.items() if svg is not None},
        "statuses": audits.STATUSES,
        "status_signs": audits.STATUS_SIGNS,
        "status_meanings": audits.STATUS_MEANINGS,
        "statuses_found": words.in_order({audit.status for audit in found}, audits.STATUSES),
    }


def by_set(grids: list[GridView]) -> dict[str, list[GridView]]:
    """Grids by the title of their set."""
    found: dict[str, list[GridView]] = {}
    for grid in grids:
        found.setdefault(grid.set_title, []).append(grid)
    return found


def _cost(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    tiles = []
    for name in words.in_order(cost, _COST):
        title, form = _COST.get(name, (name.replace("_", " "), words.plain_number))
        text = form(cost[name])
        if text != words.MISSING:
            tiles.append((title, text))
    return tiles


def _loss_ends(facts: ReportFacts) -> str:
    """The curve's ends in numbers, for readers who cannot see it."""
    if not facts.steps:
        return ""
    first, last = facts.steps[0], facts.steps[-1]
    named = [name for name in ("total", "retain", "forget") if name in first and name in last]
    ends = [f"{name} {words.plain_number(first[name])} to {words.plain_number(last[name])}" for name in named]
    count = f"From step {words.plain_number(first['step'])} to step {words.plain_number(last['step'])}"
    return f"{count}: {', '.join(ends)}." if ends else f"{count}."


def _drawing(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # made by matplotlib, which escapes the labels


@cache
def environment() -> Environment:
    """Where templates come from; what is put into them is escaped."""
    return Environment(
        loader=PackageLoader("i2i_unlearn.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> str:
    """Text of a file in the folder of the templates."""
    loader = environment().loader
    if loader is None:
        raise TypeError("the environment was made without a loader")
    return loader.get_source(environment(), name)[0]
