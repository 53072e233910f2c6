"""Back to an earlier champion, unless it knows what was erased."""

from pathlib import Path

import pytest

from i2i_unlearn.registry import alias_moves, history, rollback, tracking
from i2i_unlearn.stages import promote
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.world import Registered
from tests.support.says import says

WHO = {"by": "Ada", "reason": "seams"}


@pytest.fixture
def third(registered, promote_config) -> Registered:
    """Versions 1, 2 and 3 were champion in this order; 3 forgot the same as 2, better."""
    promote.run(promote_config, registered.config)
    registered.copy("2", kind="again")
    with tracking.connect() as server:
        seen, chosen = registered.version("2"), registered.version("3")
        entry = {"event": "promote", "by": "Bob", "reason": "better"}
        alias_moves.move(promote_config.ledger, server, chosen, seen, entry)
    return registered


def test_back_to_the_champion_before_by_the_record_and_then_further_back(third, promote_config):
    before = Path(promote_config.ledger).read_bytes()
    dry = rollback.run(promote_config, third.config, **WHO, dry_run=True)
    assert (dry["outcome"], third.alias("champion")) == ("would be rolled back", "3")
    assert Path(promote_config.ledger).read_bytes() == before
    facts = rollback.run(promote_config, third.config, **WHO)
    told = tuple(facts[key] for key in ("version", "outcome", "replaced", "knows_again"))
    assert told == ("2", "rolled back", "3", "")
    assert third.alias("champion") == "2"
    last = history.last_champion(ledger.read(promote_config.ledger), third.name)
    assert (last.version, last.replaced, last.record["event"]) == ("2", "3", "rollback")
    assert (last.record["by"], last.record["reason"], last.record["forced"]) == ("Ada", "seams", False)
    with says(GateRefused, "version 1", "digit-3"):  # not forward again
        rollback.run(promote_config, third.config, **WHO)


def test_what_was_erased_stays_erased_unless_a_person_forces_it_and_that_is_kept(registered, promote_config):
    promote.run(promote_config, registered.config)
    with says(GateRefused, "version 1", "digit-3", "--force --by NAME --reason TEXT"):
        rollback.run(promote_config, registered.config, **WHO)
    assert registered.alias("champion") == "2"
    facts = rollback.run(promote_config, registered.config, **WHO, force=True)
    assert (facts["version"], facts["knows_again"]) == ("1", "digit-3")
    assert registered.alias("champion") == "1"
    assert registered.tags("1")["rollback_forced"] == "Ada: seams (knows again: digit-3)"
    record = ledger.read(promote_config.ledger)[-2]
    assert (record["forced"], record["knows_again"], record["reason"]) == (True, "digit-3", "seams")
    assert history.outcomes(ledger.read(promote_config.ledger))[-1][1] == "done, forced"


@pytest.mark.parametrize("who", [{"by": "Ada", "reason": " "}, {"by": "", "reason": "seams"}])
def test_a_rollback_needs_a_name_and_a_reason(third, promote_config, who):
    with says(UserError, "--by NAME", "--reason TEXT"):
        rollback.run(promote_config, third.config, **who)
    assert third.alias("champion") == "3"


def test_a_version_that_never_was_champion_is_refused_with_all_reasons(third, promote_config):
    fourth = third.copy("2", requests="digit-9", model_sha256="0" * 64)
    with pytest.raises(GateRefused) as told:
        rollback.run(promote_config, third.config, version=fourth, **WHO)
    never, knows, *damaged = told.value.reasons
    assert "version 4 was never champion" in never
    assert "1, 2, 3" in never
    assert "still knows digit-3" in knows
    assert "its weights in MLflow" in damaged[0]


def test_after_a_move_by_hand_what_the_record_knows_as_forgotten_still_counts(registered, promote_config):
    promote.run(promote_config, registered.config)
    registered.set_alias("champion", "1")
    with says(UserError, "promotion record", "before version 1", "--version N"):
        rollback.run(promote_config, registered.config, **WHO)
    assert rollback.run(promote_config, registered.config, version="2", **WHO)["outcome"] == "rolled back"
    assert registered.alias("champion") == "2"
