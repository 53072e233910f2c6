"""What a person did by hand is found; what was promoted is not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from i2i_unlearn.cli.main import app
from i2i_unlearn.config.sections import PromoteConfig
from i2i_unlearn.registry import check
from i2i_unlearn.stages import promote
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.world import Registered
from tests.support.says import says


def findings(config: PromoteConfig, registered: Registered) -> tuple[str, ...]:
    return check.check(config, registered.name).findings


def test_nothing_is_found_before_and_after_a_promotion(registered, promote_config):
    never = check.check(promote_config, "never-registered")
    assert (never.champion, never.recorded, never.findings) == ("", "", ())
    assert findings(promote_config, registered) == ()
    promote.run(promote_config, registered.config)
    checked = check.check(promote_config, registered.name)
    assert (checked.champion, checked.recorded, checked.findings) == ("2", "2", ())
    assert checked.head_sha256 == ledger.verify(promote_config.ledger)[1]


def test_an_alias_that_was_moved_by_hand_is_found_with_who_promoted_what(registered, promote_config):
    promote.run(promote_config, registered.config, by="Ada")
    registered.set_alias("champion", "1")
    (finding,) = findings(promote_config, registered)
    assert finding.startswith(
        "champion in MLflow is version 1, but the promotion record says version 2 (promoted by Ada"
    )
    assert "the alias was moved by hand; give it back with `i2i-unlearn registry restore" in finding
    with says(GateRefused, "version 1", "version 2", "moved by hand"):
        check.run(promote_config, registered.name)


def test_before_any_promotion_the_original_is_champion_and_nothing_else(registered, promote_config):
    registered.set_alias("champion", "2")
    (moved,) = findings(promote_config, registered)
    assert "champion in MLflow is version 2, but the promotion record says version 1 (the original" in moved
    registered.drop_alias("champion")
    (removed,) = findings(promote_config, registered)
    assert removed.startswith("there is no champion in MLflow, but")
    assert not Path(promote_config.ledger).exists()


@pytest.mark.parametrize(
    ("tag", "value", "found"),
    [
        ("model_sha256", "0" * 64, "its weights in MLflow"),
        ("requests", "digit-3,digit-9", "its tag requests is 'digit-3,digit-9', but the promotion record"),
        ("gate", "fail", "its gate in MLflow"),
    ],
)
def test_a_tag_that_was_changed_by_hand_is_found(registered, promote_config, tag, value, found):
    promote.run(promote_config, registered.config)
    registered.tag("2", **{tag: value})
    assert any(finding.startswith(f"champion version 2: {found}") for finding in findings(promote_config, registered))


def test_a_damaged_record_is_an_error_and_not_a_finding(registered, promote_config):
    promote.run(promote_config, registered.config)
    path = Path(promote_config.ledger)
    path.write_text(path.read_text().replace('"intent"', '"INTENT"'))
    with says(UserError, "promotions.jsonl", "line 2", "restore"):
        check.check(promote_config, registered.name)


# --- the commands ---


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["registry", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_commands_promote_show_verify_check_and_roll_back(params, registered):
    code, told = invoke("promote", "--dry-run")
    assert (code, "would become champion in place of version 1; nothing was changed" in told) == (0, True)
    assert invoke("ledger", "show") == (0, "nothing has been promoted yet\n")
    assert invoke("promote", "--by", "Ada", "--reason", "request digit-3")[0] == 0
    code, told = invoke("ledger", "show")
    assert told.splitlines()[0].split() == [
        *("time", "what", "model", "version", "replaced", "outcome", "by", "reason"),
    ]
    assert told.splitlines()[1].split()[1:] == ["promote", registered.name, *"21", "done", "Ada", "request", "digit-3"]
    assert [line.get("event") for line in json.loads(invoke("ledger", "show", "--json")[1])] == ["promote", "done"]
    code, told = invoke("ledger", "verify")
    assert (code, "2 lines, unbroken" in told) == (0, True)
    head = told.split()[-1]
    assert invoke("ledger", "verify", "--head", head)[0] == 0
    with says(UserError, "promotions.jsonl", "0" * 64, "restore"):
        invoke("ledger", "verify", "--head", "0" * 64)
    code, told = invoke("check")
    assert (code, told) == (0, f"{registered.name}: champion is version 2, as recorded\n")
    with says(GateRefused, "digit-3", "--force"):
        invoke("rollback", "--by", "Ada", "--reason", "seams")
    assert invoke("rollback", "--by", "Ada", "--reason", "seams", "--force")[0] == 0
    registered.set_alias("champion", "2")
    code, told = invoke("check")
    assert (code, told.count("\n")) == (3, 1)
    assert "rolled back to by Ada" in told
    code, told = invoke("check", "--json")
    assert (code, json.loads(told)["champion"], json.loads(told)["recorded"]) == (3, "2", "1")
