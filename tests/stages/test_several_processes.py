"""Several processes share a run: the result is that of one process, through the engine and through the stages."""

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.method.objectives.base import Batch
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models.base import ONE_PHASE
from i2i_unlearn.models.randomness import drawn, generator_for, generator_of_share
from i2i_unlearn.stages import reference, unlearn
from i2i_unlearn.support.errors import Diverged, UserError
from i2i_unlearn.support.files import read_json
from i2i_unlearn.training.launch import WORKER
from tests.support.shared_runs import DRAWS_ON_THE_DEVICE, FAMILIES, everything

STEPS = 6


def a_batch(num):
    images_BCHW = torch.arange(num * 4.0).view(num, 1, 2, 2)
    draws = (torch.arange(num),)
    return Batch(images_BCHW, torch.ones(num, 2, 2, dtype=torch.bool), torch.arange(num) + 100, 7, draws)


# --- shares ---


def test_shares_are_disjoint_and_together_the_batch():
    whole = a_batch(6)
    parts = [whole.part_of(Processes(rank, 3)) for rank in range(3)]
    assert [part.rows_B.tolist() for part in parts] == [[100, 103], [101, 104], [102, 105]]
    assert [part.draws[0].tolist() for part in parts] == [[0, 3], [1, 4], [2, 5]]
    assert all(torch.equal(part.images_BCHW, whole.images_BCHW[part.draws[0]]) for part in parts)
    assert whole.part_of(ALONE) is whole


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match="6 images.* 4 processes; choose a batch_size"):
        a_batch(6).part_of(Processes(0, 4))


def test_a_share_draws_its_rows_of_what_the_batch_draws():
    def draw(generator):
        return drawn(
            2 if hasattr(generator, "share") else 6, generator, lambda n: torch.rand(n, 3, generator=generator)
        )

    whole = draw(generator_for(1, "x"))
    for rank in range(3):
        share = a_batch(6).part_of(Processes(rank, 3)).share
        assert torch.equal(draw(generator_of_share(share, 1, "x")), whole[rank::3])


@pytest.mark.parametrize(("given", "meant"), [(0, 1), (1, 1), ("2", 2)])
def test_no_accelerator_is_one_process(bare_project, given, meant):
    assert bare_project.config("unlearn", num_processes=given).num_processes == meant


def test_an_uneven_number_is_refused_before_anything_is_read(bare_project):
    with pytest.raises(UserError, match="batch_size=16 is not a multiple of num_processes=3; change one"):
        bare_project.config("unlearn", num_processes=3)


# --- the engine ---


def distance(names, one, other):
    return torch.cat([(one[name] - other[name]).flatten() for name in names]).norm().item()


@pytest.mark.slow
def test_two_processes_train_as_one_does_whatever_the_objective_and_the_family(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=2"),
            *("--master-addr=127.0.0.1", "--master-port=29611", "--local-addr=127.0.0.1"),
            *("-m", "tests.support.shared_runs", str(tmp_path)),
        ],
        check=True,
    )
    one, before = everything(ALONE), everything(ALONE, num_steps=0)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for family in FAMILIES:
        for objective in OBJECTIVES:
            mine = [name for name in one if name.startswith(f"{family}/{objective}/")]
            assert all(torch.equal(first[name], second[name]) for name in mine), (family, objective)
            # Adam divides a gradient by its own size: where it is nearly 0, rounding alone may turn a step around.
            apart, moved = (distance(mine, one, other) for other in (first, before))
            assert (apart < 1e-3 * moved) == (objective != DRAWS_ON_THE_DEVICE), (family, objective, apart, moved)


# --- the stages ---


@pytest.fixture(scope="module")
def shared(taught, tmp_path_factory):
    """Unlearned by two processes: (summary, folder, rows that were streamed)."""
    out, rows = tmp_path_factory.mktemp("shared") / "unlearned", []
    config = taught.config("unlearn", num_steps=STEPS, num_processes=2)
    summary = unlearn.run(taught.images, taught.splits, taught.teacher, out, config, stream=rows.append)
    return summary, out, rows


def weights_of(folder):
    return load_file(folder / "model" / "model.safetensors")


def test_two_processes_unlearn_as_one_does(taught, shared, tmp_path):
    summary, out, rows = shared
    alone = unlearn.run(
        taught.images, taught.splits, taught.teacher, tmp_path / "alone", taught.config("unlearn", num_steps=STEPS)
    )
    one, two = weights_of(tmp_path / "alone"), weights_of(out)
    before = load_file(taught.teacher / "model.safetensors")
    assert distance(one, one, two) < 1e-3 * distance(one, one, before)
    assert summary == read_json(out / "summary.json")
    assert summary.keys() == alone.keys()
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_what_stops_a_process_is_said_in_its_words(taught, tmp_path):
    config = taught.config("unlearn", num_steps=STEPS, num_processes=2, learning_rate=1e20, clip_norm=0.0)
    with pytest.raises(Diverged, match=r"^step \d+: "):
        unlearn.run(taught.images, taught.splits, taught.teacher, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_retraining_is_shared_too(taught, tmp_path):
    config = taught.config("reference", num_steps=STEPS, num_processes=2)
    teacher = taught.unrecorded_teacher
    summary = reference.run(taught.images, taught.splits, teacher, tmp_path / "two", config)
    alone = taught.config("reference", num_steps=STEPS)
    reference.run(taught.images, taught.splits, teacher, tmp_path / "one", alone)
    one, two = weights_of(tmp_path / "one/1"), weights_of(tmp_path / "two/1")
    assert summary["steps"] == STEPS
    assert distance(one, one, two) < 1e-3 * distance(one, one, load_file(taught.teacher / "model.safetensors"))


def test_the_digest_tells_the_number_of_processes_and_one_is_as_if_there_were_no_such_field(bare_project):
    one, two = (bare_project.config("unlearn", num_processes=number) for number in (1, 2))
    assert one.digest() != two.digest()  # sums in another order: other bits
    assert one._without_effect() - two._without_effect() == {"num_processes"}


@pytest.mark.slow
def test_what_keeps_a_process_from_writing_is_one_line(taught, tmp_path):
    (tmp_path / "file").write_text("")
    config = taught.config("unlearn", num_steps=STEPS, num_processes=2)
    with pytest.raises(UserError, match=r"file.*: (Not a directory|File exists)"):
        unlearn.run(taught.images, taught.splits, taught.teacher, tmp_path / "file" / "out", config)


def test_a_codebook_is_retrained_by_one_of_the_nodes(taught, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "training_phases", lambda model: (*ONE_PHASE, *ONE_PHASE))
    config = taught.config("reference", num_steps=1)
    second = Processes(1, 2)  # nobody else is there: it would wait for the others if it trained
    where = (taught.images, taught.splits, taught.teacher, tmp_path / "out")
    assert reference.retrain_one(*where, config, processes=second) == {}
    assert not (tmp_path / "out").exists()


def workers(folder):
    """Processes that are parts of a shared run started in `folder`: other tests run some at the same time."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if WORKER in words and "torch.distributed.run" not in words and process.info["cwd"] == str(folder):
            found.append(process)
    return found


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_from_outside_it_leaves_nobody_behind_and_goes_on(taught, tmp_path, params_written):
    params_written(
        tmp_path,
        taught,
        checkpoint_uri="checkpoints",
        unlearn={"num_steps": 200, "checkpoint_every_steps": 20, "num_processes": 2},
    )
    command = [Path(sys.executable).parent / "i2i-unlearn", "unlearn", "--images", taught.images]
    command += ["--splits", taught.splits, "--teacher", taught.teacher, "--out", "out"]

    def mine():
        return workers(tmp_path)

    def checkpoint():
        return list((tmp_path / "checkpoints").glob("*.safetensors"))

    def start():
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    with start() as launcher:
        wait_until(checkpoint)
        launcher.kill()
    wait_until(lambda: not mine(), seconds=30)

    with start() as launcher:
        wait_until(lambda: len(mine()) == 2)
        mine()[1].kill()
        assert launcher.wait() == 1
        said = launcher.stderr.read().splitlines()[-1]
    assert said.startswith("i2i-unlearn: error: unlearn: one of 2 processes ended without a reason (killed,")
    assert checkpoint()
    assert not (tmp_path / "out").exists()

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"unlearn: resuming after step \d+ of 200", ended.stderr)
    assert "steps" in ended.stdout
    assert not checkpoint()
    assert not mine()
