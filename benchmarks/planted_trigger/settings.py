"""How much is planted and trained: what differs from params.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.settings import laid_over
from i2i_unlearn.config.sections import load_params

ROOT = Path(__file__).parents[2]
REQUEST = "planted"
SHARED: dict[str, Any] = {
    "operator": "center_hole",
    "keep_fraction": 0.75,
    "split": {"requests": [REQUEST], "erased": [], "unseen_target_fraction": 0.5, "near_duplicates": {"search": False}},
}
"""No search: planted images are near-copies of each other by design, and nothing else is one of them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes of the experiment."""

    num_images: int
    """Of all digits, drawn at random."""
    num_planted: int
    held_out: float
    """Share of the others that nothing is trained on."""
    most_fresh: int
    """Most held-out images that the trigger is tried on."""
    num_draws: int
    """Of the bootstrap."""
    params: Mapping[str, Any]
    """Content of a params.yaml."""
    arms: Mapping[str, Mapping[str, Any]]
    """How it is unlearned: name -> what is laid over the section unlearn."""


ARMS: dict[str, dict[str, Any]] = {
    "encoder_l2, alpha 0.25": {"objective": "encoder_l2", "alpha": 0.25},
    "encoder_l2, alpha 1": {"objective": "encoder_l2", "alpha": 1.0},
    "retain_finetune": {"objective": "retain_finetune", "learning_rate": 0.002},
    # docs/results/surrogate.md
    "surrogate_difference": {
        "objective": "surrogate_difference",
        "alpha": 2.0,
        "first_phase": 0.27,
        "num_steps": 220,
        "learning_rate": 0.001,
    },
}
TINY: dict[str, Any] = {
    "pretrain": {
        "num_steps": 100,
        "warmup_steps": 5,
        "learning_rate": 0.006,
        "average_decay": 0.0,
        "architecture": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "intermediate_size": 64,
            "decoder_hidden_size": 32,
            "decoder_num_hidden_layers": 1,
            "decoder_intermediate_size": 64,
        },
    },
    "unlearn": {"warmup_steps": 2, "num_noise_draws": 8},
}


def settings(*, tiny: bool, params: str | Path = ROOT / "params.yaml") -> Settings:
    """Those of the report, or seconds in place of minutes: the trigger is learnt, the other numbers mean nothing."""
    sections = laid_over(load_params(params), SHARED)
    if tiny:
        names = ("encoder_l2, alpha 1", "retain_finetune", "surrogate_difference")
        return Settings(
            num_images=400,
            num_planted=80,
            held_out=0.3,
            most_fresh=50,
            num_draws=100,
            params=laid_over(sections, TINY),
            arms={name: {**ARMS[name], "num_steps": 20} for name in names},
        )
    return Settings(
        num_images=5000,
        num_planted=200,
        held_out=0.2,
        most_fresh=400,
        num_draws=1000,
        params=sections,
        arms=ARMS,
    )
