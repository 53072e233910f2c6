"""Killed with SIGKILL at any moment and started again, a run ends with the bytes of one that nobody disturbed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
KILLED = -signal.SIGKILL

MOMENTS = {
    "before any checkpoint": {"event": "open", "contains": ".safetensors.new"},
    "with the first checkpoint written but not in place": {"event": "os.rename", "contains": ".safetensors.new"},
    "while the second checkpoint replaces the first": {"event": "open", "contains": ".safetensors.new", "nth": 4},
    "after the last step": {"event": "open", "contains": "preprocessor_config.json.new"},
    "with the model written but not its curve": {"event": "open", "contains": "steps.jsonl"},
    "before the earlier output is moved aside": {"event": "os.rename", "contains": ".out.old."},
    "before the new output is moved in": {"event": "os.rename", "contains": " out"},  # from .out.new.abc to out
    "before the earlier output is removed": {"event": "shutil.rmtree", "contains": ".out.old."},
    "before the checkpoint is removed": {"event": "os.remove", "contains": "checkpoints/"},
}
"""Each is right before a call of the operating system."""


def model_of(out):
    return (out / "model/model.safetensors").read_bytes()


def same(out, undisturbed):
    """Model and curve are those of the undisturbed run, to the byte."""
    names = [path.relative_to(undisturbed) for path in sorted(undisturbed.rglob("*")) if path.is_file()]
    assert [path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file()] == names
    for name in names:
        if name.name != "summary.json":  # holds seconds
            assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    return True


def nothing_is_left(folder):
    """No half-written file and no checkpoint anywhere in `folder`."""
    hidden = [path for path in folder.rglob(".*") if ".new." in path.name or ".old." in path.name]
    return not hidden and not list(folder.glob("checkpoints/*"))


@pytest.fixture
def place(tmp_path, taught, params_written):
    """A folder to run in, with an earlier output in it."""
    params_written(tmp_path, taught, checkpoint_uri="checkpoints")
    shutil.copytree(taught.teacher, tmp_path / "out/model")
    (tmp_path / "out/summary.json").write_text("{}")
    return tmp_path


def arguments_of(stage, project):
    given = ["--images", project.images, "--out", "out"]
    if stage == "unlearn":
        given += ["--splits", project.splits, "--teacher", project.teacher]
    return [stage, *given]


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_unlearn_goes_on_wherever_it_was_killed(command_line, tiny, place, moment):
    earlier, undisturbed = model_of(place / "out"), tiny.artifact("unlearned")
    arguments = arguments_of("unlearn", tiny)
    assert command_line(place, *arguments, moment=moment).code == KILLED
    if (place / "out").exists():  # it is whole: the earlier one or the new one
        assert model_of(place / "out") in (earlier, model_of(undisturbed))
    ended = command_line(place, *arguments)
    assert ended.code == 0, ended.err
    assert same(place / "out", undisturbed)
    assert nothing_is_left(place)


def test_an_earlier_output_comes_back_even_if_the_next_run_fails(command_line, tiny, place, params_written):
    # Killed between the two renames, the output is missing; a run that then fails must not leave it so.
    earlier = model_of(place / "out")
    arguments = arguments_of("unlearn", tiny)
    moment = MOMENTS["before the new output is moved in"]
    assert command_line(place, *arguments, moment=moment).code == KILLED
    assert not (place / "out").exists()
    params_written(place, tiny, checkpoint_uri="checkpoints", unlearn={"learning_rate": 1e30, "clip_norm": 0.0})
    assert command_line(place, *arguments).code == 1
    assert model_of(place / "out") == earlier


@pytest.mark.parametrize("stage", ["pretrain", "unlearn"])
def test_a_run_that_is_killed_again_and_again_comes_to_its_end(command_line, tiny, place, stage):
    undisturbed = tiny.artifact({"pretrain": "original", "unlearn": "unlearned"}[stage])
    arguments = arguments_of(stage, tiny)
    going_on = []
    for moment in [*MOMENTS.values(), None]:
        ended = command_line(place, *arguments, moment=moment)
        going_on += [line for line in ended.err.splitlines() if "resuming after step" in line]
        if ended.code != KILLED:
            break
    assert ended.code == 0, ended.err
    assert len(going_on) >= 3
    assert same(place / "out", undisturbed)
    assert nothing_is_left(place)


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("pretrain", {"pretrain": {"average_decay": 0.9}}),
        ("pretrain", {"pretrain": {"precision": "bf16"}, "operator": "free_form"}),
        ("pretrain", {"pretrain": {"architecture": {"hidden_dropout_prob": 0.2}}}),
        ("unlearn", {"unlearn": {"num_noise_draws": 0}, "operator": "random_patches"}),
        ("unlearn", {"unlearn": {"precision": "bf16", "cache_bytes": 5000}}),
    ],
    ids=str,
)
def test_every_way_of_training_goes_on(command_line, taught, place, params_written, stage, changes):
    short = {stage: {"num_steps": 9, "checkpoint_every_steps": 4, **changes.get(stage, {})}}
    params_written(place, taught, checkpoint_uri="checkpoints", **{**changes, **short})
    arguments = arguments_of(stage, taught)
    assert command_line(place, *arguments).code == 0
    (place / "out").rename(place / "undisturbed")
    moment = {"event": "open", "contains": ".safetensors.new", "nth": 4}
    assert command_line(place, *arguments, moment=moment).code == KILLED
    ended = command_line(place, *arguments)
    assert "resuming after step 4 of 9" in ended.err
    assert same(place / "out", place / "undisturbed")


def test_split_and_snapshot_are_whole_or_not_there(command_line, taught, place):
    requests = ["--requests", taught.requests, "--hmac-key-file", taught.key, "--images", taught.images]
    for stage, name, more in (("split", "splits", requests), ("snapshot", "teacher", [])):
        for moment in (
            {"event": "open", "contains": "summary.json"},
            {"event": "os.rename", "contains": f" {name}"},  # from .splits.new.abc to splits
        ):
            ended = command_line(place, stage, "--out", name, *more, moment=moment)
            assert ended.code == KILLED, ended
            assert not (place / name).exists()
        ended = command_line(place, stage, "--out", name, *more)
        assert ended.code == 0, ended.err
        assert same(place / name, taught.artifact(name))
        assert not list(place.glob(".*"))


# --- a full disk ---


@pytest.mark.parametrize(
    ("file_bytes", "every"),
    [(1000, 10), (200_000, 10), (1000, 1000), (100_000, 1000)],
    ids=["first bytes of a checkpoint", "within a checkpoint", "config of the model", "weights of the model"],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    command_line, tiny, place, params_written, file_bytes, every
):
    params_written(place, tiny, checkpoint_uri="checkpoints", unlearn={"checkpoint_every_steps": every})
    earlier = model_of(place / "out")
    arguments = arguments_of("unlearn", tiny)
    ended = command_line(place, *arguments, file_bytes=file_bytes)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "the disk is full" in line
    assert line.endswith("free some space and run the same command again")
    assert model_of(place / "out") == earlier
    assert not list(place.glob(".*"))
    assert command_line(place, *arguments).code == 0
    assert same(place / "out", tiny.artifact("unlearned"))
    assert nothing_is_left(place)


# --- the real commands, killed from outside ---


def wait_for(condition, process, seconds=400):
    """Look every few milliseconds until `condition()`; fail if the process ends first."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)


def environment():
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def start(folder, *command):
    """A process in a group of its own."""
    log = (folder / "log.txt").open("a")
    with log:
        return subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True)


def kill_once(condition, folder, *command):
    process = start(folder, *command)
    try:
        wait_for(condition, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == KILLED, (folder / "log.txt").read_text()


def finish(folder, *command):
    process = start(folder, *command)
    assert process.wait(timeout=240) == 0, (folder / "log.txt").read_text()


@pytest.fixture
def repository(tmp_path, taught, params_written):
    """A copy of the project under DVC; everything that `unlearn` needs is there."""
    import yaml

    # The stage as it is, so that what DVC runs here is what it runs for a user.
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["unlearn"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"unlearn": stage}}))
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(taught.folder / "data", tmp_path / "data")
    for name in ("splits", "teacher"):
        shutil.copytree(taught.artifact(name), tmp_path / "artifacts" / name)
    params_written(
        tmp_path, taught, checkpoint_uri="checkpoints", unlearn={"num_steps": 250, "checkpoint_every_steps": 10}
    )
    finish(tmp_path, sys.executable, "-m", "dvc", "init", "--no-scm", "-q")
    return tmp_path


def test_dvc_repro_and_the_command_go_on_from_each_other_wherever_they_were_killed(command_line, repository):
    arguments = ["unlearn", "--splits", "artifacts/splits", "--teacher", "artifacts/teacher/model"]
    repro = [sys.executable, "-m", "dvc", "repro", "unlearn"]
    kill_once(lambda: list(repository.glob("checkpoints/*.safetensors")), repository, *repro)
    assert not (repository / "artifacts/unlearned").exists()

    (checkpoint,) = repository.glob("checkpoints/*.safetensors")
    before = checkpoint.stat().st_mtime_ns
    command = [BIN / "i2i-unlearn", *arguments, "--out", "artifacts/unlearned"]
    gone_on = "unlearn: resuming after step"

    def is_on_its_way():
        return gone_on in (repository / "log.txt").read_text() and checkpoint.stat().st_mtime_ns != before

    kill_once(is_on_its_way, repository, *command)
    finish(repository, *repro)

    assert (repository / "log.txt").read_text().count(gone_on) == 2
    assert nothing_is_left(repository)
    assert command_line(repository, *arguments, "--out", "undisturbed").code == 0
    assert same(repository / "artifacts/unlearned", repository / "undisturbed")
