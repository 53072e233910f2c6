"""`registry check`: does MLflow agree with the promotion record about the champion?

It finds an alias that was moved or removed without a record, a champion whose weights, files, evaluation or tags differ
from what was promoted, and a recorded version that no longer exists. It changes nothing, except that an interrupted
move is written down as done or void.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from i2i_unlearn.config.sections import PromoteConfig
from i2i_unlearn.registry import alias_moves, history, integrity, project_registry, tracking
from i2i_unlearn.registry.notify import notify
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused

Facts = dict[str, float | str]


@dataclass(frozen=True)
class Checked:
    """What was found."""

    model_name: str
    champion: str
    """Number of the version that has the alias in MLflow, or empty."""
    recorded: str
    """Number of the version that is champion according to the record, or empty."""
    head_sha256: str
    """Digest of the record's newest line, or empty."""
    settled: str
    """How an interrupted move ended, in words, or empty."""
    findings: tuple[str, ...]


def run(config: PromoteConfig, model_name: str) -> Facts:
    """As `check`, for a step of the pipeline.

    Raises:
        GateRefused: something was found.
        UserError: the record is damaged, or MLflow cannot be reached.
    """
    checked = check(config, model_name)
    if checked.findings:
        raise GateRefused(*checked.findings)
    return {key: str(value) for key, value in asdict(checked).items() if key != "findings"}


def check(config: PromoteConfig, model_name: str) -> Checked:
    """Compare and send one notification: "found moved" or, if the alias is right, "found changed".

    Raises:
        UserError: the record is damaged, or MLflow cannot be reached.
    """
    with tracking.connect() as server:
        settled = alias_moves.settle(config.ledger, server, model_name)
        records = ledger.read(config.ledger)
        _, head = ledger.verify(config.ledger)
        champion = server.at_alias(model_name, tracking.CHAMPION)
        last = history.last_champion(records, model_name)
        recorded = last.version if last else _first_champion(server, model_name)
        elsewhere = project_registry.foreign(server, config.ledger, last) if last else ""
        moved = [elsewhere] if elsewhere else list(_moved(champion, recorded, last))
        findings = [*moved, *_changed(server, champion, last)]
    number = champion.number if champion else ""
    checked = Checked(model_name, number, recorded, head, settled, tuple(findings))
    if findings:
        about = {"model_name": model_name, "version": number, "recorded": recorded, "reasons": findings}
        notify(config, "found moved" if moved else "found changed", {**about, "message": "; ".join(findings)})
    return checked


def _first_champion(server: tracking.Server, model_name: str) -> str:
    """Before any promotion it is the oldest original: `register --original` gave it the alias."""
    originals = server.versions(model_name, kind="original")
    return originals[-1].number if originals else ""


def _moved(champion: tracking.Version | None, recorded: str, last: history.Move | None) -> Iterator[str]:
    number = champion.number if champion else ""
    if number == recorded:
        return
    how = last.in_words() if last else "the original; nothing was promoted yet"
    should = f"the promotion record says version {recorded} ({how})" if recorded else "nothing was promoted yet"
    if champion is None:
        yield f"there is no champion in MLflow, but {should}: the alias was removed by hand{_remedy(last)}"
    else:
        yield f"champion in MLflow is version {number}, but {should}: the alias was moved by hand{_remedy(last)}"


def _remedy(last: history.Move | None) -> str:
    return f"; {project_registry.RESTORE}" if last else ""


def _changed(server: tracking.Server, champion: tracking.Version | None, last: history.Move | None) -> Iterator[str]:
    if champion is None:
        return
    for difference in integrity.differences(server, champion):
        yield f"champion version {champion.number}: {difference}"
    if last is None or last.version != champion.number:
        return
    for key in _kept(last.record):
        found, recorded = champion.tags.get(key, ""), str(last.record[key])
        if found != recorded:
            yield (
                f"champion version {champion.number}: its tag {key} is {found or 'empty'!r}, but the promotion record "
                f"says {recorded or 'empty'!r}"
            )


def _kept(record: history.Record) -> Sequence[str]:
    """Tags that the record repeats; the gate's are not compared, as a later evaluation may change them."""
    return [key for key in ("model_sha256", "requests", "erased", "teacher_version") if key in record]
