"""Evidence for people: what a check found, and what the evidence says."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from i2i_unlearn.evidence import envelope, limits
from i2i_unlearn.evidence.contents import WEIGHTS_SIGNATURE, printable
from i2i_unlearn.evidence.keys import require
from i2i_unlearn.evidence.predicate import Line, Predicate, Score
from i2i_unlearn.evidence.verify import Report, statement_file
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.table import table


def lines_of(bundle: Path, found: Report) -> Iterator[str]:
    """Outcome of a check, a line each: what is broken, what holds, what is not shown."""
    yield from (printable(f"broken: {broken.link}: {broken.why}") for broken in found.broken)
    if not found.bundle_is_sound:
        count = sum(broken.of_bundle for broken in found.broken)
        yield f"{bundle}: NOT sound, {count} broken; checked against the key {found.key_id[:16]}"
    elif found.model_fits is False and found.said is not None:
        yield (
            f"{bundle}: sound, signed by the key {found.key_id[:16]}; but {found.model} is NOT the model that it is "
            f"about ({found.said.model.sha256[:12]}): give that model, or the evidence on this one"
        )
    if not found.is_sound:
        return
    yield f"{bundle}: sound, signed by the key {found.key_id[:16]}"
    if found.said is not None:
        yield printable(f"it says: {decision(found.said)}")
    yield f"checked: {', '.join(found.held)}"
    yield "not shown by it:"
    yield from (printable(f"- {line}") for line in found.not_shown)


def decision(said: Predicate) -> str:
    """The gate's decision in a line."""
    verdict = said.gate.verdicts[said.gate.deciding]
    passed = sum(line.outcome == "pass" for line in verdict.lines)
    rehearsed = sum(line.by_rehearsal for line in verdict.lines)
    told = f", {rehearsed} of them by rehearsal" if rehearsed else ""
    return (
        f"gate {said.gate.outcome} (policy {said.gate.deciding}, {passed} of {len(verdict.lines)} checks passed{told}),"
        f" requests {', '.join(request.id for request in said.requests)}"
    )


def read_unchecked(bundle: Path) -> envelope.Statement:
    """The statement of a bundle, its signature not looked at.

    Raises:
        UserError: it cannot be read.
    """
    require()
    path = statement_file(bundle)
    try:
        return envelope.read_statement(envelope.open_envelope(path.read_bytes()).payload)
    except envelope.Fault as fault:
        raise UserError(f"{path}: {fault}; copy the bundle again") from None


def all_lines(said: Predicate) -> Iterator[str]:
    """What evidence says, the decision first, as lines that no terminal's width changes."""
    yield printable(decision(said))
    yield "Read, not checked: `i2i-unlearn evidence verify` checks it."
    for title, head, rows in _tables(said):
        if rows:
            cells = [[printable(cell) for cell in row] for row in rows]
            yield f"\n{printable(title)}"
            yield from table(head, cells).splitlines()
    yield "\nMade of"
    for what, value in _facts(said):
        yield printable(f"{what:{_WIDTH}}  {value}")
    yield "\nNot shown by it:"
    signed = any(file.name == WEIGHTS_SIGNATURE for file in said.files)
    for line in limits.not_shown(said, weights_at_hand=said.model.inside, weights_signed=signed):
        yield printable(f"- {line}")


_Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
_WIDTH = len("split manifest, sha256")


def _tables(said: Predicate) -> Iterator[_Table]:
    """Title, head and rows."""
    yield (
        "Requests",
        ("request", "received", "due", "extended", "days used", "in time"),
        [
            (
                *(one.id, str(one.received), str(one.due), _yes(one.extended)),
                *(f"{one.days_used} of {one.days_allowed}", _yes(one.in_time)),
            )
            for one in said.requests
        ],
    )
    for name, verdict in sorted(said.gate.verdicts.items(), key=lambda item: item[0] != said.gate.deciding):
        decides = ", decides" if name == said.gate.deciding else ""
        yield (
            f"Policy {name}{decides}: {verdict.outcome}",
            ("check", "outcome", "found", "wanted"),
            [(line.name, _outcome(line), _in_words(line), line.bound) for line in verdict.lines],
        )
    yield (
        "Scores of the unlearned model",
        ("set", "metric", "value (95 % interval)"),
        [
            (set_name, metric, _in_words(score))
            for set_name, scores in said.measured.scores.get("unlearned", {}).items()
            for metric, score in scores.items()
        ],
    )
    audits = [(name, audit.status, audit.why) for name, audit in said.measured.audits.items()]
    yield "Audits", ("audit", "status", "why"), audits
    for name, audit in said.measured.audits.items():
        yield (
            f"Worst images by audit {name}, {audit.worst_by}",
            ("image", "score"),
            [(image.code, f"{image.score:.3g}") for image in audit.worst_images],
        )


def _outcome(line: Line) -> str:
    return f"{line.outcome} by rehearsal" if line.by_rehearsal else line.outcome


def _in_words(score: Score | Line) -> str:
    """A number with its interval."""
    if score.value is None:
        return "not measured"
    interval = "" if score.low is None or score.high is None else f" ({score.low:.4g} to {score.high:.4g})"
    return f"{score.value:.4g}{interval}"


def _facts(said: Predicate) -> Iterator[tuple[str, str]]:
    roles = ", ".join(f"{count} {role}" for role, count in said.manifest.roles.items())
    registered = said.registered
    yield "model, sha256", said.model.sha256
    yield "teacher, sha256", said.teacher_sha256
    yield "both versions kept by", said.both_kept_by or "not told"
    yield "references, sha256", ", ".join(said.references_sha256) or "none"
    yield "split manifest, sha256", said.manifest.sha256
    yield "images", roles
    yield "earlier requests", ", ".join(said.manifest.erased) or "none"
    yield "objective", str(said.unlearning.get("objective", "unknown"))
    yield "operators judged", ", ".join(said.measured.operators) or said.measured.operator
    yield "code", said.code_revision or "unknown"
    yield "data", said.data_revision or "unknown"
    yield "container image", said.image or "none told"
    yield "registered", f"{registered.model_name} version {registered.version}" if registered else "not told"
    if registered and registered.accepted_undecided:
        yield "promoted undecided, because", registered.accepted_undecided
    told = said.finished_from == "told"
    yield "finished", f"{said.finished_at.date()}, as the signer says" if told else said.finished_at.isoformat()
    yield "made by", said.created_by


def _yes(value: bool) -> str:
    return "yes" if value else "no"
