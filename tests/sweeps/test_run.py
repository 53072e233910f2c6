"""A sweep on the tiny project: points side by side, killed, gone on with, widened; nothing is computed twice."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import EvaluateConfig, SweepConfig, UnlearnConfig
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from i2i_unlearn.sweeps import run as sweep
from tests.support.says import says

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # processes that import torch

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "mlflow/policies"
SMALL = {"max_images": 8, "num_bootstrap": 10}
STEPS = {"num_steps": 4, "checkpoint_every_steps": 2, "warmup_steps": 1}


def settings_of(project, **evaluate):
    params = project.params(unlearn=STEPS, evaluate=SMALL | evaluate)
    return {
        "unlearn": UnlearnConfig.from_params(params).model_dump(mode="json"),
        "evaluate": EvaluateConfig.from_params(params, policies=read_policies(POLICIES)).model_dump(mode="json"),
    }


def run(project, out, alphas, *, num_workers=1, say=lambda line: None, teacher="", reference=None, **settings):
    config = SweepConfig(objectives="encoder_l2", alphas=alphas, epsilons="0.5", num_workers=num_workers)
    reference = project.artifact("reference") if reference is None else reference
    where = (project.images, project.splits, teacher or project.teacher, reference, out)
    return sweep.run(*where, config, settings_of(project, **settings), say=say)


def points_in(out):
    return {path.name.rpartition("-")[0]: path for path in (out / "points").iterdir()}


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """Two points, one after the other."""
    out = tmp_path_factory.mktemp("sweep")
    lines = []
    facts = run(tiny, out, "0.5, 2", say=lines.append)
    return out, facts, lines


@pytest.fixture
def copied(swept, tmp_path):
    """That sweep, to write to."""
    return Path(shutil.copytree(swept[0], tmp_path / "sweep"))


def test_every_point_is_unlearned_and_evaluated_with_its_own_alpha(swept):
    out, facts, lines = swept
    assert (facts["num_points"], facts["computed"]) == (2, 2)
    assert [line.split(":")[0] for line in lines] == ["1/2 encoder_l2 alpha 0.5", "2/2 encoder_l2 alpha 2"]
    table = json.loads((out / "pareto/points.json").read_text())
    assert table["landmarks"]["reference"] is not None
    points = points_in(out)
    assert {row["name"].replace(" ", "-") for row in table["points"]} == set(points)
    for row in table["points"]:
        folder = points[row["name"].replace(" ", "-")]
        assert json.loads((folder / "unlearned/summary.json").read_text())["alpha"] == row["value"]
        differences = json.loads((folder / "evaluation/metrics.json").read_text())["differences"]
        for key, pair in (("forgetting", "unlearned-teacher"), ("gap", "unlearned-reference")):
            assert row[key]["value"] == differences[pair]["forget"]["hole_psnr_db"]["value"]


def test_no_file_of_a_sweep_shows_a_forget_image_although_the_settings_would(swept, tiny):
    out, _, _ = swept
    assert settings_of(tiny)["evaluate"]["show_forget_images"] is True
    for point in points_in(out).values():
        assert "Forget images are withheld" in (point / "evaluation/report.html").read_text()
    assert not re.search("<img|data:image", (out / "pareto/pareto.html").read_text())


def test_a_point_has_the_weights_that_the_stage_unlearn_gives_for_the_same_settings(swept, tiny, tmp_path):
    out, _, _ = swept
    tiny.unlearn(tmp_path / "alone", **STEPS, alpha=0.5)
    assert digest_folder(points_in(out)["encoder_l2-alpha-0.5"] / "unlearned/model") == digest_folder(
        tmp_path / "alone/model"
    )


def times(out, part=""):
    """When each file of the points was written, of those below a folder `part` if one is named."""
    files = [path for path in (out / "points").rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files if not part or part in path.parts}


def test_a_wider_sweep_computes_only_what_is_new_and_a_narrower_one_nothing(copied, tiny):
    before = times(copied)
    wider = run(tiny, copied, "0.5, 1, 2")
    assert (wider["num_points"], wider["computed"]) == (3, 1)
    assert {path: time for path, time in times(copied).items() if path in before} == before
    narrower = run(tiny, copied, "2")
    assert (narrower["num_points"], narrower["computed"]) == (1, 0)
    assert set(points_in(copied)) == {"encoder_l2-alpha-0.5", "encoder_l2-alpha-1", "encoder_l2-alpha-2"}


def test_other_settings_of_the_evaluation_train_nothing_again(copied, tiny):
    weights = times(copied, "unlearned")
    assert run(tiny, copied, "0.5", num_bootstrap=11)["computed"] == 1
    assert times(copied, "unlearned") == weights
    metrics = points_in(copied)["encoder_l2-alpha-0.5"] / "evaluation/metrics.json"
    assert json.loads(metrics.read_text())["num_bootstrap"] == 11


def test_two_workers_give_the_bytes_of_one(swept, tiny, tmp_path):
    facts = run(tiny, tmp_path, "0.5, 2", num_workers=2)
    assert facts["computed"] == 2
    for name, point in points_in(tmp_path).items():
        for file in ("unlearned/model/model.safetensors", "evaluation/verdicts.json"):
            assert (point / file).read_bytes() == (points_in(swept[0])[name] / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "workers").iterdir()) == ["worker-1.log", "worker-2.log"]


def test_training_that_diverges_is_a_result_and_the_other_points_stand(copied, tiny):
    facts = run(tiny, copied, "0.5, 1e39, 2")  # 1e39 is beyond fp32
    assert (facts["num_points"], facts["num_diverged"], facts["computed"]) == (3, 1, 1)
    assert "not finite" in (copied / "pareto/pareto.html").read_text()
    assert run(tiny, copied, "0.5, 1e39, 2")["computed"] == 0


def test_a_wrong_input_ends_the_sweep_at_once(tiny, tmp_path):
    with says(UserError, "no-teacher", "config.json"):
        run(tiny, tmp_path / "out", "0.5, 1, 2", teacher=tmp_path / "no-teacher", reference="")
    assert not (tmp_path / "out/pareto").exists()


def test_a_worker_answers_with_the_error_and_is_gone_when_its_input_ends(tiny, tmp_path):
    worker = subprocess.Popen(
        [sys.executable, "-m", "i2i_unlearn.sweeps.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    job = {"images": tiny.images, "splits": str(tiny.splits), "teacher": str(tmp_path / "no-teacher"), "reference": ""}
    job |= {"folder": str(tmp_path), "point": {"alpha": 1}, "settings": settings_of(tiny)}
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    assert "no-teacher" in json.loads(worker.stdout.readline())["error"]
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0


# --- the command ---


@pytest.fixture
def place(tmp_path, tiny, params_written):
    params_written(
        tmp_path, tiny, checkpoint_uri="checkpoints", unlearn=STEPS, evaluate=SMALL, sweep={"num_workers": 1}
    )
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/policies").symlink_to(POLICIES)
    return tmp_path


def arguments(project, *more):
    where = ["--images", project.images, "--splits", project.splits, "--teacher", project.teacher]
    return ["sweep", *where, "--reference", project.artifact("reference"), "--alphas", "0.5", "--no-record", *more]


def test_a_sweep_that_was_killed_goes_on_and_trains_no_point_again(command_line, tiny, place, swept):
    noting = {"event": "os.rename", "contains": "point.json"}  # trained and evaluated, not yet noted
    assert command_line(place, *arguments(tiny), moment=noting).code == -signal.SIGKILL
    weights = times(place / "artifacts/sweep", "unlearned")
    assert weights
    ended = command_line(place, *arguments(tiny))
    assert ended.code == 0, ended.err
    assert times(place / "artifacts/sweep", "unlearned") == weights
    (point,) = points_in(place / "artifacts/sweep").values()
    model = "unlearned/model/model.safetensors"
    assert (point / model).read_bytes() == (points_in(swept[0])["encoder_l2-alpha-0.5"] / model).read_bytes()
    assert (place / "artifacts/sweep/pareto/pareto.html").is_file()


def test_the_command_says_each_point_and_then_the_fronts_and_the_page(command_line, tiny, place, swept):
    shutil.copytree(swept[0], place / "artifacts/sweep")
    ended = command_line(place, *arguments(tiny, "--alphas", "0.5,2"))
    assert ended.code == 0, ended.err
    cost, *points = ended.err.splitlines()
    assert cost.startswith("2 points, ")
    assert points == [
        "1/2 encoder_l2 alpha 0.5: was there already",
        "2/2 encoder_l2 alpha 2: was there already",
    ]
    compared, head, *rows, fronts, page = ended.out.splitlines()
    assert re.match(r"Compared 2 points in [\d.]+ s \(0 computed now\): \d passed the gate, 0 diverged", compared)
    assert head.split()[0] == "point"
    assert [row.startswith(f"encoder_l2 alpha {alpha}") for row, alpha in zip(rows, ("0.5", "2"), strict=True)] == [
        True
    ] * 2
    assert fronts.startswith(f"Front, forgetting most: {swept[1]['forgetting_most']}. As unseen: ")
    assert page == "Page: artifacts/sweep/pareto/pareto.html"


def test_a_value_that_is_no_number_is_one_line(command_line, tiny, place):
    ended = command_line(place, *arguments(tiny)[:-3], "--alphas", "0.5,much")
    assert ended.code == 1
    assert ended.err.startswith("i2i-unlearn: error: sweep.alphas.1='much'")


def test_pareto_shows_folders_of_points(command_line, place, swept):
    folders = sorted(points_in(swept[0]).values())
    ended = command_line(place, "pareto", *folders, "--out", "table", "--no-record")
    assert ended.code == 0, ended.err
    assert yaml.safe_load((place / "table/points.json").read_text())["points"][0]["name"] == "encoder_l2 alpha 0.5"
