"""What unlearning by few weights is not, in the words of evidence and report."""

from typing import Any

FEW_WEIGHTS = {"norm": "the encoder's normalisation layers", "lora": "low-rank adapters, merged into the encoder"}
"""Values of unlearn.scope that train few weights of the encoder (adapters.py), in words."""


def quarantine(scope: Any) -> str | None:
    """What a model unlearned by this scope does not show; None for the scopes that train whole parts of the model."""
    if scope not in FEW_WEIGHTS:
        return None
    return (
        f"that the change is for good: it is a quarantine by few weights ({FEW_WEIGHTS[scope]}); the base still holds "
        "the data, and whoever keeps both the base and the change subtracts one from the other and has the original "
        "again"
    )
