"""What the report page shows, gathered by the stage `evaluate`: plain data, no file is read later.

Privacy: forget images (originals or completions, sets `forget` and `forget_holdout`) are in here only where
`show_forget_images` is true; no sample id, subject or image digest ever is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from i2i_unlearn.evaluation.shown import EmbeddingMap, PictureGrid


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """A forget request by its id and dates; never whom or what it names."""

    id: str
    received: str
    """ISO date; empty where the split manifest does not carry it."""
    due: str
    """ISO date; empty where the split manifest does not carry it."""


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything on the page. Dictionaries keep the order in which they are to be shown."""

    metrics: Mapping[str, Any]
    """The content of metrics.json (schema in `stages/evaluate.py`)."""
    verdicts: Mapping[str, Any]
    """The content of verdicts.json: deciding, verdicts {policy: Verdict as dict}, sentence."""
    pictures: Sequence[PictureGrid]
    embeddings: EmbeddingMap | None
    """None where there are too few images for a map."""
    steps: Sequence[Mapping[str, float]]
    """Lines of unlearned/steps.jsonl: step, total, retain, forget, lr ... Terms may differ between objectives."""
    lineage: Mapping[str, str]
    """Label -> value: digests of models, manifest and images, request ids, settings of the run."""
    requests: Sequence[RequestFacts]
    due: str = ""
    """When the earliest request is due (ISO date); empty where it is not known."""
    method: Mapping[str, Any] = field(default_factory=dict)
    """How it was unlearned: objective, scope, alpha, epsilon, steps, as far as they are known."""
    near_duplicates: Mapping[str, Any] = field(default_factory=dict)
    """The split's counts of near-copies of forget images; empty where it does not tell."""
    day: str = ""
    """When the page was written (ISO date); empty where it is not known."""
    model_name: str = ""
    """Name under which the model will be registered; empty where it is not known."""
    show_forget_images: bool
    """Whether forget images may be shown; if false, `pictures` has no grid of a forget set, and the page says why."""
