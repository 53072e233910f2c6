"""The run form: what a person reads in Kubeflow, and what the first step makes of it."""

import copy
import importlib
import inspect
import math
from pathlib import Path

import pytest

from i2i_unlearn.config.sections import load_params
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.models.operators import OPERATORS
from i2i_unlearn.pipeline.form import PROMOTE_CHOICES, check_form
from i2i_unlearn.pipeline.local.runner import form_fields, read_package
from i2i_unlearn.support.errors import UserError

ROOT = Path(__file__).parents[2]
FIELDS = form_fields(read_package(ROOT / "pipelines/unlearning.yaml"))
PARAMS = load_params(ROOT / "params.yaml")


@pytest.mark.parametrize("name", FIELDS)
def test_field_has_a_plain_name_a_description_and_a_default(name):
    field = FIELDS[name]
    assert name.isidentifier()
    assert name == name.lower()
    assert len(field["description"].split()) >= 6
    assert field["description"].rstrip().endswith(".")
    assert "defaultValue" in field


def test_the_form_has_the_fields_that_the_design_names():
    named = """images checkpoint_uri requests model objective alpha num_steps operator gate_policy reference
        accelerator_type accelerator_count memory experiment promote seed"""
    assert set(named.split()) <= set(FIELDS)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("objective", OBJECTIVES),
        ("operator", OPERATORS),
        ("promote", PROMOTE_CHOICES),
        ("reference", ["none", "retrain"]),
        ("device", ["cpu", "cuda", "auto"]),
        ("gate_policy", [path.stem for path in (ROOT / "mlflow/policies").glob("*.yaml")]),
    ],
)
def test_description_lists_every_choice(name, choices):
    listed = " ".join(FIELDS[name]["description"].partition("One of: ")[2].split())
    assert all(choice in listed for choice in choices)


def test_defaults_are_those_of_params_yaml():
    defaults = {name: field["defaultValue"] for name, field in FIELDS.items()}
    assert defaults["alpha"] == PARAMS["unlearn"]["alpha"]
    assert defaults["epsilon"] == PARAMS["unlearn"]["epsilon"]
    assert defaults["num_steps"] == PARAMS["unlearn"]["num_steps"]
    assert defaults["seed"] == PARAMS["seed"]
    assert defaults["requests"] == ",".join(PARAMS["split"]["requests"])
    assert defaults["model"] == PARAMS["snapshot"]["source"]
    assert defaults["gate_policy"] == PARAMS["evaluate"]["policy"]


def test_images_that_are_to_be_forgotten_are_shown_only_on_request_whatever_the_demo_does():
    assert PARAMS["evaluate"]["show_forget_images"]  # the demo's digits are public
    assert FIELDS["show_forget_images"]["defaultValue"] is False
    assert check()["evaluate"]["show_forget_images"] is False
    assert check({"show_forget_images": True})["evaluate"]["show_forget_images"] is True


def test_the_model_is_described_as_what_the_snapshot_takes():
    assert "models:/NAME/VERSION" in FIELDS["model"]["description"]
    assert "URI" not in FIELDS["model"]["description"]


def test_defaults_run_on_a_cluster_without_accelerators():
    assert FIELDS["accelerator_count"]["defaultValue"] == "0"
    assert FIELDS["node_selector"]["defaultValue"] == {}
    assert FIELDS["tolerations"]["defaultValue"] == []


# --- the step `check` ---


def good_form() -> dict:
    """The default values, under the names of the config fields."""
    pipeline = importlib.import_module("pipelines.unlearning")
    defaults = {name: field["defaultValue"] for name, field in FIELDS.items()}
    renamed = {"model": "source", "model_sha256": "sha256", "gate_policy": "policy", "reference": "kind"}
    renamed |= {"train_job_nodes": "nodes", "train_job_gpus": "gpus_per_node"}
    renamed |= {"train_job_queue": "queue", "train_job_priority": "priority"}
    form = {renamed.get(name, name): value for name, value in defaults.items()}
    wanted = set().union(*pipeline.ON_FORM.values()) - {"num_processes"}  # made of accelerator_count
    return {name: form[name] for name in wanted}


def check(changes: dict | None = None, *, promote: str = "never", accelerator_count: str = "0") -> dict:
    sections = copy.deepcopy(importlib.import_module("pipelines.unlearning").SETTINGS)
    return check_form(good_form() | (changes or {}), sections, promote=promote, accelerator_count=accelerator_count)


def test_the_default_form_is_right_and_comes_back_as_the_settings_that_every_stage_uses():
    used = check({"alpha": 0.5, "num_steps": 7.0, "requests": "a-1, b-2", "erased": ""})
    assert used["unlearn"]["alpha"] == 0.5
    assert used["unlearn"]["num_steps"] == 7
    assert used["split"]["requests"] == ["a-1", "b-2"]
    assert used["split"]["erased"] == []
    assert used["reference"]["num_steps"] == PARAMS["pretrain"]["num_steps"]  # the form's num_steps is unlearn's
    assert "policies" not in used["evaluate"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "encoder_l3"}, ["objective='encoder_l3'", "encoder_l2"]),
        ({"operator": "hole"}, ["operator='hole'", "center_hole"]),
        ({"policy": "loud"}, ["gate_policy='loud'", "forgotten"]),
        ({"kind": "maybe"}, ["reference.kind='maybe'", "retrain"]),
        ({"alpha": -1.0}, ["unlearn.alpha=-1.0"]),
        ({"epsilon": 1.5}, ["unlearn.epsilon=1.5"]),
        ({"num_steps": 0}, ["unlearn.num_steps=0"]),
        ({"keep_fraction": 1.5}, ["keep_fraction=1.5"]),
        ({"device": "tpu"}, ["device='tpu'"]),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_what_to_do(changes, words):
    with pytest.raises(UserError) as caught:
        check(changes)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_all_faults_come_at_once():
    with pytest.raises(UserError, match="alpha.*objective.*promote"):
        check({"alpha": -1.0, "objective": "none"}, promote="always")


def test_an_accelerator_that_would_stand_idle_is_refused():
    with pytest.raises(UserError, match="set device to cuda"):
        check(accelerator_count="1")
    assert check({"device": "cuda"}, accelerator_count="1")["unlearn"]["device"] == "cuda"


def test_a_count_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="accelerator_count='one'"):
        check(accelerator_count="one")


def test_numbers_may_come_as_text():
    used = check({"alpha": "2.5", "num_steps": "12.0"})
    assert math.isclose(used["unlearn"]["alpha"], 2.5)
    assert used["unlearn"]["num_steps"] == 12


def test_the_step_check_is_given_every_field_that_a_stage_uses():
    pipeline = importlib.import_module("pipelines.unlearning")
    parameters = set(inspect.signature(pipeline.check.python_func).parameters)
    made_of_it = {"num_processes": "accelerator_count", "nodes": "train_job_nodes", "gpus_per_node": "train_job_gpus"}
    made_of_it |= {"queue": "train_job_queue", "priority": "train_job_priority"}
    assert {made_of_it.get(name, name) for name in set().union(*pipeline.ON_FORM.values())} <= parameters


# --- training on several nodes ---


def test_nodes_that_cannot_share_the_batch_are_refused_before_the_split():
    with pytest.raises(UserError, match=r"unlearn\.batch_size=32 is not a multiple of the TrainJob's 6 processes"):
        check({"nodes": 3, "gpus_per_node": 2, "device": "auto"})


def test_gpus_of_nodes_that_would_stand_idle_are_refused():
    with pytest.raises(UserError, match="train_job_gpus=1 but device=cpu would leave them idle; set device to auto"):
        check({"nodes": 2, "gpus_per_node": 1, "device": "cpu"})
    used = check({"nodes": 2, "gpus_per_node": 0})
    assert used["train_job"]["nodes"] == 2
    # What is recorded is what trained: evidence compares the digests of both.
    assert used["unlearn"]["num_processes"] == used["reference"]["num_processes"] == 2
