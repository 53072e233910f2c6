"""All that speaks against a promotion is told at once; where the policy says so, two persons are needed."""

from pathlib import Path

import pytest

from i2i_unlearn.evaluation.gate import judge
from i2i_unlearn.evaluation.policy import parse_policy
from i2i_unlearn.registry import actor
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import GateRefused
from tests.registry.world import Folders, Registered
from tests.support.says import says


def test_all_reasons_are_told_and_not_the_first_alone(registered, promote_config):
    registered.tag("1", requests="digit-5")
    registered.tag("2", gate="fail", teacher_sha256="a" * 64, saved_sha256="0" * 64)
    for dry_run in (True, False):
        with pytest.raises(GateRefused) as told:
            promote.run(promote_config, registered.config, dry_run=dry_run)
        gate, lineage, forgotten, *differences = told.value.reasons
        assert "gate did not pass" in gate
        assert "unlearned from version 1" in lineage
        assert "digit-5" in forgotten
        assert [reason.split(" in MLflow")[0].rpartition("its ")[2] for reason in differences] == [
            *("files", "teacher", "gate"),
        ]
    assert registered.alias("champion") == "1"
    assert not Path(promote_config.ledger).exists()


def test_a_dry_run_says_what_would_happen_and_writes_nothing(registered, promote_config):
    facts = promote.run(promote_config, registered.config, dry_run=True)
    assert (facts["outcome"], facts["version"], facts["replaced"]) == ("would be promoted", "2", "1")
    assert registered.alias("champion") == "1"
    assert not Path(promote_config.ledger).exists()


# --- two persons ---


def by_two(folders: Folders) -> Folders:
    """An evaluation by a policy that requires two persons."""
    path = folders.root / "evaluation/verdicts.json"
    content = files.read_json(path)
    content["verdicts"]["forgotten"]["two_person"] = True
    files.write_json(path, content)
    return folders


def test_a_policy_may_ask_for_two_persons_and_the_verdict_says_so():
    line = {
        "name": "forgetting",
        "measure": {"model": "unlearned", "set": "forget", "metric": "hole_psnr_db"},
        "at_most": 1,
        "if_above": "worse",
        "why": "to test",
    }
    content = {"schema_version": 1, "name": "p", "asks": "to test", "if_passed": "It passes.", "lines": [line]}
    assert "two_person" not in judge({}, parse_policy("p", content)).as_dict()
    assert judge({}, parse_policy("p", {**content, "two_person": True})).as_dict()["two_person"] is True


def test_who_registered_may_not_promote_where_the_policy_asks_for_two(teacher, folders, config, promote_config):
    register.run_original(teacher, config)
    register.run(*by_two(folders).inputs, config, by="Ada  Lovelace")
    assert Registered(config).tags("2")["registered_by"] == "Ada Lovelace"
    with says(GateRefused, "version 2", "policy forgotten", "two persons", "--by NAME"):
        promote.run(promote_config, config)
    with says(GateRefused, "ada lovelace registered it", "somebody else"):
        promote.run(promote_config, config, by="ada lovelace")
    assert promote.run(promote_config, config, by="Bob")["outcome"] == "promoted"


def test_who_registered_a_further_evaluation_is_a_registrar_too(teacher, folders, config, promote_config):
    register.run_original(teacher, config)
    register.run(*folders.evaluate(psnr=9.0).inputs, config, by="Ada")
    register.run(*by_two(folders.evaluate()).inputs, config, by="Bob")
    assert Registered(config).tags("2")["registered_by"] == "Ada; Bob"
    for name in ("Ada", "Bob"):
        with says(GateRefused, f"{name} registered it"):
            promote.run(promote_config, config, by=name)
    assert promote.run(promote_config, config, by="Eve")["outcome"] == "promoted"


def test_another_name_for_the_same_account_does_not_help(teacher, folders, config, promote_config, monkeypatch):
    register.run_original(teacher, config)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada@example.org")
    register.run(*by_two(folders).inputs, config, by="Ada")
    with says(GateRefused, "ada@example.org registered it"):
        promote.run(promote_config, config, by="Bob")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob@example.org")
    assert promote.run(promote_config, config, by="Bob")["outcome"] == "promoted"


def test_a_registrar_whose_name_was_deleted_is_nobody(teacher, folders, config, promote_config):
    from mlflow import MlflowClient

    register.run_original(teacher, config)
    register.run(*by_two(folders).inputs, config, by="Ada")
    MlflowClient().delete_model_version_tag(config.model_name, "2", "registered_by")
    with says(GateRefused, "not known who registered it", "--by NAME"):
        promote.run(promote_config, config, by="Bob")


def test_without_the_rule_one_person_may_do_both(registered, promote_config):
    registered.tag("2", registered_by="Ada")
    assert promote.run(promote_config, registered.config, by="Ada")["outcome"] == "promoted"


def test_the_name_comes_from_the_first_place_that_has_one(monkeypatch, tmp_path):
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("LOGNAME", "user-7")
    assert actor.find_actor() == actor.Actor("user-7", "system", "")
    (tmp_path / ".gitconfig").write_text("[user]\nname = Gitta\n")
    assert actor.find_actor() == actor.Actor("Gitta", "git", "")
    assert not actor.find_actor().is_stated
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "account")
    assert actor.find_actor() == actor.Actor("account", "MLFLOW_TRACKING_USERNAME", "account")
    monkeypatch.setenv("I2I_UNLEARN_ACTOR", "Ada;\nBob")
    assert actor.find_actor() == actor.Actor("Ada, Bob", "I2I_UNLEARN_ACTOR", "account")
    assert actor.find_actor("Eve") == actor.Actor("Eve", "--by", "account")
    assert actor.find_actor("Eve").is_stated
