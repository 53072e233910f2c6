"""What a policy can decide with so many images and references, before anything runs. Pure; approximations, no promise.

Half the width of a 95 % interval, by the number of images N (and of never-seen images P that they are compared with):

    rank            1.96 * sqrt((1/N + 1/P) / 12)         a uniform rank has standard deviation sqrt(1/12) = .29
    rank shift      .02 * sqrt((1/N + 1/P) / (1/40 + 1/250))      paired; measured with N 40, P 250 (METHOD, 13)
    AUC             1.96 * sqrt((N + P + 1) / (12 N P))   at .5 (Hanley and McNeil, Radiology 143, 1982)
    PSNR, paired    1.96 * 1.2 dB / sqrt(N)               images differ by .9 to 1.6 dB (measured: digits)

A line sees an effect that is farther from its bound than that. What it needs stands where it is measured: audits name
their fewest images, metrics theirs, and the thresholds are the policy's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from i2i_unlearn.data.split.manifest import ERASED
from i2i_unlearn.evaluation.audits.base import Audit
from i2i_unlearn.evaluation.audits.rank_shift import FEWEST
from i2i_unlearn.evaluation.audits.ranks import FEWEST_OF_CLASS as FEWEST_TO_RANK_BY_CLASS
from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.findings import FEWEST_OF_CLASS, NEVER_SEEN_SETS
from i2i_unlearn.evaluation.metrics.relative import FEWEST_REFERENCES
from i2i_unlearn.evaluation.metrics.table import METRICS, find_metric
from i2i_unlearn.evaluation.policy import RANK_SHIFT, Line, Policy
from i2i_unlearn.evaluation.rehearsal import NUM_STAND_INS

Z = 1.96
"""Of a normal distribution, 95 % lie within so many standard deviations."""
SHIFT, SHIFT_IMAGES, SHIFT_NEVER_SEEN = 0.02, 40, 250
SPREAD_DB = 1.2
MORE_REFERENCES = (1, 3)
"""Numbers of references whose use is told."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What a run has: images by set (findings.SETS) and class, and references."""

    images: Mapping[str, Mapping[str, int]]
    references: int
    max_images: int
    """Scored of a set at most (evaluate.max_images)."""
    max_audited: int
    """Attacked of a set at most (evaluate.audits.max_images)."""
    rehearsal: bool = False
    """Whether a request that is too small for ranks is rehearsed (evaluate.rehearsal)."""

    def total(self, set_name: str) -> int:
        """Images of a set."""
        return sum(self.images.get(set_name, {}).values())

    def scored(self, set_name: str) -> int:
        """Images of a set that are scored."""
        return min(self.total(set_name), self.max_images)

    def scored_by_class(self, set_name: str) -> dict[str, int]:
        """The same by class; of a random subset, what is to be expected."""
        share = self.scored(set_name) / max(self.total(set_name), 1)
        return {label: int(count * share) for label, count in self.images.get(set_name, {}).items()}

    def never_seen(self) -> int:
        """Never-seen images that ranks are taken among: of the forget images' classes where these have enough."""
        by_class = [self.scored_by_class(name) for name in NEVER_SEEN_SETS]
        of_class = {label: sum(one.get(label, 0) for one in by_class) for label in self.images.get("forget", {})}
        if of_class and min(of_class.values()) >= FEWEST_TO_RANK_BY_CLASS:
            return min(of_class.values())
        return sum(self.scored(name) for name in NEVER_SEEN_SETS)

    def audited(self, role: str, least: int) -> tuple[str, int]:
        """The set that plays a role in an audit, as `AuditInputs.never_trained` chooses it, and its size.

        Where the request names images one by one and losses are compared with both sets, it is the larger part.
        """
        held_out = [name for name in NEVER_SEEN_SETS if min(self.total(name), self.max_audited) >= least]
        name = (held_out or ["retain_holdout"])[0] if role in ("never_trained", "never_seen") else role
        return name, min(self.total(name), self.max_audited)


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What to expect of one line."""

    line: str
    can_decide: bool
    counts: bool
    """Whether the policy stays undecided where the line cannot decide."""
    smallest: float | None
    """Smallest effect it would see, in `unit`; None where the line cannot decide, or nothing is known of the spread."""
    unit: str
    lacks: str
    """What it lacks; empty where it can decide."""
    by_rehearsal: bool = False
    """Whether it can decide by a rehearsal alone: it then speaks for the recipe."""


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What to expect of a policy."""

    policy: str
    lines: tuple[Foreseen, ...]
    by_references: Mapping[int, tuple[str, ...]]
    """What so many references would add, in words."""

    @property
    def open_lines(self) -> tuple[Foreseen, ...]:
        """The lines that leave the policy undecided."""
        return tuple(line for line in self.lines if line.counts and not line.can_decide)

    def outcome(self) -> str:
        """As a sentence."""
        open_ = self.open_lines
        if not open_:
            rehearsed = any(line.by_rehearsal for line in self.lines)
            return f"policy {self.policy} can be decided{' by rehearsal' if rehearsed else ''}"
        return (
            f"policy {self.policy} would stay undecided, unless a line fails: {len(open_)} of its lines lack images or"
            " references; only a person can then promote, with `registry promote --accept-undecided REASON`"
        )


def foresee(policy: Policy, numbers: Numbers) -> Foresight:
    """What `policy` can decide."""
    lines = tuple(_foresee(line, numbers) for line in policy.lines)
    more = {count: _added(policy, numbers, count) for count in MORE_REFERENCES if count > numbers.references}
    return Foresight(policy=policy.name, lines=lines, by_references=more)


def _foresee(line: Line, numbers: Numbers) -> Foreseen:
    if line.measure.earlier:
        return _foresee_earlier(line, numbers)
    lacks = "; ".join(_lacks(line, numbers))
    more = _with_stand_ins(line, numbers) if lacks else None
    if more and not _lacks(line, more):
        if numbers.rehearsal:
            return replace(_foresee(line, more), by_rehearsal=True)
        lacks += "; evaluate.rehearsal: true lets stand-ins speak for the recipe"
    return Foreseen(
        line=line.name,
        can_decide=not lacks,
        counts=line.decides and not (line.measure.worst_class and bool(lacks)),  # as the gate does
        smallest=None if lacks else _smallest(line, numbers),
        unit=_unit(line),
        lacks=lacks,
    )


def _with_stand_ins(line: Line, numbers: Numbers) -> Numbers | None:
    """What a rehearsal would have; None where it does not concern the line."""
    if line.measure.audit != RANK_SHIFT or numbers.total("forget") >= FEWEST:
        return None
    forget, retain = (numbers.images.get(name, {}) for name in ("forget", "retain"))
    more = min(NUM_STAND_INS, sum(retain.get(label, 0) for label in forget), numbers.total("retain") // 2)
    first = next(iter(forget), "")
    return replace(numbers, images={**numbers.images, "forget": {**forget, first: forget.get(first, 0) + more}})


def _foresee_earlier(line: Line, numbers: Numbers) -> Foreseen:
    """As if the earlier requests were one; it counts only where there are any, as for the gate."""
    present = line.model_copy(update={"measure": line.measure.model_copy(update={"earlier": False})})
    erased = numbers.images.get(ERASED, {})
    found = _foresee(present, replace(numbers, images={**numbers.images, "forget": erased, "retain": {}}))
    lacks = found.lacks.replace("of forget", "of earlier requests") if erased else "no request was promoted before"
    return replace(found, counts=found.counts and found.can_decide, lacks=lacks)


def _lacks(line: Line, numbers: Numbers) -> list[str]:
    measure = line.measure
    faults = []
    if measure.audit:
        faults += _lacks_of_audit(AUDITS[measure.audit].load(), numbers)
    for name in filter(None, (measure.set, measure.minus_set)):
        found, least = numbers.scored(name), _fewest(measure.metric)
        if found < least:
            faults.append(f"{least} image{'s' * (least > 1)} of {name} needed, there {_are(found)}")
    if measure.worst_class and measure.set and not _large_classes(numbers, measure.set):
        faults.append(f"no class has {FEWEST_OF_CLASS} images of {measure.set}")
    references = _references_needed(line)
    if numbers.references < references:
        faults.append(f"{references} reference{'s' * (references > 1)} needed, there {_are(numbers.references)}")
    return faults


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"


def _lacks_of_audit(audit: Audit, numbers: Numbers) -> list[str]:
    found = [numbers.audited(role, audit.min_images) for role in audit.sets]
    return [
        f"{audit.min_images} images of {name} needed, there {_are(count)}"
        for name, count in found
        if count < audit.min_images
    ]


def _fewest(metric: str) -> int:
    known = find_metric(metric)
    return METRICS[known[0]].min_images if known else 1


def _references_needed(line: Line) -> int:
    measure = line.measure
    if measure.relative:
        return FEWEST_REFERENCES
    named = "reference" in (measure.model, measure.minus, measure.divided_by) or measure.metric.startswith("reference_")
    needed = measure.audit and AUDITS[measure.audit].needs_reference and AUDITS[measure.audit].deciding
    return int(named or needed == measure.metric or "calibrated" in measure.metric)


def _large_classes(numbers: Numbers, set_name: str) -> list[int]:
    return [count for count in numbers.scored_by_class(set_name).values() if count >= FEWEST_OF_CLASS]


def _smallest(line: Line, numbers: Numbers) -> float | None:
    measure = line.measure
    if line.rule == "memory":
        return shift_half_width(numbers.scored("forget"), numbers.never_seen())
    if line.rule == "shape":
        return max(shift_half_width(numbers.scored("forget"), numbers.never_seen()), line.fails_beyond or 0)
    if measure.audit:
        return _of_audit(line, numbers)
    if not measure.metric.endswith("_db") or measure.set is None:
        return None
    counts = [numbers.scored(name) for name in filter(None, (measure.set, measure.minus_set))]
    if measure.worst_class:
        counts = [min(_large_classes(numbers, measure.set))]
    return psnr_half_width(*counts)


def _of_audit(line: Line, numbers: Numbers) -> float | None:
    """Of an AUC; of other measures nothing is known beforehand."""
    is_area = "auc" in line.measure.metric or line.measure.metric == "calibrated_excess"
    if not is_area or line.measure.audit is None:
        return None
    audit = AUDITS[line.measure.audit].load()
    return auc_half_width(*(numbers.audited(role, audit.min_images)[1] for role in ("forget", "never_trained")))


def _unit(line: Line) -> str:
    if line.rule in ("memory", "shape"):
        return "of rank"
    return "dB" if line.measure.metric.endswith("_db") else ""


def _added(policy: Policy, numbers: Numbers, references: int) -> tuple[str, ...]:
    """Lines that could be decided with so many references and not with those there are, and what gets better."""
    more = replace(numbers, references=references)
    both = [(line, _foresee(line, numbers), _foresee(line, more)) for line in policy.lines]
    opened = [line.name for line, now, then in both if then.can_decide and not now.can_decide]
    added = [f"decides {', '.join(opened)}"] if opened else []
    ranked = [line.name for line, now, _ in both if now.can_decide and line.rule == "memory"]
    if ranked and not numbers.references:
        half = rank_half_width(numbers.scored("forget"), numbers.never_seen())
        added.append(
            f"{', '.join(ranked)} is judged by a reference's rank in place of 0.5 (one rank is known to +-{half:.2f}),"
            " and passes too where there was nothing to forget"
        )
    return tuple(added)


def rank_half_width(num: int, never_seen: int) -> float:
    """Of the mean rank of `num` images among `never_seen`."""
    return Z * math.sqrt((1 / num + 1 / max(never_seen, 1)) / 12)


def shift_half_width(num: int, never_seen: int) -> float:
    """Of the mean shift of the ranks of `num` images among `never_seen`."""
    measured = 1 / SHIFT_IMAGES + 1 / SHIFT_NEVER_SEEN
    return SHIFT * math.sqrt((1 / num + 1 / max(never_seen, 1)) / measured)


def auc_half_width(members: int, others: int) -> float:
    """Of an area under the ROC curve that is 0.5."""
    return Z * math.sqrt((members + others + 1) / (12 * members * others))


def psnr_half_width(*counts: int) -> float:
    """Of a difference between two models on one set, or of a difference of such differences; dB."""
    return Z * SPREAD_DB * math.sqrt(sum(1 / count for count in counts))


def as_facts(foresight: Foresight) -> dict[str, Any]:
    """Plain data, for JSON."""
    return {
        "policy": foresight.policy,
        "outcome": foresight.outcome(),
        "lines": [vars(line) for line in foresight.lines],
        "references_would_add": {str(count): list(added) for count, added in foresight.by_references.items()},
    }
