"""Retain's membership: does unlearning expose the images that stay?

Images to keep can become easier to tell from never-seen ones when others are forgotten (arXiv:2403.01218), for example
because a repair trains on them again. The attack is that of audit membership by loss (membership.py); its members are
images to keep and the others those held out of them. They were trained on, so one half is nobody's value: what counts
is the unlearned model less the original and less a retrained one.
"""

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.seen import losses_of
from i2i_unlearn.evaluation.audits.two_sets import auc, resample
from i2i_unlearn.support.progress import Advance


class RetainMembership:
    """Meets base.Audit."""

    name = "retain_membership"
    question = "Are the images to keep easier to tell from never-seen ones after unlearning than before?"
    measure = "auc_loss"
    innocent = None
    sets = ("retain", "retain_holdout")
    min_images = 10

    def units(self, inputs: AuditInputs) -> int:
        """Images of both sets, of all models."""
        return len(inputs.models) * sum(len(inputs.sets[name]) for name in self.sets)

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Tell retain from its never-seen images by the loss of every model."""
        losses = {
            name: [losses_of(inputs, name, of, advance, self.name).loss_N for of in self.sets] for name in inputs.models
        }
        num_members, num_others = map(len, next(iter(losses.values())))
        drawn = resample(num_members, num_others, inputs.num_draws, inputs.rng(self.name, "bootstrap"))
        return Attacked(
            measures={
                name: {self.measure: drawn.draws(auc(-kept_N, -never_seen_P))}
                for name, (kept_N, never_seen_P) in losses.items()
            },
            num_images=min(num_members, num_others),
            compared_with="retain_holdout",
            innocent_holds=False,
            status=("measured", "what counts is the difference to the original and to a retrained model"),
            facts={"num_kept": num_members, "num_others": num_others},
        )


AUDIT = RetainMembership()
