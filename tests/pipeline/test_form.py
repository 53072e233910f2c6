"""The run form: what a person reads in Kubeflow, and what the first step makes of it."""

from pathlib import Path
from typing import Any

import pytest

from i2i_unlearn.config.sections import CONFIGS, ClusterConfig, load_params
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.models.operators import OPERATORS
from i2i_unlearn.pipeline.compiled import STAGES, compiled, form_page, warnings_of
from i2i_unlearn.pipeline.form import PROMOTE_CHOICES, check_form
from i2i_unlearn.pipeline.local.runner import form_fields, read_package
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from tests.support.says import says

ROOT = Path(__file__).parents[2]
SPEC = read_package(ROOT / "pipelines/unlearning.yaml")
FIELDS = form_fields(SPEC)
PARAMS = load_params(ROOT / "params.yaml")
POLICIES = read_policies(ROOT / "mlflow/policies")
NAMES = """images requests erased model model_name objective alpha num_steps operator gate_policy reference promote
    experiment accelerator_count memory seed"""
EVERY_FIELD = [
    (pipeline, name)
    for pipeline in ("unlearning", "sweep", "registry_check")
    for name in form_fields(read_package(ROOT / f"pipelines/{pipeline}.yaml"))
]


@pytest.mark.parametrize(("pipeline", "name"), EVERY_FIELD)
def test_field_has_a_plain_name_a_description_and_a_default(pipeline, name):
    field = form_fields(read_package(ROOT / f"pipelines/{pipeline}.yaml"))[name]
    assert name.isidentifier()
    assert name == name.lower()
    assert len(field["description"].split()) >= 6
    assert field["description"].rstrip().endswith(".")
    assert "defaultValue" in field


def test_the_form_has_the_sixteen_fields_that_change_from_run_to_run():
    assert set(FIELDS) == set(NAMES.split())
    assert not set(FIELDS) & set(ClusterConfig.model_fields)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("objective", OBJECTIVES),
        ("operator", OPERATORS),
        ("promote", PROMOTE_CHOICES),
        ("gate_policy", POLICIES),
    ],
)
def test_description_lists_every_choice(name, choices):
    listed = " ".join(FIELDS[name]["description"].partition("One of: ")[2].split())
    assert all(choice in listed for choice in choices)


def test_defaults_are_those_of_params_yaml():
    expected = {
        "alpha": PARAMS["unlearn"]["alpha"],
        "num_steps": PARAMS["unlearn"]["num_steps"],
        "seed": PARAMS["seed"],
        "requests": ",".join(PARAMS["split"]["requests"]),
        "model": PARAMS["snapshot"]["source"],
        "gate_policy": PARAMS["evaluate"]["policy"],
        "accelerator_count": "0",  # runs on a cluster without accelerators
    }
    assert {name: FIELDS[name]["defaultValue"] for name in expected} == expected


def test_the_page_of_the_form_is_made_from_the_compiled_pipeline():
    page = (ROOT / "docs/run_form.md").read_text()
    assert page == form_page(SPEC, PARAMS), "stale; run: i2i-unlearn pipeline compile"
    assert all(f"| `{name}` |" in page for name in [*FIELDS, *ClusterConfig.model_fields])
    assert "None" not in page  # every key of the cluster has its sentence


GONE = ("alpha", "epsilon")

# --- the step `check` ---

FORM = {
    "images": "data/images",
    **{"split.requests": "digit-3", "split.erased": "", "snapshot.source": "nowhere", "register.model_name": "digits"},
    **{"unlearn.objective": "encoder_l2", "unlearn.alpha": "0.25", "unlearn.num_steps": "150"},
    **{"operator": "center_hole", "evaluate.policy": next(iter(POLICIES)), "reference.count": "1"},
    **{"register.experiment": "tests", "seed": "0"},
}


def check(
    changes: dict[str, Any] | None = None, *, params: dict[str, Any] | None = None, **more: Any
) -> dict[str, dict[str, Any]]:
    """The step `check`, with keys of the section `cluster` or others changed when compiling."""
    made = compiled({**PARAMS, **{key: {**PARAMS[key], **value} for key, value in (params or {}).items()}}, STAGES)
    given = {"promote": "never", "accelerator_count": "0", "policies": list(POLICIES), **more}
    return check_form({**FORM, **(changes or {})}, made, **given)


def test_blank_images_are_refused_in_the_first_step():
    with says(UserError, "images", "blank", "folder or URI"):
        check({"images": " "})


def test_the_pipeline_hands_the_check_the_keys_that_this_test_does():
    (task,) = [
        component["dag"]["tasks"]["check"]
        for component in SPEC["components"].values()
        if "check" in component.get("dag", {}).get("tasks", {})
    ]
    given = task["inputs"]["parameters"]
    assert set(given["form"]["runtimeValue"]["constant"]) == set(FORM)
    assert set(given["params"]["runtimeValue"]["constant"]) == set(compiled(PARAMS, STAGES))


def test_every_stage_builds_its_config_from_its_section_of_the_settings_though_numbers_came_as_text():
    used = check({"unlearn.alpha": "0.5", "unlearn.num_steps": "7.0", "split.requests": "a-1, b-2", "seed": "3"})
    assert set(used) == set(STAGES)
    for stage in STAGES:
        more = {"policies": POLICIES} if stage == "evaluate" else {}
        config = CONFIGS[stage](**used[stage], **more)
        assert config.model_dump(mode="json", exclude={"policies"}) == used[stage]
        assert getattr(config, "seed", 3) == 3
    assert (used["unlearn"]["alpha"], used["unlearn"]["num_steps"]) == (0.5, 7)
    assert (used["split"]["requests"], used["split"]["erased"]) == (["a-1", "b-2"], [])
    assert used["reference"]["num_steps"] == PARAMS["pretrain"]["num_steps"]  # the form's num_steps is unlearn's
    assert "policies" not in used["evaluate"]


def test_device_and_checkpoints_are_those_of_the_cluster_in_every_stage():
    used = check(params={"cluster": {"device": "auto", "checkpoint_uri": "s3://bucket/checkpoints"}})
    assert {used[stage]["device"] for stage in ("unlearn", "reference", "evaluate")} == {"auto"}
    assert {used[stage]["checkpoint_uri"] for stage in ("unlearn", "reference")} == {"s3://bucket/checkpoints"}


@pytest.mark.parametrize("shown", [False, True])
def test_forget_images_are_shown_as_params_yaml_said_when_compiling(shown):
    assert check(params={"evaluate": {"show_forget_images": shown}})["evaluate"]["show_forget_images"] is shown
    told = "".join(warnings_of({"evaluate": {"show_forget_images": shown}}))
    assert [word in told for word in ("show_forget_images is true", "set it to false in params.yaml")] == [shown] * 2
    assert warnings_of({"evaluate": {"show_forget_images": shown}, "sweep": {}}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unlearn.objective": "encoder_l3"}, ["objective='encoder_l3'", "encoder_l2"]),
        ({"operator": "hole"}, ["operator='hole'", "center_hole"]),
        ({"evaluate.policy": "loud"}, ["gate_policy='loud'", *POLICIES]),
        ({"register.model_name": "anna's"}, ["model_name=", "anna's", "cannot be in a model's name"]),
        ({"reference.count": "-1"}, ["reference.count='-1'"]),
        ({"unlearn.alpha": "-1.0"}, ["unlearn.alpha='-1.0'"]),
        ({"unlearn.num_steps": "0"}, ["unlearn.num_steps='0'"]),
        ({"seed": "much"}, ["seed='much'"]),
        ({"snapshot.source": " "}, ["snapshot.source=' '", "models:/NAME/VERSION"]),
        *(({"unlearn.alpha": text}, [f"unlearn.alpha={text!r}", "finite"]) for text in ("nan", "-inf", "1e999")),
        ({"seed": 2.0**53}, ["seed=9007199254740992.0", "below 2^53"]),
        ({"split.requests": "{{$.pipeline_job_name}}"}, ["split.requests=", "Kubeflow"]),
        (
            {"unlearn.objective": "heldout_like", "split.unseen_target_fraction": 0.0},
            ["heldout_like", "split.unseen_target_fraction"],
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_what_to_do(changes, words):
    with says(UserError, *words):
        check(changes)


@pytest.mark.parametrize("blank", ["", " ", ",", "b-2"])
def test_a_form_that_leaves_out_an_erased_request_is_refused(blank):
    params = {"split": {"erased": ["a-1", "b-2"]}}
    with says(UserError, f"erased={blank!r}", "a-1", "used again", "add"):
        check({"split.erased": blank}, params=params)
    assert check({"split.erased": "b-2, a-1"}, params=params)["split"]["erased"] == ["b-2", "a-1"]
    again = check({"split.erased": "b-2", "split.requests": "a-1, c-3"}, params=params)  # forgotten once more
    assert again["split"]["requests"] == ["a-1", "c-3"]


def test_all_faults_come_at_once_and_each_once():
    with pytest.raises(UserError) as caught:
        check({"unlearn.alpha": "-1", "unlearn.objective": "none", "seed": "x"}, promote="always")
    told = str(caught.value)
    assert all(word in told for word in ("alpha", "objective='none'", "promote='always'"))
    assert told.count("seed='x'") == 1


def test_each_of_several_missing_keys_keeps_its_remedy():
    params = {**PARAMS, "unlearn": {key: PARAMS["unlearn"][key] for key in PARAMS["unlearn"] if key not in GONE}}
    with says(UserError, *(word for key in GONE for word in (f"unlearn.{key} is missing", "add it"))):
        compiled(params, STAGES)


@pytest.mark.parametrize("key", ["device", "train_job_nodes", "accelerator_type"])
def test_a_wrong_key_of_the_cluster_is_told_when_compiling(key):
    with pytest.raises(UserError, match=f"cluster.{key}=\\['tpu'\\]"):
        check(params={"cluster": {key: ["tpu"]}})


# --- accelerators and nodes ---


@pytest.mark.parametrize(
    ("count", "cluster", "words"),
    [
        ("one", {}, ["accelerator_count='one'", "use 0 for none"]),
        ("1", {"device": "cpu"}, ["accelerator_count=1", "cluster.device=cpu", "auto", "compile"]),
        ("3", {"device": "auto"}, ["unlearn.batch_size=32", "3 processes (accelerator_count=3)"]),
        ("0", {"train_job_nodes": 2, "device": "cpu"}, ["cluster.train_job_gpus=1", "cluster.device=cpu", "compile"]),
        (
            "0",
            {"train_job_nodes": 3, "train_job_gpus": 2, "device": "auto"},
            ["unlearn.batch_size=32", "6 processes", "cluster.train_job_nodes=3", "cluster.train_job_gpus=2"],
        ),
    ],
)
def test_hardware_that_nothing_could_use_is_refused_before_the_split(count, cluster, words):
    with says(UserError, *words):
        check(params={"cluster": cluster}, accelerator_count=count)


@pytest.mark.parametrize(
    ("count", "cluster", "processes"),
    [
        ("0", {}, 1),
        ("2", {"device": "cuda"}, 2),
        ("0", {"train_job_nodes": 2, "train_job_gpus": 0}, 2),
        ("0", {"train_job_nodes": 2, "train_job_gpus": 2, "device": "auto"}, 4),
    ],
)
def test_what_is_recorded_is_what_trains(count, cluster, processes):
    used = check(params={"cluster": cluster}, accelerator_count=count)
    assert used["unlearn"]["num_processes"] == used["reference"]["num_processes"] == processes


# --- the model's digest ---


def test_the_digest_of_a_model_that_is_here_is_handed_on(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    assert check({"snapshot.source": str(tmp_path)})["snapshot"]["sha256"] == digest_folder(tmp_path)


@pytest.mark.parametrize("model", ["nowhere", "pipelines", "models:/nothing/1", "models:/nothing@champion"])
def test_a_model_that_is_not_here_is_left_to_the_snapshot(model, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert check({"snapshot.source": model})["snapshot"]["sha256"] == ""
    assert (tmp_path / "mlflow.db").exists() == (
        model == "models:/nothing/1"
    )  # the registry is asked for versions only


def test_the_digest_of_params_yaml_is_that_of_its_own_model_alone(tmp_path):
    expected = {"snapshot": {"source": str(tmp_path), "sha256": "e" * 64}}
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    with says(UserError, "snapshot.sha256", "e" * 64, str(tmp_path)):
        check({"snapshot.source": str(tmp_path)}, params=expected)
    assert check({"snapshot.source": "nowhere"}, params=expected)["snapshot"]["sha256"] == ""
