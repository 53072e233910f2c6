"""The tables, as rows of text. A number is `mean +- half of the 95 % interval over seeds`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.quality.aims import Aim, aims, nearest
from benchmarks.quality.front import DAMAGES, forget_at, is_dominated
from benchmarks.quality.intervals import Interval
from benchmarks.quality.results import SETS, Group, Place

MISSING = "-"
PAPER_METRICS = {
    "fd": ("FD", "{:.2f}"),
    "kid": ("KID x 1000", "{:.2f}"),
    "classifier_score": ("classifier score", "{:.2f}"),
    "feature_cosine": ("cosine", "{:.3f}"),
}
_SCALE = {"kid": 1000.0}


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", self.note, ""] if self.note else [f"### {self.title}", ""]
        lines.append(f"| {' | '.join(self.header)} |")
        lines.append(f"|{' --- |' * len(self.header)}")
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"


def text(interval: Interval | None, form: str = "{:.2f}", scale: float = 1.0) -> str:
    """`9.18 +- 0.05`; the mean alone where there is one seed."""
    if interval is None:
        return MISSING
    mean = form.format(interval.mean * scale)
    return mean if interval.half is None else f"{mean} ± {form.format(interval.half * scale)}"


Chosen = Mapping[tuple[str, str], str]
"""(family, objective) -> setting"""


def rows_of(place: Place, chosen: Chosen) -> list[Group]:
    """Original, reference, and each objective with its chosen setting."""
    found = []
    for objective in place.objectives:
        group = place.named(objective, chosen.get((place.case.family, objective), ""))
        if group is not None:
            found.append(group)
    return [place.original, place.reference, *found]


def paper_table(place: Place, chosen: Chosen) -> Table:
    """The paper's layout: what it wants low on retain it wants high on forget, and the other way round."""
    header = ["model", *(f"{name}, {on}" for on in ("retain", "forget") for name, _ in PAPER_METRICS.values())]
    rows = [
        [
            group.name,
            *(
                text(group.mean(on, metric), form, _SCALE.get(metric, 1.0))
                for on in ("retain", "forget")
                for metric, (_, form) in PAPER_METRICS.items()
            ),
        ]
        for group in rows_of(place, chosen)
    ]
    return Table(f"Paper's layout: {where(place)}", "", header, rows)


def score_table(place: Place, groups: Iterable[Group]) -> Table:
    """Everything else: hole PSNR on all sets, nearness to the reference, membership, time."""
    has_labels = bool(place.original.values("forget", "label_agreement"))
    header = ["model", "forget", "forget, held out", "retain", "unseen", "to reference", "spread", "AUC"]
    header += ["label, forget", "label, retain"] if has_labels else []
    header += ["seconds", "share of retraining"]
    rows = []
    for group in groups:
        psnr = (group.mean(on, "hole_psnr_db") for on in ("forget", "forget_holdout", "retain", "unseen"))
        near = place.floor if group is place.reference else place.to_reference(group)
        row = [group.name, *map(text, psnr), text(near), text(group.mean("forget", "output_spread"), "{:.3f}")]
        row.append(text(group.auc, "{:.3f}"))
        if has_labels:
            row += [text(group.mean(on, "label_agreement"), "{:.3f}") for on in ("forget", "retain")]
        seconds = sum(group.seconds()) / len(group.seeds)
        row += [f"{seconds:.1f}", MISSING if group is place.original else text(place.time_share(group), "{:.3f}")]
        rows.append(row)
    note = (
        "Hole PSNR in dB; `to reference`: PSNR between outputs and the references' outputs on forget (in the "
        "reference's row: between references, the floor)."
    )
    return Table(f"Scores: {where(place)}", note, header, rows)


def front_table(place: Place) -> Table:
    """Forgetting at equal retain damage."""
    header = ["objective", *(f"forget at {damage:g} dB" for damage in DAMAGES), "settings dominated", "by"]
    rows = []
    for objective in place.objectives:
        groups = place.of(objective)
        by = [other for group in groups if (other := is_dominated(group, place)) is not None]
        names = sorted({other.case.model for other in by})
        at = [text(forget_at(groups, place.original, damage)) for damage in DAMAGES]
        rows.append([objective, *at, f"{len(by)} of {len(groups)}", ", ".join(names) or MISSING])
    reference = text(place.reference.mean("forget", "hole_psnr_db"))
    original = text(place.original.mean("forget", "hole_psnr_db"))
    note = (
        f"Hole PSNR on forget (dB) where retain has lost so much; original {original}, reference {reference}. "
        f"`{MISSING}`: the settings do not reach that damage from both sides."
    )
    return Table(f"Forgetting at equal retain damage: {where(place)}", note, header, rows)


def nearness_table(place: Place, groups: Sequence[Group]) -> Table:
    """The aims as columns, met or not."""
    header = ["model"]
    rows = []
    for group in groups:
        found = aims(group, place)
        if len(header) == 1:
            header += [f"{aim.name} ({_limit(aim.limit, aim.unit)})" for aim in found]
        cells = []
        for aim in found:
            form = "{:.2f}" if aim.unit == "dB" else "{:.3f}"
            mark = "" if aim.is_met is None else " ✓" if aim.is_met else " ✗"
            cells.append(f"{_signed(aim.measured, form)}{mark}")
        rows.append([group.name, *cells, _count(found)])
    return Table(f"Nearness to the reference: {where(place)}", "", [*header, "met"], rows)


def overview_table(places: Sequence[Place], chosen: Chosen) -> Table:
    """How many aims each objective meets wherever it was tried; the first place is where its setting was chosen."""
    header = ["objective", "setting", *(f"{place.case.operator}, {place.case.request}" for place in places)]
    rows = []
    for (family, objective), setting in chosen.items():
        if family == places[0].case.family:
            groups = [place.named(objective, setting) for place in places]
            cells = [
                MISSING if group is None else _met(group, place) for group, place in zip(groups, places, strict=True)
            ]
            rows.append([objective, setting, *cells])
    note = "Aims met, and in brackets those missed. The setting was chosen in the first column."
    return Table(f"Aims met: {places[0].case.family}", note, header, rows)


def _met(group: Group, place: Place) -> str:
    found = aims(group, place)
    missed = ", ".join(aim.name for aim in found if aim.is_met is False)
    return _count(found) + (f" ({missed})" if missed else "")


def _count(found: Sequence[Aim]) -> str:
    """Aims met, of those that could be measured."""
    measured = [aim.is_met for aim in found if aim.is_met is not None]
    return f"{sum(measured)} of {len(measured)}"


def _signed(interval: Interval | None, form: str) -> str:
    return text(interval, form.replace("{:", "{:+"), 1.0).replace("± +", "± ")


def _limit(limit: float, unit: str) -> str:
    return f"{limit:g} {unit}".strip()


def retain_table(place: Place) -> Table:
    """Substitutes for the retain set, all scored on classes that none of them is taken from."""
    table = score_table(place, [place.original, place.reference, *place.unlearned])
    kinds = [MISSING, MISSING, *(group.case.retain_images for group in place.unlearned)]
    rows = [[row[0], kind, *row[1:]] for row, kind in zip(table.rows, kinds, strict=True)]
    header = [table.header[0], "retain images", *table.header[1:]]
    note = f"Scored on the classes that give no proxies; `real` sees these classes alone. {table.note}"
    return Table(f"Images in place of the retain set: {where(place)}", note, header, rows)


def choose(places: Iterable[Place]) -> dict[tuple[str, str], Group]:
    """(family, objective) -> the setting that comes nearest to the reference."""
    return {
        (place.case.family, objective): nearest(place.of(objective), place)
        for place in places
        for objective in place.objectives
    }


def where(place: Place) -> str:
    """What a table is about."""
    case = place.case
    return f"{case.family}, {case.operator}, {case.request}"


LongRow = tuple[str | int | float, ...]
LONG_HEADER = (
    *("data", "family", "operator", "request", "study", "retain_images", "model", "setting"),
    *("set", "metric", "mean", "low", "high", "num_seeds"),
)


def long_rows(place: Place) -> Iterable[LongRow]:
    """Every number, one a row, for the CSV."""
    for group in (place.original, place.reference, *place.unlearned):
        case = group.case
        head = (case.data, *case.place, case.retain_images, case.model, case.setting)
        for set_name, metric, interval in _numbers(group, place):
            ends = ["" if end is None else round(end, 6) for end in (interval.low, interval.high)]
            yield (*head, set_name, metric, round(interval.mean, 6), *ends, interval.num)


def _numbers(group: Group, place: Place) -> Iterable[tuple[str, str, Interval]]:
    for role in SETS:
        for metric in sorted(group.seeds[0].scores.get(SETS[role], {})):
            interval = group.mean(role, metric)
            if interval is not None:
                yield role, metric, interval
    yield "forget", "membership_auc", group.auc
    if group is not place.original:
        yield "", "time_share", place.time_share(group)
    if group is place.reference:
        if place.floor is not None:
            yield "forget", "reference_psnr_db", place.floor
        return
    yield "forget", "reference_psnr_db", place.to_reference(group)
    for aim in aims(group, place):
        if aim.measured is not None:
            yield "aim", aim.name, aim.measured
