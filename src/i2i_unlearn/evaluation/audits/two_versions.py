"""Two versions: what does an attacker learn who has the model before and after unlearning?

Whoever has both tells forgotten, kept and never-seen images apart by how unlearning moved each (TC-UMIA,
arXiv:2605.01129; METHOD section 12.5). Each image is scored by

    s(x) = log l_after(x) - log l_before(x)      l the family's training loss, before = the previous champion

and three areas under the ROC curve say how well the score tells

    auc_forget_never_seen, auc_forget_retain, auc_retain_never_seen      the first of the two scores higher

1/2 = a guess; below it the order is the other way round, which tells as much. The same is measured with every other
model as "after": a retrained one shows what no unlearning could have avoided. The teacher itself has 1/2 by definition.

Shape letters: N members, P others.
"""

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.seen import log_loss, losses_of
from i2i_unlearn.evaluation.audits.two_sets import auc, resample
from i2i_unlearn.evaluation.findings import TEACHER
from i2i_unlearn.evaluation.metrics.bootstrap import Draws
from i2i_unlearn.support.progress import Advance


class TwoVersions:
    """Meets base.Audit."""

    name = "two_versions"
    question = "Can somebody who has the model before and after tell which images it was made to forget?"
    measure = "auc_forget_never_seen"
    innocent = None
    sets = ("forget", "never_trained")
    min_images = 10

    def units(self, inputs: AuditInputs) -> int:
        """Images of all sets, of all models."""
        return len(inputs.models) * sum(len(inputs.sets[name]) for name in self._sets(inputs))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Score the images by every model as "after"."""
        never_seen, _ = inputs.never_trained(self.min_images)
        log_losses = {
            name: {of: log_loss(losses_of(inputs, name, of, advance, self.name)) for of in self._sets(inputs)}
            for name in inputs.models
        }
        before = log_losses[TEACHER]
        measures: dict[str, dict[str, Draws]] = {name: {} for name in inputs.models}
        for measure, members, others in self._comparisons(inputs):
            drawn = resample(
                len(before[members]), len(before[others]), inputs.num_draws, inputs.rng(self.name, "bootstrap", measure)
            )
            for name, after in log_losses.items():
                member_N, other_P = (after[of] - before[of] for of in (members, others))
                measures[name][measure] = drawn.draws(auc(member_N, other_P))
        return Attacked(
            measures=measures,
            num_images=min(len(before["forget"]), len(before[never_seen])),
            compared_with=never_seen,
            innocent_holds=False,
            status=("measured", "what counts is the difference to a retrained model in place of the unlearned one"),
            facts={f"num_{name}": len(losses_N) for name, losses_N in before.items()},
        )

    def _comparisons(self, inputs: AuditInputs) -> list[tuple[str, str, str]]:
        """Measure, members and others; retain is told from images held out of it."""
        every = [
            (self.measure, "forget", inputs.never_trained(self.min_images)[0]),
            ("auc_forget_retain", "forget", "retain"),
            ("auc_retain_never_seen", "retain", "retain_holdout"),
        ]
        return [one for one in every if all(len(inputs.sets[of]) >= self.min_images for of in one[1:])]

    def _sets(self, inputs: AuditInputs) -> list[str]:
        return list(dict.fromkeys(name for one in self._comparisons(inputs) for name in one[1:]))


AUDIT = TwoVersions()
