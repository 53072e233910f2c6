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

from collections.abc import Sequence

from i2i_unlearn.evaluation.audits.base import NEVER_SEEN, Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.matching import all_together
from i2i_unlearn.evaluation.audits.membership import matching_of
from i2i_unlearn.evaluation.audits.seen import log_loss, losses_of_all
from i2i_unlearn.evaluation.audits.two_sets import resample
from i2i_unlearn.evaluation.findings import NEVER_SEEN_SETS, TEACHER
from i2i_unlearn.evaluation.metrics.bootstrap import Draws
from i2i_unlearn.support.progress import Advance

Sets = tuple[str, ...]
_NAMES: dict[Sets, str] = {NEVER_SEEN_SETS: NEVER_SEEN}


class TwoVersions:
    """Meets base.Audit."""

    name = "two_versions"
    question = "Can somebody who has the model before and after tell which images it was made to forget?"
    measure = "auc_forget_never_seen"
    innocent = None
    sets = ("forget", "never_seen")
    min_images = 10

    def units(self, inputs: AuditInputs) -> int:
        """Images of all sets, of all models."""
        return len(inputs.models) * sum(map(inputs.num_images, _groups(self._comparisons(inputs))))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Score the images by every model as "after"."""
        never_seen = inputs.never_seen(self.min_images)
        comparisons = self._comparisons(inputs)
        losses = {
            name: {of: losses_of_all(inputs, name, of, advance, self.name) for of in _groups(comparisons)}
            for name in inputs.models
        }
        before = losses[TEACHER]
        measures: dict[str, dict[str, Draws]] = {name: {} for name in inputs.models}
        for measure, members, others in comparisons:
            num_members, num_others = (len(before[of].loss_N) for of in (members, others))
            drawn = resample(num_members, num_others, inputs.num_draws, inputs.rng(self.name, "bootstrap", measure))
            matching = all_together(num_members, num_others)
            if measure == self.measure:
                matching = matching_of(inputs, before[members].labels_N, before[others].labels_N)
            for name, after in losses.items():
                moved = (log_loss(after[of]) - log_loss(before[of]) for of in (members, others))
                measures[name][measure] = drawn.draws(matching.auc(*moved))
        return Attacked(
            measures=measures,
            num_images=min(len(before[of].loss_N) for of in (("forget",), never_seen)),
            compared_with=inputs.compared_with(never_seen),
            innocent_holds=False,
            status=("measured", "what counts is the difference to a retrained model in place of the unlearned one"),
            facts={f"num_{_NAMES.get(of, of[0])}": len(found.loss_N) for of, found in before.items()},
        )

    def _comparisons(self, inputs: AuditInputs) -> list[tuple[str, Sets, Sets]]:
        """Measure, members and others; retain is told from images held out of it."""
        every: list[tuple[str, Sets, Sets]] = [
            (self.measure, ("forget",), inputs.never_seen(self.min_images)),
            ("auc_forget_retain", ("forget",), ("retain",)),
            ("auc_retain_never_seen", ("retain",), ("retain_holdout",)),
        ]
        return [one for one in every if all(inputs.num_images(of) >= self.min_images for of in one[1:])]


def _groups(comparisons: Sequence[tuple[str, Sets, Sets]]) -> list[Sets]:
    return list(dict.fromkeys(of for _, *both in comparisons for of in both))


AUDIT = TwoVersions()
