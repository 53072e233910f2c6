"""Components are glue: rule 7 of the conventions, read from the source."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import CONFIGS

ROOT = Path(__file__).parents[2]
STAGES = ["snapshot", "split", "unlearn", "reference", "evaluate", "register", "promote"]
STEPS = ["check", "deadline", "warn_overdue", *STAGES, "evidence", "final_state"]
SWEEP_STAGES = ["sweep_point", "pareto", "record_sweep"]
SWEEP_STEPS = ["check_sweep", *SWEEP_STAGES]
EVERY_STEP = [*STEPS, *SWEEP_STEPS, "registry_check"]
ELSEWHERE = {
    "sweep_point": ("i2i_unlearn.sweeps", "point"),
    "pareto": ("i2i_unlearn.sweeps", "table"),
    "record_sweep": ("i2i_unlearn.sweeps", "record"),
    "registry_check": ("i2i_unlearn.registry", "check"),
}
"""Steps that are no stage."""
PIPELINE_OF = {"registry_check": "registry_check", **dict.fromkeys(SWEEP_STEPS, "sweep")}


def function_of(step: str) -> ast.FunctionDef:
    tree = ast.parse((ROOT / f"components/{step}.py").read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return function


def body_of(step: str) -> list[ast.stmt]:
    """The statements after the docstring."""
    function = function_of(step)
    assert ast.get_docstring(function), f"{step} has no docstring"
    return function.body[1:]


def test_every_file_is_a_step_of_a_pipeline():
    found = {path.stem for path in (ROOT / "components").glob("*.py")} - {"__init__", "image"}
    assert found == set(EVERY_STEP)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_component_has_at_most_five_statements_and_decides_nothing(step):
    body = body_of(step)
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.comprehension, ast.BoolOp, ast.Match)
    nodes = [node for statement in body for node in ast.walk(statement)]
    assert sum(isinstance(node, ast.stmt) for node in nodes) <= 5
    assert not [node for node in nodes if isinstance(node, branches)]


@pytest.mark.parametrize("step", EVERY_STEP)
def test_component_imports_only_the_package_and_only_inside(step):
    imported = [node for statement in body_of(step) for node in ast.walk(statement) if isinstance(node, ast.ImportFrom)]
    assert imported
    assert all(node.module.partition(".")[0] == "i2i_unlearn" for node in imported)


@pytest.mark.parametrize("stage", ["evidence", *STAGES, *SWEEP_STAGES, "registry_check"])
def test_component_calls_the_stage_of_its_name_with_arguments_that_it_takes(stage):
    body = body_of(stage)
    nodes = [node for statement in body for node in ast.walk(statement)]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    stages = [(node.module, alias.name) for node in imports for alias in node.names if alias.asname == "stage"]
    (call,) = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "stage.run"]
    arguments = call.args
    if stages == [("i2i_unlearn.pipeline.cluster", "train_job")]:  # runs the stage it is told, here or on several nodes
        assert ast.literal_eval(arguments[0]) == stage
    else:
        assert stages == [ELSEWHERE.get(stage, ("i2i_unlearn.stages", stage))]
    signature = inspect.signature(importlib.import_module(".".join(stages[0])).run)
    signature.bind(*arguments, **{keyword.arg: keyword.value for keyword in call.keywords})


@pytest.mark.parametrize("stage", STAGES)
def test_component_builds_the_config_of_its_stage_from_its_section_of_the_settings(stage):
    nodes = [node for statement in body_of(stage) for node in ast.walk(statement)]
    name = CONFIGS[stage].__name__
    (call,) = [
        node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]
    assert [ast.unparse(keyword.value) for keyword in call.keywords if not keyword.arg] == [f"settings['{stage}']"]
    # What a policy asks is no setting: it is not recorded with the run.
    assert {keyword.arg for keyword in call.keywords if keyword.arg} == ({"policies"} if stage == "evaluate" else set())


@pytest.mark.parametrize("step", EVERY_STEP)
def test_component_takes_no_field_of_the_form_but_the_images(step):
    taken = {argument.arg for argument in function_of(step).args.args}
    fields = set(inspect.signature(importlib.import_module("pipelines.unlearning").unlearning.pipeline_func).parameters)
    given = {"check": {"promote", "accelerator_count"}, "check_sweep": {"accelerator_count"}}
    of_run = {"final_state": {"requests", "model_name"}, "registry_check": {"model_name"}}  # there is no check before
    artifact = {"reference"}  # the step's output, or another step's input
    assert taken & fields <= {"images"} | artifact | given.get(step, set()) | of_run.get(step, set())


@pytest.mark.parametrize("step", EVERY_STEP)
def test_component_installs_nothing_at_run_time(step):
    pipeline = PIPELINE_OF.get(step, "unlearning")
    spec = next(yaml.safe_load_all((ROOT / f"pipelines/{pipeline}.yaml").read_text()))
    container = spec["deploymentSpec"]["executors"][f"exec-{step.replace('_', '-')}"]["container"]
    assert "pip install" not in " ".join(container["command"])
    assert container["image"].startswith("i2i-unlearn:")
