"""The compiled pipelines, read as Kubeflow reads them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import load_params
from i2i_unlearn.pipeline.local.runner import PIPELINES

ROOT = Path(__file__).parents[2]
PACKAGES = {name: list(yaml.safe_load_all((ROOT / f"pipelines/{name}.yaml").read_text())) for name in PIPELINES}
SPEC = PACKAGES["unlearning"][0]
EXECUTORS = {name: spec["deploymentSpec"]["executors"] for name, (spec, _) in PACKAGES.items()}
PODS = {
    name: platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"] for name, (_, platform) in PACKAGES.items()
}
COMPUTING = [
    *[("unlearning", name) for name in ("unlearn", "reference", "evaluate")],
    *[("sweep", name) for name in ("reference", "sweep-point")],
]
"""Steps that get the accelerators and the memory of the form."""
CLUSTER = load_params(ROOT / "params.yaml")["cluster"]
DVC_STAGES = {"snapshot", "split", "unlearn", "reference", "evaluate"}

COMPILE_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "transformers", "mlflow", "sklearn", "matplotlib"}:
            raise ModuleNotFoundError(f"{name} is not on this machine")

sys.meta_path.insert(0, Missing())
from i2i_unlearn.cli.main import app
app(["pipeline", "compile", "--out", sys.argv[1]])
"""


def dags(pipeline: str = "unlearning") -> dict[str, dict]:
    """All DAGs of a pipeline by the name of their component."""
    spec, _ = PACKAGES[pipeline]
    components = {"root": spec["root"], **spec["components"]}
    return {name: component for name, component in components.items() if "dag" in component}


def tasks(pipeline: str = "unlearning") -> dict[str, dict]:
    """All tasks by name, whatever DAG they are in."""
    return {name: task for dag in dags(pipeline).values() for name, task in dag["dag"]["tasks"].items()}


@pytest.mark.parametrize("name", PIPELINES)
def test_committed_yaml_is_what_the_sources_compile_to_on_a_machine_without_torch(name, tmp_path):
    out = tmp_path / "package.yaml"
    environment = {key: value for key, value in os.environ.items() if key != "I2I_UNLEARN_IMAGE"}
    program = COMPILE_WITHOUT.replace('"compile",', f'"compile", "--pipeline", "{name}",')
    subprocess.run([sys.executable, "-c", program, str(out)], cwd=ROOT, env=environment, check=True)
    committed = (ROOT / f"pipelines/{name}.yaml").read_text()
    assert out.read_text() == committed, "stale; run: i2i-unlearn pipeline compile"
    # Argo, which runs Kubeflow's pods, would try to resolve {{ ... }} and fail; {{$ ... }} is Kubeflow's own. So a
    # Jinja template (the model card's) cannot travel in the package.
    assert not re.findall(r"\{\{(?!\$)", committed)


def test_image_and_cluster_are_compiled_in(tmp_path):
    cluster = {
        **{"node_selector": {"gpu": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
        **{"accelerator_type": "amd.com/gpu", "volume_claim": "of-team-a", "device": "auto"},
    }
    for name in ("components", "pipelines", "mlflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    params = load_params(ROOT / "params.yaml")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**params, "cluster": {**params["cluster"], **cluster}}))
    environment = {**os.environ, "I2I_UNLEARN_IMAGE": "registry.example/unlearn:7"}
    subprocess.run([sys.executable, "-c", COMPILE_WITHOUT, "out.yaml"], cwd=tmp_path, env=environment, check=True)
    spec, platform = yaml.safe_load_all((tmp_path / "out.yaml").read_text())
    executors = spec["deploymentSpec"]["executors"]
    assert {one["container"]["image"] for one in executors.values()} == {"registry.example/unlearn:7"}
    for name in ("unlearn", "reference", "evaluate"):
        resources = executors[f"exec-{name}"]["container"]["resources"]
        assert resources["accelerator"]["resourceType"] == "amd.com/gpu"
        pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][f"exec-{name}"]
        assert pod["nodeSelector"]["labels"] == cluster["node_selector"]
        assert pod["tolerations"] == cluster["tolerations"]
        assert pod["pvcMount"][0]["constant"] == "of-team-a"


# --- the order of the steps ---


def pipeline_edges() -> set[tuple[str, str]]:
    """(before, after); a loop goes by the name of the one step in it."""
    loops = {
        name.removeprefix("comp-"): list(dag["dag"]["tasks"]) for name, dag in dags().items() if "for-loop" in name
    }
    steps = {name: loops.get(name, [name])[0] for name in tasks()}
    return {(steps[one], steps[name]) for name, task in tasks().items() for one in task.get("dependentTasks", [])}


def dvc_edges() -> set[tuple[str, str]]:
    """(producer, consumer) wherever a dependency is, holds, or lies in an output."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

    def paths(entries: list) -> list[Path]:
        return [Path(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries]

    outs = {
        name: paths([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])
        for name, stage in stages.items()
    }
    return {
        (producer, consumer)
        for consumer, stage in stages.items()
        for dep in paths(stage["deps"])
        for producer, produced in outs.items()
        if any(dep == out or dep in out.parents or out in dep.parents for out in produced)
    }


def test_dvc_and_the_pipeline_have_the_same_dag_from_split_to_evaluate():
    def between(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
        return {edge for edge in edges if set(edge) <= DVC_STAGES}

    assert between(dvc_edges()) == between(pipeline_edges())
    assert ("unlearn", "evaluate") in between(dvc_edges())


def test_the_form_is_checked_before_anything_else():
    order = pipeline_edges()
    assert {("check", "snapshot"), ("check", "split")} <= order
    assert not tasks()["check"].get("dependentTasks")


def test_promotion_needs_both_the_wish_and_a_gate_that_passed():
    promotion = [name for name, dag in dags().items() if "promote" in dag["dag"]["tasks"]]
    conditions = []
    while promotion != ["root"]:
        (name,) = promotion
        (task,) = [task for task in tasks().values() if task["componentRef"]["name"] == name]
        conditions.append(task.get("triggerPolicy", {}).get("condition", ""))
        promotion = [
            outer
            for outer, dag in dags().items()
            if any(task["componentRef"]["name"] == name for task in dag["dag"]["tasks"].values())
        ]
    assert any("promote" in condition and "'on pass'" in condition for condition in conditions)
    assert any("evaluate" in condition and "'pass'" in condition for condition in conditions)


def test_a_warning_is_shown_only_if_a_request_is_overdue():
    (dag,) = [name for name, dag in dags().items() if "warn-overdue" in dag["dag"]["tasks"]]
    (task,) = [task for task in tasks().values() if task["componentRef"]["name"] == dag]
    condition = task["triggerPolicy"]["condition"]
    assert "deadline" in condition
    assert "== 'overdue'" in condition
    # nothing else waits for it
    assert {name for name, one in tasks().items() if "deadline" in one.get("dependentTasks", [])} == {
        dag.removeprefix("comp-")
    }


def test_the_final_state_is_written_even_after_a_failure():
    assert tasks()["final-state"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert SPEC["root"]["dag"]["tasks"]["final-state"]["dependentTasks"] == ["exit-handler-1"]


# --- pods ---


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_no_step_is_taken_from_the_cache(pipeline):
    steps = {name: task for name, task in tasks(pipeline).items() if f"exec-{name}" in EXECUTORS[pipeline]}
    assert len(steps) == len(EXECUTORS[pipeline])
    assert not [name for name, task in steps.items() if task.get("cachingOptions", {}).get("enableCache", False)]


@pytest.mark.parametrize(("pipeline", "name"), [*COMPUTING[:2], *COMPUTING[3:], ("registry_check", "registry-check")])
def test_a_long_step_is_tried_again_with_growing_pauses(pipeline, name):
    policy = tasks(pipeline)[name]["retryPolicy"]
    assert policy["maxRetryCount"] == 2
    assert (policy["backoffDuration"], policy["backoffFactor"]) == ("60s", 2.0)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_only_steps_that_compute_get_accelerators_and_memory_as_the_form_says(pipeline):
    found = {name: executor["container"].get("resources") for name, executor in EXECUTORS[pipeline].items()}
    asking = {name: resources for name, resources in found.items() if resources}
    assert set(asking) == {f"exec-{name}" for of, name in COMPUTING if of == pipeline}
    for resources in asking.values():
        assert "accelerator_count" in resources["accelerator"]["resourceCount"]
        assert "memory" in resources["resourceMemoryLimit"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_that_reads_a_path_of_the_form_has_the_volume_as_working_directory(pipeline):
    mounts = {name: [(m["mountPath"], m["constant"]) for m in pod["pvcMount"]] for name, pod in PODS[pipeline].items()}
    mounted = {name for name, found in mounts.items() if found == [("/workspace", CLUSTER["volume_claim"])]}
    assert mounted == set(EXECUTORS[pipeline]) - {"exec-final-state"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_only_split_and_evidence_see_a_key_and_a_missing_secret_does_not_hang_the_pod(pipeline):
    mounted = {
        name: [(mount["secretName"], mount["mountPath"], mount["optional"]) for mount in pod["secretAsVolume"]]
        for name, pod in PODS[pipeline].items()
        if "secretAsVolume" in pod
    }
    allowed = {
        "exec-split": [(CLUSTER["hmac_key_secret"], "/workspace/.secrets", True)],
        "exec-evidence": [(CLUSTER["evidence_key_secret"], "/workspace/.secrets/evidence", True)],
    }
    assert mounted == {name: mounts for name, mounts in allowed.items() if name in EXECUTORS[pipeline]}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_parameter_that_a_step_asks_for_is_handed_down_through_all_dags(pipeline):
    # kfp 2.17 forgets resource parameters inside an exit handler; the backend then cannot start the step.
    for name, dag in dags(pipeline).items():
        given = set(dag.get("inputDefinitions", {}).get("parameters", {}))
        for task_name, task in dag["dag"]["tasks"].items():
            platform = PODS[pipeline].get(f"exec-{task_name}", {})
            asked = set(re.findall(r"componentInputParameter': '([^']+)'", f"{task} {platform}"))
            assert asked <= given, f"{task_name} in {name}"
            container = EXECUTORS[pipeline].get(f"exec-{task_name}", {}).get("container", {})
            used = set(re.findall(r"\$\.inputs\.parameters\['([^']+)'\]", str(container.get("resources", ""))))
            assert used <= set(task.get("inputs", {}).get("parameters", {})), f"{task_name} in {name}"
