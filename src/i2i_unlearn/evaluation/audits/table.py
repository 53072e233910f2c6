"""All audits by name. A new audit = a file that offers `AUDIT`, a line here, a test. Imports nothing heavy."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.evaluation.audits.base import Audit


@dataclass(frozen=True)
class Entry:
    """Where an audit is, and what policies may bound of it."""

    module: str
    """Imported when the audit is made, not before: the gate reads this table and needs no torch."""
    measures: tuple[str, ...]
    """The one that decides comes first."""
    needs_reference: bool = False
    """True where the measure that decides cannot even be taken without a reference."""

    def load(self) -> "Audit":
        """The audit itself."""
        audit: Audit = import_module(self.module).AUDIT
        return audit


AUDITS: dict[str, Entry] = {
    "membership": Entry(
        "i2i_unlearn.evaluation.audits.membership",
        ("auc_loss", "auc_similarity", "tpr_at_1pct_fpr_loss", "tpr_at_1pct_fpr_similarity"),
    ),
    "linear_probe": Entry("i2i_unlearn.evaluation.audits.linear_probe", ("auc",)),
    "perturbation": Entry(
        "i2i_unlearn.evaluation.audits.perturbation", ("nearer_than_reference", "gain_db"), needs_reference=True
    ),
    "relearning": Entry(
        "i2i_unlearn.evaluation.audits.relearning", ("relearning_db", "relearning_steps", "relearning_images")
    ),
    "recovery": Entry("i2i_unlearn.evaluation.audits.recovery", ("recovery_gap_db", "recovery_gain_db")),
}


def check_audits(names: Iterable[str]) -> None:
    """Refuse names that are not in the table.

    Raises:
        UserError: names all unknown ones and the known.
    """
    unknown = [repr(name) for name in names if name not in AUDITS]
    if unknown:
        raise UserError(f"evaluate.audits.run={', '.join(unknown)} is not known; choose from: {', '.join(AUDITS)}")
