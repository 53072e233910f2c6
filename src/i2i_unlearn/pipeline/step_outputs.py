"""What components need in addition to stages: results for the Kubeflow UI, the address of MLflow. Imports no kfp."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_unlearn.support.files import read_json

if TYPE_CHECKING:
    from kfp.dsl import Artifact, ClassificationMetrics, Metrics, PipelineTaskFinalStatus


def show_evaluation(
    evaluation: str,
    report: "Artifact",
    decision: "Artifact",
    scores: "Metrics",
    **membership: "ClassificationMetrics",
) -> str:
    """Copy the report, the gate's decision and the scores from the folder `evaluation`; return the gate's outcome.

    `membership` shows the membership attack on models: by loss under their name, calibrated under NAME_calibrated.
    """
    from i2i_unlearn.report.verdict import decision_markdown  # not for the steps that have no decision to show

    folder = Path(evaluation)
    metrics, verdicts = read_json(folder / "metrics.json"), read_json(folder / "verdicts.json")
    shutil.copyfile(folder / "report.html", report.path)
    Path(decision.path).write_text(decision_markdown(metrics, verdicts), encoding="utf-8")
    for name, value in (*flat_scores(metrics), *flat_audits(metrics)):
        scores.log_metric(name, value)
    for name, shown in membership.items():
        show_membership(metrics, name.removesuffix(_CALIBRATED), shown, calibrated=name.endswith(_CALIBRATED))
    return str(verdicts["verdicts"][verdicts["deciding"]]["outcome"])


def show_point(
    facts: Mapping[str, float | str],
    evaluated: "Artifact",
    report: "Artifact",
    decision: "Artifact",
    scores: "Metrics",
) -> str:
    """Hand on what the table needs of a sweep's point, and show its evaluation; return the outcome.

    The weights stay in the folder of points. Where training diverged, report and decision say so.
    """
    from i2i_unlearn.sweeps.point import copy_light

    copy_light(str(facts["folder"]), evaluated.path)
    evaluated.metadata.update(facts)
    if facts["outcome"] != "diverged":
        return show_evaluation(f"{facts['folder']}/evaluation", report, decision, scores)
    sentence = escape(f"{facts['point']}: training diverged")
    Path(decision.path).write_text(f"## {sentence}\n", encoding="utf-8")
    Path(report.path).write_text(f"<!doctype html><title>Diverged</title><p>{sentence}</p>", encoding="utf-8")
    return str(facts["outcome"])


def show_sweep(facts: Mapping[str, float | str], table: "Artifact", page: "Artifact") -> None:
    """Show the page of a sweep, which lies in the folder `table`, and its facts."""
    from i2i_unlearn.sweeps.table import PAGE

    shutil.copyfile(Path(table.path) / PAGE, page.path)
    for artifact in (table, page):
        artifact.metadata.update(facts)


def paths(artifacts: "Iterable[Artifact]") -> list[str]:
    """Where collected artifacts lie."""
    return [artifact.path for artifact in artifacts]


def flat_scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Each finite score of metrics.json as (`model.set.metric`, value), in the file's order."""
    for model, sets in metrics["scores"].items():
        for set_name, scores in sets.items():
            for metric, score in scores.items():
                if score["value"] is not None and math.isfinite(score["value"]):
                    yield f"{model}.{set_name}.{metric}", score["value"]


def flat_audits(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Measures of the audits that tell something, as (`model.audit.measure`, value).

    A blind or undecided audit gives none: a bare number would look like a result.
    """
    for audit, found in metrics.get("audits", {}).items():
        if found["status"] == "measured":
            for model, measures in found["models"].items():
                yield from ((f"{model}.{audit}.{measure}", score["value"]) for measure, score in measures.items())


MEMBERS, OTHERS = "forget images", "images never trained on"
_CALIBRATED = "_calibrated"
_MOST_POINTS = 200
"""Of a ROC curve; metadata should not hold more."""


def show_membership(
    metrics: Mapping[str, Any], model: str, shown: "ClassificationMetrics", *, calibrated: bool = False
) -> None:
    """Show the membership attack on one model: ROC curve, and members against others at one threshold.

    The attack is by loss, or by loss calibrated with references. An artifact holds one curve.

    A point's threshold is the share of never-trained images that score below it, so that curves of different models
    have the same scale. The confusion matrix is at the threshold of best balanced accuracy, the most favourable to the
    attacker. Where the attack was not made there is neither; the metadata then say why.
    """
    audit = metrics.get("audits", {}).get("membership")
    if audit is None:
        shown.metadata.update(model=model, status="not made")
        return
    attack = "calibrated" if calibrated else "loss"
    shown.metadata.update(model=model, attack=attack, status=audit["status"], why=audit["why"])
    columns = audit["curves"].get(model)
    if columns is None:
        return
    if f"fpr_{attack}" not in columns:
        shown.metadata.update(status="n/a", why=audit["facts"].get("calibrated_left_out", "not made"))
        return
    fpr, tpr = columns[f"fpr_{attack}"], columns[f"tpr_{attack}"]
    chosen = _thinned(len(fpr))
    shown.log_roc_curve(
        [fpr[at] for at in chosen], [tpr[at] for at in chosen], [round(1 - fpr[at], 4) for at in chosen]
    )
    best = max(range(len(fpr)), key=lambda at: tpr[at] - fpr[at])
    members, others = (int(audit["facts"][name]) for name in ("num_members", "num_others"))
    found, taken = round(tpr[best] * members), round(fpr[best] * others)
    shown.log_confusion_matrix([MEMBERS, OTHERS], [[found, members - found], [taken, others - taken]])
    shown.metadata["confusion_at"] = f"best balanced accuracy (threshold {1 - fpr[best]:.4g})"


def _thinned(count: int) -> Sequence[int]:
    """Both ends and at most `_MOST_POINTS` places, evenly spread."""
    if count <= _MOST_POINTS:
        return range(count)
    return [round(at * (count - 1) / (_MOST_POINTS - 1)) for at in range(_MOST_POINTS)]


def show_final_state(status: "PipelineTaskFinalStatus", state: "Artifact", **run: str) -> None:
    """Show how the run ended; `run` says which run it was."""
    error = {"error": status.error_message} if status.error_message else {}
    show_facts({"state": status.state, "run": status.pipeline_job_resource_name, **run, **error}, state)


def show_facts(facts: Mapping[str, float | str], shown: "Artifact") -> Mapping[str, float | str]:
    """Write facts as a table and as the artifact's metadata; return them."""
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    Path(shown.path).write_text("\n".join(["| Fact | Value |", "| --- | --- |", *rows]) + "\n")
    shown.metadata.update(facts)
    return facts


def use_tracking_server(uri: str) -> None:
    """Let this process talk to the MLflow server at `uri`; empty = to the one that the environment names."""
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri


def live_curves(uri: str) -> Callable[[Mapping[str, Any]], None] | None:
    """Where a training run sends its rows while it lasts: the MLflow run that Kubeflow's plugin opened, if it did."""
    use_tracking_server(uri)
    if "MLFLOW_RUN_ID" not in os.environ:
        return None
    from i2i_unlearn.registry.tracking import attached_stream  # imports mlflow: only where there is a run to write to

    return attached_stream()
