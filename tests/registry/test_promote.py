"""A version becomes champion only if nothing speaks against it, and the record says so."""

import shutil
from pathlib import Path

import pytest

from i2i_unlearn.config.sections import PromoteConfig
from i2i_unlearn.data.filing import Champion
from i2i_unlearn.registry import history, tracking
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import files, ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.world import Folders, Registered, make_folders
from tests.support.says import says


def done(config: PromoteConfig) -> list[history.Record]:
    """Promotions that took place, by the record."""
    records = ledger.read(config.ledger)
    return [record for record, outcome in history.outcomes(records) if outcome.startswith("done")]


@pytest.fixture
def refused(registered, promote_config):
    """Promote, expect a refusal that says `why`, and see that nothing has changed."""

    def refused(*why: str, **how: object) -> None:
        champion = registered.alias("champion")
        with says(GateRefused, *why):
            promote.run(promote_config, registered.config, **how)
        assert registered.alias("champion") == champion
        assert ledger.read(promote_config.ledger) == []

    return refused


def test_the_candidate_becomes_champion_and_the_record_says_so(registered, promote_config):
    facts = promote.run(promote_config, registered.config, by="Ada", reason="request digit-3")
    assert (facts["version"], facts["outcome"], facts["replaced"]) == ("2", "promoted", "1")
    assert registered.alias("champion") == "2"
    (record,) = done(promote_config)
    assert record["event"] == "promote"
    assert (record["version"], record["replaced_version"], record["gate"]) == ("2", "1", "pass")
    assert (record["requests"], record["by"], record["reason"]) == ("digit-3", "Ada", "request digit-3")
    assert record["model_sha256"] == registered.tags("2")["model_sha256"]
    assert record["replaced_sha256"] == registered.tags("1")["model_sha256"]
    assert record["accepted_undecided"] is False


def test_a_promotion_lists_what_was_forgotten_by_codes_once(registered, promote_config, tmp_path):
    assert "no folder" in str(promote.run(promote_config, registered.config)["forgotten"])
    folder = tmp_path / "forget"
    folder.mkdir()
    facts = [promote.run(promote_config, registered.config, requests=folder)["forgotten"] for _ in range(2)]
    assert "1 images added" in str(facts[0])  # by the second call: the first had no folder
    assert facts[1] == ""
    (line,) = ledger.read(folder / "forgotten.jsonl")
    assert (line["requests"], line["codes"], line["key_code"]) == (["digit-3"], ["b" * 32], "e" * 32)


def test_promoting_the_champion_again_says_so_and_records_nothing(registered, promote_config):
    promote.run(promote_config, registered.config)
    for version in (None, "2"):
        facts = promote.run(promote_config, registered.config, version=version)
        assert facts["outcome"] == "already champion"
        assert "already champion" in facts["message"]
    assert len(done(promote_config)) == 1


def test_a_newer_version_that_failed_is_mentioned_beside_the_present_champion(registered, promote_config):
    promote.run(promote_config, registered.config)
    registered.copy("2", gate="fail")
    assert "version 3 is not promoted (gate fail)" in promote.run(promote_config, registered.config)["message"]


ACCEPTED = {"accept_undecided": "because", "by": "Ada"}
FAILED, UNDECIDED = {"2": {"gate": "fail"}}, {"2": {"gate": "undecided"}}
OF_ANOTHER_TEACHER = {"2": {"teacher_sha256": "a" * 64, "teacher_version": "7"}}
ONE_REQUEST_MISSING = {
    "1": {"requests": "digit-5", "erased": "digit-7"},
    "2": {"requests": "digit-3", "erased": "digit-7"},
}


@pytest.mark.parametrize(
    ("tags", "missing", "how", "why"),
    [
        (FAILED, "", {}, ("version 2", "gate did not pass", "forgotten", "fail", "unlearn with other settings")),
        (FAILED, "", {**ACCEPTED, "version": "2"}, ("gate did not pass",)),
        (FAILED, "candidate", {}, ("no candidate", "version 2", "gate fail", "register", "name a version")),
        (UNDECIDED, "", {"version": "2"}, ("undecided", "--accept-undecided REASON --by NAME")),
        (OF_ANOTHER_TEACHER, "", {}, ("from version 7", "champion is version 1", "unlearn from models:/")),
        (ONE_REQUEST_MISSING, "", {}, ("version 2", "digit-5", "version 1", "split.erased")),
        ({}, "champion", {}, ("no champion", "i2i-unlearn register --original")),
        ({"2": {"model_sha256": "0" * 64}}, "", {}, ("version 2", "its weights in MLflow", "differs")),
        ({"2": {"saved_sha256": "0" * 64}}, "", {}, ("version 2", "its files in MLflow", "differs")),
        ({"2": {"evaluation_sha256": "0" * 64}}, "", {}, ("version 2", "its evaluation in MLflow", "differs")),
        ({"2": {"manifest_sha256": "0" * 64}}, "", {}, ("version 2", "its split manifest in MLflow", "differs")),
    ],
)
def test_what_speaks_against_a_version_is_refused(registered, refused, tags, missing, how, why):
    for number, changed in tags.items():
        registered.tag(number, **changed)
    if missing:
        registered.drop_alias(missing)
    refused(*why, **how)


def test_the_original_and_what_does_not_come_from_the_champion_are_refused(registered, promote_config):
    third = registered.copy("2")
    promote.run(promote_config, registered.config, version="2")
    with says(GateRefused, "version 1", "not evaluated", "original"):
        promote.run(promote_config, registered.config, version="1")
    with says(GateRefused, "from version 1", "champion is version 2"):
        promote.run(promote_config, registered.config, version=third)
    assert registered.alias("champion") == "2"


def test_unknown_versions_are_told_with_those_that_exist(registered, promote_config):
    for version in ("9", "latest", "1.0"):
        with says(UserError, f"'{version}'", "1, 2"):
            promote.run(promote_config, registered.config, version=version)
    never = registered.config.model_copy(update={"model_name": "never-registered"})
    with says(UserError, "never-registered", "no version", "i2i-unlearn register"):
        promote.run(promote_config, never)


def test_a_gate_that_was_set_to_pass_by_hand_is_refused(teacher, folders, config, promote_config):
    register.run_original(teacher, config)
    register.run(*folders.evaluate("fail").inputs, config)
    Registered(config).tag("2", gate="pass")
    with says(GateRefused, "its gate in MLflow", "differs"):
        promote.run(promote_config, config, version="2")


@pytest.fixture
def own(mlflow_home, teacher, tmp_path, config) -> tuple[Registered, Path, Path]:
    """Versions whose files no other test uses: and the folders of version 2's files and of its run's artifacts."""
    register.run_original(teacher, config)
    facts = register.run(*make_folders(tmp_path / "own", teacher, seed=17).inputs, config)
    registered, artifacts = Registered(config), mlflow_home / "mlflow-artifacts"
    model_id = registered.version("2").logged.id
    return registered, artifacts / "models" / model_id / "artifacts", artifacts / facts["run_id"] / "artifacts"


def test_one_changed_byte_anywhere_is_refused(own, promote_config):
    registered, version, run = own
    places = {
        version / "artifacts/model/model.safetensors": "its weights",
        version / "artifacts/model/config.json": "its weights",
        version / "code/i2i_unlearn/models/mae.py": "its files",
        version / "pyfunc_model.py": "its files",
        version / "MLmodel": "its files",
        run / "evaluation/metrics.json": "its evaluation",
        run / "evaluation/verdicts.json": "its evaluation",
    }
    for path, what in places.items():
        good = path.read_bytes()
        path.write_bytes(good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
        with says(GateRefused, "version 2", f"{what} in MLflow", "differs", "register"):
            promote.run(promote_config, registered.config)
        path.write_bytes(good)
    assert registered.alias("champion") == "1"
    assert promote.run(promote_config, registered.config)["outcome"] == "promoted"


def test_damaged_files_are_repaired_by_deleting_the_version_and_registering_again(
    own, tmp_path, teacher, promote_config
):
    from mlflow import MlflowClient

    registered, version, _ = own
    (version / "artifacts/model/model.safetensors").write_bytes(b"damaged")
    MlflowClient().delete_model_version(registered.name, "2")
    facts = register.run(*Folders(tmp_path / "own", teacher).inputs, registered.config)
    assert (facts["version"], facts["registered"]) == ("3", "new")
    assert promote.run(promote_config, registered.config)["version"] == "3"


def test_folders_at_hand_must_be_what_was_registered(registered, promote_config, refused, tmp_path, teacher):
    same = make_folders(tmp_path / "same", teacher)
    other = make_folders(tmp_path / "other", teacher, seed=5)
    refused("other/unlearned", "version 2", "register it", unlearned=other.root / "unlearned")
    refused("other/evaluation", "version 2", "register it", evaluation=other.root / "evaluation")
    evaluation, unlearned, *_ = same.inputs
    facts = promote.run(promote_config, registered.config, unlearned=unlearned, evaluation=evaluation)
    assert facts["outcome"] == "promoted"


def test_whoever_comes_second_is_told_what_they_lost_to(registered, promote_config, monkeypatch):
    third = registered.copy("2")
    download = tracking.Server.download

    def somebody_is_faster(server: tracking.Server, version: tracking.Version, folder: Path) -> Path:
        registered.set_alias("champion", third)
        return download(server, version, folder)

    monkeypatch.setattr(tracking.Server, "download", somebody_is_faster)
    with says(GateRefused, "version 2 lost to version 3", "record does not know", "version 1", "unlearn from"):
        promote.run(promote_config, registered.config)
    assert registered.alias("champion") == third
    assert ledger.read(promote_config.ledger) == []


def test_an_alias_taken_away_meanwhile_is_refused(registered, promote_config, monkeypatch):
    digest_folder = files.digest_folder

    def somebody_takes_it_away(folder: Path) -> str:
        registered.drop_alias("champion")
        return digest_folder(folder)

    monkeypatch.setattr(files, "digest_folder", somebody_takes_it_away)
    with says(GateRefused, "version 2 lost to", "removed the alias"):
        promote.run(promote_config, registered.config)
    assert registered.alias("champion") is None


def test_nothing_is_promoted_without_a_record(registered, promote_config, tmp_path):
    damaged = tmp_path / "promotions.jsonl"
    damaged.write_text("no json\n")
    with says(UserError, "promotions.jsonl", "line 1", "JSON"):
        promote.run(promote_config.with_ledger(str(damaged)), registered.config)
    with says(UserError, "x.jsonl", "cannot be written", "promote.ledger"):
        promote.run(promote_config.with_ledger(str(tmp_path / "no" / "x.jsonl")), registered.config)
    assert registered.alias("champion") == "1"


def test_an_undecided_version_is_promoted_by_a_named_person_and_that_is_recorded(
    teacher, folders, config, promote_config
):
    register.run_original(teacher, config)
    register.run(*folders.evaluate("undecided").inputs, config)
    with says(GateRefused, "version 2", "gate undecided"):
        promote.run(promote_config, config)
    for by, why in (("Ada", " "), ("", "holdout is small")):
        with says(UserError, "--accept-undecided REASON", "--by NAME"):
            promote.run(promote_config, config, accept_undecided=why, by=by, reason="ticket 42")
    facts = promote.run(promote_config, config, accept_undecided="holdout is small", by="Ada", reason="ticket 42")
    assert (facts["version"], facts["outcome"]) == ("2", "promoted")
    (record,) = done(promote_config)
    assert (record["accepted_undecided"], record["by"], record["reason"]) == (
        True,
        "Ada",
        "holdout is small; ticket 42",
    )
    with tracking.connect() as server:
        assert server.version(config.model_name, "2").tags[tracking.ACCEPTED] == "holdout is small"


def test_a_second_request_follows_the_first(teacher, folders, tmp_path, config, promote_config):
    register.run_original(teacher, config)
    register.run(*folders.inputs, config)
    promote.run(promote_config, config)
    second = make_folders(tmp_path / "second", folders.model, seed=2, requests=("digit-5",), erased=("digit-3",))
    assert register.run(*second.inputs, config)["version"] == "3"
    assert promote.run(promote_config, config)["replaced"] == "2"
    champion = find_champion(config.model_name)
    assert champion == Champion("3", files.digest_folder(second.model), ("digit-3", "digit-5"))
    assert [record["version"] for record in done(promote_config)] == ["2", "3"]


def test_the_teacher_as_if_it_were_unlearned_is_registered_as_failed_and_never_promoted(
    teacher, folders, config, promote_config
):
    register.run_original(teacher, config)
    shutil.rmtree(folders.model)
    shutil.copytree(teacher, folders.model)
    facts = register.run(*folders.evaluate("fail").inputs, config)
    assert (facts["version"], facts["gate"], facts["alias"]) == ("2", "fail", "")
    for version in (None, "2"):
        with says(GateRefused, "gate"):
            promote.run(promote_config, config, version=version)
    assert find_champion(config.model_name).version == "1"
