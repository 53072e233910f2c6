"""What the report does not claim. Unlearning is easily overclaimed: say what was measured, nothing beyond."""

from collections.abc import Mapping
from typing import Any

from i2i_unlearn.report.audits import STATUSES, audit_views
from i2i_unlearn.report.scores import has_reference
from i2i_unlearn.report.words import extractor_title, listed


def not_claimed(metrics: Mapping[str, Any], scope: str = "") -> list[str]:
    """Sentences, the widest limits first; some depend on what was measured, and on which weights were trained."""
    from i2i_unlearn.method.adapters import quarantine  # imports torch: not for the steps that only show results

    few = quarantine(scope)
    claims = [
        _traces(metrics),
        *([f"{few[0].upper()}{few[1:]}."] if few else []),
        f"Anything about other ways to hide part of an image: all scores hold for the operator "
        f"{metrics['operator']} with {metrics['keep_fraction']:.0%} of the pixels visible.",
        "Anything about other copies: earlier versions of the model, backups, caches and the data itself lie "
        "outside of what was measured.",
        "That other training seeds would give the same numbers. The intervals cover the choice of images, "
        "not the choice of seeds; differences inside an interval mean nothing.",
        "That a low score is the right score. Outputs that are conspicuously destroyed can tell that an image "
        "was in the forget set.",
    ]
    if not has_reference(metrics):
        claims.append("That the model behaves like one that never saw the forget images: no model was retrained.")
    names = {name for sets in metrics["scores"].values() for scores in sets.values() for name in scores}
    if any(name.startswith("fd_") for name in names):
        claims.append(
            f"An FID. The Frechet distance here uses the features of {extractor_title(metrics['extractor'])} "
            "and compares with no published FID."
        )
    if any(name.startswith("kid_") for name in names):
        claims.append(
            "A KID that compares with published ones: it uses the features of "
            f"{extractor_title(metrics['extractor'])}. It takes the place of a Frechet distance, "
            "for which there are too few images."
        )
    return claims


def _traces(metrics: Mapping[str, Any]) -> str:
    """What was attacked and what was not."""
    views = audit_views(metrics)
    by_status = {status: [view.title.lower() for view in views if view.status == status] for status in STATUSES}
    claim = "That every trace of the forget images has left the weights. "
    if not by_status["measured"]:
        claim += "Only what the model completes was measured; no attack on it told anything"
    else:
        claim += f"Attacks that tell something were {listed(by_status['measured'])}; a stronger attack may find more"
    silent = [f"{title} ({status})" for status in ("blind", "n/a") for title in by_status[status]]
    return f"{claim}. Nothing follows from {listed(silent)}." if silent else f"{claim}."
