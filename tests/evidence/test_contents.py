import copy
import json
import shutil
import stat
from datetime import UTC, date, datetime, timedelta

import pytest

from i2i_unlearn.data.request import ForgetRequest
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evidence.gather import measured, time_of
from i2i_unlearn.evidence.limits import not_shown
from i2i_unlearn.evidence.predicate import Predicate
from i2i_unlearn.evidence.recompute import check_manifest
from i2i_unlearn.evidence.show import all_lines
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from tests.evidence.conftest import statement_of
from tests.support.says import says


def predicate_of(bundle):
    return statement_of(bundle)["predicate"]


def test_it_says_what_the_stages_wrote(world, with_weights):
    said = predicate_of(with_weights)
    project = world.project
    metrics = json.loads((project.artifact("evaluation") / "metrics.json").read_text())
    verdicts = json.loads((project.artifact("evaluation") / "verdicts.json").read_text())
    assert said["model"]["sha256"] == files.digest_folder(world.model)
    assert said["teacher_sha256"] == files.digest_folder(project.teacher)
    assert said["references_sha256"] == []
    assert said["finished_from"] == "signing"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(said["finished_at"])).total_seconds()) < 3600
    assert said["manifest"]["sha256"] == files.digest_file(project.splits / "manifest.parquet")
    assert said["manifest"]["requests"] == ["withdrawn-1"]
    assert said["measured"]["scores"] == metrics["scores"]
    assert said["measured"]["differences"] == metrics["differences"]
    assert said["measured"]["audits"]["membership"]["status"] == metrics["audits"]["membership"]["status"]
    assert said["gate"]["outcome"] == verdicts["verdicts"]["forgotten"]["outcome"]
    assert [line["name"] for line in said["gate"]["verdicts"]["as_unseen"]["lines"]] == [
        line["name"] for line in verdicts["verdicts"]["as_unseen"]["lines"]
    ]
    assert said["unlearning"]["objective"] == "encoder_l2"
    assert said["parameters"]["unlearn"]["num_steps"] == 3
    parameters = said["parameters"]
    assert parameters["seed"] == 0
    # no paths, no names of labels
    assert "proxy_labels" not in parameters["split"]
    assert "source" not in parameters["snapshot"]
    assert str(project.folder) not in json.dumps(parameters)
    assert stat.S_IMODE(with_weights.stat().st_mode) == 0o755  # others may read it
    assert files.digest_folder(with_weights / "model") == said["model"]["sha256"]


def test_days_on_which_the_clock_stood_still_move_the_deadline():
    """Due on 1 March; ten days paused, of which seven have gone by when it is finished."""
    pause = {"since": "2026-02-20", "until": "2026-03-02", "reason": "identity asked for"}
    content = {"id": "r", "received": "2026-02-01", "due": "2026-03-01", "basis": "b", "selector": {"labels": ["3"]}}
    request = ForgetRequest.model_validate({**content, "paused": [pause]})
    for finished, paused, due, in_time in (
        (date(2026, 2, 27), 7, date(2026, 3, 8), True),
        (date(2026, 3, 11), 10, date(2026, 3, 11), True),
        (date(2026, 3, 12), 10, date(2026, 3, 11), False),
    ):
        said = time_of(request, finished)
        assert (said["paused_days"], said["due"], said["in_time"], said["extended"]) == (paused, due, in_time, False)


def test_a_day_that_is_told_counts_and_is_said_to_be_told(world, tmp_path):
    bundle = world.bundle(tmp_path / "told", "ed25519", finished=date(2026, 2, 11))
    said = predicate_of(bundle)
    assert (said["finished_at"], said["finished_from"]) == ("2026-02-11T00:00:00Z", "told")
    assert said["requests"] == [
        {
            **{"id": "withdrawn-1", "received": "2026-01-01", "due": "2026-03-01", "extended": True, "paused_days": 0},
            "days_allowed": 59,  # 30 of January, 28 of February, 1 of March
            "days_used": 41,  # 30 of January, 11 of February
            "in_time": True,
        }
    ]
    found = verify(bundle, world.keys / "ed25519/public.pem")
    assert found.broken == []
    assert any(line.startswith("that the requests were carried out by 2026-02-11") for line in found.not_shown)
    assert not any("deadline" in line for line in found.not_shown)


@pytest.mark.parametrize("day", [date(2025, 12, 31), date.today() + timedelta(days=2)])
def test_a_day_that_cannot_be_is_told(world, tmp_path, day):
    with pytest.raises(UserError, match=f"--finished {day}: must be between 2026-01-01"):
        world.bundle(tmp_path / "told", finished=day)


def test_what_is_not_known_is_null_and_said_not_to_be_shown(world, without_weights):
    said = predicate_of(without_weights)
    unknown = {key for key in ("image", "code_revision", "data_revision", "registered") if said[key] is None}
    assert unknown == {"image", "code_revision", "data_revision", "registered"}  # the folder is no repository
    lines = verify(without_weights, world.public).not_shown
    for words in ("which code ran", "which revision of the data", "container image", "registered", "--model"):
        assert any(words in line for line in lines), words


def test_of_a_quarantine_it_is_said_that_the_original_can_be_restored(without_weights):
    said = Predicate.model_validate(predicate_of(without_weights))
    settings = {**said.parameters, "unlearn": {**said.parameters["unlearn"], "scope": "lora"}}
    quarantined = said.model_copy(update={"parameters": settings})

    def words(of):
        return " ".join(not_shown(of, weights_at_hand=True, weights_signed=True))

    assert "low-rank adapters" in words(quarantined)
    assert "can restore the original" in words(quarantined)
    assert "quarantine" not in words(said)


def test_what_it_never_shows_is_always_listed(world, with_weights):
    lines = " ".join(verify(with_weights, world.public, world.model).not_shown)
    for words in ("no other copy", "images were deleted", "no trace", "measurements are true", "private key", "clock"):
        assert words in lines
    assert "give them with --model" not in lines


def test_code_data_and_image_are_named(world, tmp_path):
    import subprocess

    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "data.dvc").write_text("outs:\n- md5: 0123abc.dir\n  path: data\n")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "data.dvc"], ["commit", "-qm", "data"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    bundle = world.bundle(tmp_path / "bundle", "ed25519", repository=repository, image="registry/i2i-unlearn:1")
    said = predicate_of(bundle)
    assert (said["code_revision"], said["data_revision"], said["image"]) == (
        commit,
        "0123abc.dir",
        "registry/i2i-unlearn:1",
    )


# --- whole or not at all ---


def left_of(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_holds_something_is_kept(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(UserError, match="is not empty and is kept"):
        world.bundle(out)
    assert left_of(out) == ["mine"]


def linked(path):
    """The same content, but elsewhere."""
    path.rename(path.parents[2] / "splits/moved")
    path.symlink_to(path.parents[2] / "splits/moved")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "splits/manifest.parquet").write_bytes(b"PAR1"), "the split manifest is damaged"),
        (
            lambda folder: (folder / "unlearned/model/config.json").write_text("{}\n"),
            "another version of the unlearned model",
        ),
        (lambda folder: linked(folder / "unlearned/model/config.json"), "config.json is a link or not a plain file"),
    ],
)
def test_parts_that_do_not_belong_together_make_no_evidence(world, tmp_path, harm, words):
    artifacts = tmp_path / "artifacts"
    for name in ("evaluation", "unlearned", "splits"):
        shutil.copytree(world.project.artifact(name), artifacts / name)
    harm(artifacts)
    parts = {name: artifacts / name for name in ("evaluation", "unlearned", "splits")}
    with pytest.raises(UserError, match=words):
        world.bundle(tmp_path / "out", **parts)
    assert left_of(tmp_path) == ["artifacts"]


def test_settings_that_went_through_a_pipeline_are_the_same_settings(world, tmp_path):
    from i2i_unlearn.config.sections import CONFIGS

    sections = {name: CONFIGS[name].from_params(world.params()) for name in ("split", "unlearn", "snapshot")}
    params = {name: config.model_dump(mode="json") for name, config in sections.items()}
    said = predicate_of(world.bundle(tmp_path / "out", "ed25519", params=params))
    assert said["parameters"]["unlearn"]["seed"] == 0
    assert "checkpoint_uri" not in said["parameters"]["unlearn"]


def other_alpha(world):
    params = world.params()
    params["unlearn"]["alpha"] = 7.0
    return {"params": params}


def laxer_policy(world):
    policies = copy.deepcopy(world.policies)
    for line in policies["forgotten"]["lines"]:
        if "at_most" in line:
            line["at_most"] += 1
    return {"policies": policies}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (other_alpha, ("section unlearn", "differs from what the model was unlearned with", "--params")),
        (laxer_policy, ("policy forgotten", "has changed since the evaluation", "--policies")),
        (
            lambda world: {"policies": {"forgotten": world.policies["forgotten"]}},
            ("policy as_unseen", "judged this evaluation and was not found", "--policies"),
        ),
        (lambda world: {"requests": world.keys}, ("no such forget request",)),
    ],
    ids=["settings", "policy", "policies", "requests"],
)
def test_what_is_not_of_the_evaluation_is_told(world, tmp_path, given, words):
    with says(UserError, *words):
        world.bundle(tmp_path / "out", **given(world))


def test_worst_images_are_named_by_their_codes_in_the_manifest_and_only_if_forgotten(world, with_weights):
    content = predicate_of(with_weights)
    metrics = json.loads((world.project.artifact("evaluation") / "metrics.json").read_text())
    rows = read_manifest(with_weights / "manifest.parquet").rows

    def said_of(role):
        code = rows.loc[rows["role"] == role, "hmac_id"].iloc[0]
        metrics["audits"]["membership"]["facts"]["worst_images"] = {"by": "loss", "codes": [code], "scores": [0.25]}
        return code, Predicate.model_validate({**content, "measured": measured(metrics)})

    code, said = said_of("forget")
    assert said.measured.audits["membership"].worst_images[0].model_dump() == {"code": code, "score": 0.25}
    assert any(line.split() == [code, "0.25"] for line in all_lines(said))
    assert list(check_manifest(with_weights, said)) == []
    (fault,) = check_manifest(with_weights, said_of("retain")[1])
    assert "worst image" in fault


def test_who_may_keep_both_versions_is_told_or_missing(world, tmp_path, without_weights):
    told = world.bundle(tmp_path / "told", both_kept_by="the operator until 2027-01-01")
    assert predicate_of(told)["both_kept_by"] == "the operator until 2027-01-01"
    assert any("the operator until 2027-01-01" in line for line in verify(told, world.public).not_shown)
    assert predicate_of(without_weights)["both_kept_by"] is None
    assert any("not told (--both-kept-by)" in line for line in verify(without_weights, world.public).not_shown)
