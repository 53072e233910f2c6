"""The pipeline of a sweep: as Kubeflow reads it."""

import re
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import EvaluateConfig, UnlearnConfig, load_params
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.models.operators import OPERATORS
from i2i_unlearn.pipeline.form import check_sweep_form
from i2i_unlearn.pipeline.local.runner import form_fields
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps.points import point_configs
from tests.support.says import says

pytestmark = pytest.mark.timeout(900)  # a dozen processes that import torch, on a machine that may be busy

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines/sweep.yaml"
SPEC = next(yaml.safe_load_all(PACKAGE.read_text()))
FIELDS = form_fields(SPEC)
TASKS = SPEC["root"]["dag"]["tasks"]
LOOP = TASKS["for-loop-1"]
BODY = SPEC["components"]["comp-for-loop-1"]["dag"]["tasks"]
PARAMS = load_params(ROOT / "params.yaml")


# --- the compiled file ---


def test_split_reference_and_teacher_are_made_once_and_every_point_waits_for_them():
    assert set(BODY) == {"sweep-point"}
    assert set(LOOP["dependentTasks"]) == {"check-sweep", "snapshot", "split", "reference"}
    assert TASKS["pareto"]["dependentTasks"] == ["for-loop-1"]
    assert "pareto" in TASKS["record-sweep"]["dependentTasks"]


def test_the_loop_goes_over_the_points_that_the_check_returns_a_few_at_a_time():
    assert LOOP["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--check-sweep-Output"}
    assert LOOP["iteratorPolicy"] == {"parallelismLimit": PARAMS["sweep"]["num_workers"]}
    inputs = SPEC["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    assert inputs[LOOP["parameterIterator"]["itemInput"]] == {"parameterType": "STRUCT"}


def test_the_loop_takes_no_other_parameter_from_a_step():
    # kfp.local 2.17 would put the loop's item in its place.
    from_steps = [name for name, given in LOOP["inputs"]["parameters"].items() if "taskOutputParameter" in given]
    assert from_steps == ["pipelinechannel--check-sweep-Output"]


def test_pareto_takes_the_collected_evaluations():
    given = TASKS["pareto"]["inputs"]["artifacts"]["points"]["taskOutputArtifact"]
    assert given == {"outputArtifactKey": "pipelinechannel--sweep-point-evaluated", "producerTask": "for-loop-1"}
    assert SPEC["components"]["comp-pareto"]["inputDefinitions"]["artifacts"]["points"]["isArtifactList"] is True


# --- the form ---


def test_fields_that_both_pipelines_have_mean_the_same():
    other = form_fields(next(yaml.safe_load_all((ROOT / "pipelines/unlearning.yaml").read_text())))
    for name in ("images", "requests", "erased", "model", "operator", "seed"):
        assert FIELDS[name] == other[name]


def test_the_form_cannot_ask_to_show_forget_images():
    assert "show_forget_images" not in FIELDS


def test_defaults_are_those_of_params_yaml():
    assert FIELDS["objectives"]["defaultValue"] == ", ".join(PARAMS["sweep"]["objectives"])
    assert [float(value) for value in FIELDS["alphas"]["defaultValue"].split(",")] == PARAMS["sweep"]["alphas"]
    assert all(name in FIELDS["operator"]["description"] for name in OPERATORS)


def check(cluster=None, accelerator_count="0", **changes):
    """The step `check-sweep` with the default form, some of its fields changed."""
    given = TASKS["check-sweep"]["inputs"]["parameters"]
    constants = {name: given[name]["runtimeValue"]["constant"] for name in ("form", "params", "policies")}
    names = {place: re.search(r"channel--(\w+)", value)[1] for place, value in constants["form"].items()}
    values = {name: field["defaultValue"] for name, field in FIELDS.items()} | changes
    form = {place: str(values[name]) for place, name in names.items()}
    params = {**constants["params"], "cluster": {**constants["params"]["cluster"], **(cluster or {})}}
    return check_sweep_form(form, params, accelerator_count=accelerator_count, policies=constants["policies"])


def test_the_check_returns_the_product_of_the_two_fields():
    settings, points = check(objectives="encoder_l2, epsilon_constraint", alphas="0.1, 1", epsilons="0.5")
    compiled = settings["unlearn"]
    assert [{key: point["unlearn"][key] for key in ("objective", "alpha", "epsilon")} for point in points] == [
        {"objective": "encoder_l2", "alpha": 0.1, "epsilon": compiled["epsilon"]},
        {"objective": "encoder_l2", "alpha": 1.0, "epsilon": compiled["epsilon"]},
        {"objective": "epsilon_constraint", "alpha": compiled["alpha"], "epsilon": 0.5},
    ]


def test_a_sweep_makes_no_train_job_whatever_the_cluster_says():
    settings, _ = check()
    assert settings["cluster"]["train_job_nodes"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": "encoder_l3"}, ["objectives='encoder_l3'", *OBJECTIVES]),
        ({"alphas": "-1"}, ["sweep.alphas.0='-1'"]),
        ({"alphas": ""}, ["sweep.alphas"]),
        ({"epsilons": "0.5, 3"}, ["sweep.epsilons.1='3'"]),
        ({"operator": "hole", "gate_policy": "loud"}, ["operator='hole'", "gate_policy='loud'"]),
        ({"num_steps": 0, "objectives": "x"}, ["unlearn.num_steps='0'", "objectives='x'"]),
        ({"accelerator_count": "1"}, ["accelerator_count=1", "cluster.device=cpu"]),
    ],
)
def test_a_wrong_field_is_named_before_anything_is_computed(changes, words):
    with says(UserError, *words):
        check(**changes)


def test_settings_that_came_through_the_form_have_the_digests_of_those_of_the_command():
    policies = read_policies(ROOT / "mlflow/policies")
    ours = {
        "unlearn": UnlearnConfig.from_params(PARAMS).model_dump(mode="json"),
        "evaluate": EvaluateConfig.from_params(PARAMS, policies=policies).model_dump(mode="json"),
    }
    constants = BODY["sweep-point"]["inputs"]["parameters"]["policies"]["runtimeValue"]["constant"]
    _, (point,) = check(objectives="encoder_l2", alphas="1")
    here = UnlearnConfig(**point["unlearn"]), EvaluateConfig(**point["evaluate"], policies=constants)
    for one, other in zip(here, point_configs({"objective": "encoder_l2", "alpha": 1}, ours), strict=True):
        assert one.digest() == other.digest()
