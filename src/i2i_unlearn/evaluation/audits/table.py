"""All audits by name. A new audit = a file that offers `AUDIT`, a line here, a test. Imports nothing heavy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.evaluation.audits.base import Audit


@dataclass(frozen=True)
class Measure:
    """How a number is called and written, of an audit or of the metrics."""

    title: str
    meaning: str
    digits: int
    """Decimals."""
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where an audit is, how it is called, and what policies may bound of it."""

    module: str
    """Imported when the audit is made, not before: the gate reads this table without torch."""
    title: str
    measures: Mapping[str, Measure]
    """By name in metrics.json; the deciding one comes first."""
    needs_reference: bool = False
    """True where the deciding measure cannot even be taken without a reference."""

    @property
    def deciding(self) -> str:
        """Name of the measure that decides."""
        return next(iter(self.measures))

    def load(self) -> "Audit":
        """The audit itself."""
        audit: Audit = import_module(self.module).AUDIT
        return audit


_AUC = "area under the ROC curve; 0.5 = a guess, 1 = always right"
_MOVED = "by how the loss of an image changed from the previous champion"
_NUMBERS = {
    "error": "error in the hole",
    "contrast": "contrast of the filling",
    "roughness": "roughness of the filling",
    "edge": "step at the edge of the hole",
}
_AT_ONCE = "0 = recovered at once"
_LIMIT = "the limit if it has not recovered by then"
_EPSILON = "lower bound at 95 % and delta 1e-5; 0 = nothing was found"
_RANK = "mean rank among never-seen images of the class; 0.5 = like them"
_SHIFT = "rank minus the rank under the original model"


def _rates(prefix: str, rate: str) -> "dict[str, Measure]":
    """Share of forget images found at few false alarms, by attack."""
    meaning = f"share of the forget images found at the threshold that takes {rate} of the others for forget images"
    attacks = {"loss": "loss", "similarity": "likeness", "calibrated": "calibrated loss"}
    return {
        f"{prefix}_{attack}": Measure(f"Found at {rate} false alarms, by {title}", meaning, 3)
        for attack, title in attacks.items()
    }


def _ranks(prefix: str = "", of: str = "") -> "dict[str, Measure]":
    """Two measures for each number."""
    return {
        f"{prefix}{name}_{kind}": Measure(f"{title[0].upper()}{title[1:]}{of}, {kind}", meaning, 3)
        for name, title in _NUMBERS.items()
        for kind, meaning in (("shift", _SHIFT), ("rank", _RANK))
    }


AUDITS: dict[str, Entry] = {
    "rank_shift": Entry(
        module="i2i_unlearn.evaluation.audits.rank_shift",
        title="Rank shift",
        measures=_ranks() | _ranks("retain_", " of kept images"),
    ),
    "membership": Entry(
        module="i2i_unlearn.evaluation.audits.membership",
        title="Membership inference",
        measures={
            "auc_loss": Measure("AUC by loss", f"by the model's own training loss: {_AUC}", 3),
            "auc_similarity": Measure("AUC by likeness", f"by how alike completion and original are: {_AUC}", 3),
            "auc_calibrated": Measure(
                "AUC by calibrated loss", f"by the loss against that of retrained models, image by image: {_AUC}", 3
            ),
            "calibrated_excess": Measure(
                "AUC by calibrated loss beyond retrained models", "less the mean of their own; 0 = as retraining", 3
            ),
        }
        | _rates("tpr_at_1pct_fpr", "1 %")
        | _rates("tpr_at_01pct_fpr", ".1 %"),
    ),
    "retain_membership": Entry(
        module="i2i_unlearn.evaluation.audits.retain_membership",
        title="Membership of the images to keep",
        measures={"auc_loss": Measure("AUC by loss, images to keep", f"told from never-seen ones: {_AUC}", 3)},
    ),
    "two_versions": Entry(
        module="i2i_unlearn.evaluation.audits.two_versions",
        title="Two versions",
        measures={
            "auc_forget_never_seen": Measure("Forgotten from never-seen images", f"{_MOVED}: {_AUC}", 3),
            "auc_forget_retain": Measure("Forgotten from kept images", f"{_MOVED}: {_AUC}", 3),
            "auc_retain_never_seen": Measure("Kept from never-seen images", f"{_MOVED}: {_AUC}", 3),
        },
    ),
    "linear_probe": Entry(
        module="i2i_unlearn.evaluation.audits.linear_probe",
        title="Linear probe",
        measures={"auc": Measure("AUC of the probe", _AUC, 3)},
    ),
    "perturbation": Entry(
        module="i2i_unlearn.evaluation.audits.perturbation",
        title="Slightly changed images",
        measures={
            "nearer_than_reference": Measure(
                "Nearer than the retrained model",
                "share of neighbours completed nearer to the truth than by the retrained model, minus the same share "
                "for images never trained on; 0 = none",
                3,
            ),
            "gain_db": Measure("Gain of the best neighbour (dB)", "minus the same for images never trained on", 2),
        },
        needs_reference=True,
    ),
    "relearning": Entry(
        module="i2i_unlearn.evaluation.audits.relearning",
        title="Relearning",
        measures={
            "relearning_db": Measure(
                "Below the original while relearning (dB)", f"mean over the attack; {_AT_ONCE}", 2
            ),
            "relearning_steps": Measure("Steps until it is back", _LIMIT, 0),
            "relearning_images": Measure("Images shown until then", "different forget images", 0),
        },
    ),
    "coming_back": Entry(
        module="i2i_unlearn.evaluation.audits.coming_back",
        title="Coming back",
        measures={
            "auxiliary_db": Measure(
                "Below the original while trained on never-seen images (dB)", f"mean over the training; {_AT_ONCE}", 2
            ),
            "auxiliary_steps": Measure("Steps on never-seen images until it is back", _LIMIT, 0),
            "retain_db": Measure(
                "Below the original while trained on images to keep (dB)", f"mean over one epoch; {_AT_ONCE}", 2
            ),
            "retain_steps": Measure("Steps on images to keep until it is back", _LIMIT, 0),
        },
    ),
    "canaries": Entry(
        module="i2i_unlearn.evaluation.audits.canaries",
        title="Canaries",
        measures={
            "epsilon_requested": Measure(
                "Epsilon of the withdrawn canaries, at least", f"told from those never trained on; {_EPSILON}", 2
            ),
            "epsilon_training": Measure(
                "Epsilon of the training, at least", f"all canaries, trained on or not by a coin; {_EPSILON}", 2
            ),
        },
    ),
    "recovery": Entry(
        module="i2i_unlearn.evaluation.audits.recovery",
        title="Recovery by another decoder",
        measures={
            "recovery_gap_db": Measure(
                "Recovered beyond images never seen (dB)", "gain on forget images minus that on others; 0 = none", 2
            ),
            "recovery_gain_db": Measure(
                "Recovered beyond the mean image (dB)", "on forget images, by a decoder trained without them", 2
            ),
        },
    ),
}


def check_audits(names: Iterable[str]) -> None:
    """Refuse names that are not in the table.

    Raises:
        UserError: names all unknown ones and the known.
    """
    unknown = [repr(name) for name in names if name not in AUDITS]
    if unknown:
        raise UserError(f"evaluate.audits.run={', '.join(unknown)} is not known; choose from: {', '.join(AUDITS)}")
