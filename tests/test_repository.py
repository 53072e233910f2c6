"""The repository guards itself: what review would forget."""

import ast
import json
import re
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
import yaml

from i2i_unlearn.cli.main import app
from i2i_unlearn.config.base import SHARED_KEYS
from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig, PretrainConfig, ReferenceConfig, SplitConfig
from i2i_unlearn.training.launch import WORKER

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/i2i_unlearn"
DVC_TEXT = (ROOT / "dvc.yaml").read_text()
(ORIGINAL,) = [entry["original"] for entry in yaml.safe_load(DVC_TEXT)["vars"]]
STAGES = yaml.safe_load(DVC_TEXT.replace("${original}", ORIGINAL))["stages"]


def python(program, folder=ROOT):
    """What a program prints in a process of its own."""
    ended = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


# --- docstrings and comments ---


def test_every_module_that_a_docstring_or_a_comment_names_by_its_folder_exists():
    named = []
    for path in PACKAGE.rglob("*.py"):
        with path.open("rb") as file:
            prose = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
        strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Expr))
        prose += [str(string.value) for string in strings if isinstance(string, ast.Constant)]
        modules = re.findall(r"(?<![\w/.<{:-])(?:\w+/)+[a-z_]+\.py\b", "\n".join(prose))
        named += [(path.relative_to(PACKAGE), module) for module in modules]
    assert len(named) > 20
    assert [
        (path, module)
        for path, module in named
        if not any((folder / module).exists() for folder in (PACKAGE, (PACKAGE / path).parent, ROOT))
    ] == []


# --- mlflow/ and the package mlflow ---


def test_mlflow_folder_holds_no_python():
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_import_from_the_root_finds_the_real_mlflow():
    pytest.importorskip("mlflow")
    program = "import importlib.util; print(importlib.util.find_spec('mlflow').origin)"
    found = python(program).strip()
    assert found.endswith("mlflow/__init__.py")
    assert not Path(found).is_relative_to(ROOT / "mlflow")


def test_one_package_imports_mlflow():
    importers = {path for path, names in imported_by_file().items() if "mlflow" in {root_of(name) for name in names}}
    assert importers
    assert {path.parent for path in importers} == {PACKAGE / "registry/tracking"}


# --- DVC ---


@pytest.mark.parametrize("name", STAGES)
def test_a_dvc_stage_is_a_command_that_takes_its_options_and_has_a_section_of_the_parameters(name):
    program, verb, *arguments = STAGES[name]["cmd"].split()
    assert (program, verb) == ("i2i-unlearn", name)
    typer.main.get_command(app).commands[verb].make_context(verb, arguments)
    assert name in CONFIGS


_FROM_OTHERS = {
    ReferenceConfig: {"pretrain"},
    SplitConfig: {"pretrain.canaries"},
    EvaluateConfig: {"unlearn", "register.model_name"},  # the recipe of a rehearsal; the report names the model
}
"""What a config takes from the section of another stage."""


@pytest.mark.parametrize("name", STAGES)
def test_a_dvc_stage_depends_on_the_parameters_that_its_config_holds(name):
    config = CONFIGS[name]
    shared = {key for key in SHARED_KEYS if key in config.model_fields} - config.not_in_digest
    sections = {name, *_FROM_OTHERS.get(config, ())}
    assert set(STAGES[name]["params"]) == sections | shared


def test_the_model_that_dvc_watches_is_the_one_that_is_frozen():
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["snapshot"]["source"] == ORIGINAL


def test_the_recipe_of_the_reference_is_that_of_pretrain():
    # This is why its stage depends on the section pretrain.
    recipe = set(ReferenceConfig.model_fields) - {"count", "models", "seed_offset", "num_workers", "num_processes"}
    assert recipe <= set(PretrainConfig.model_fields)


@pytest.mark.parametrize("name", STAGES)
def test_what_a_dvc_stage_reads_is_there_or_made_by_another_stage(name):
    made = {path for stage in STAGES.values() for path in outs_of(stage)}
    for dependency in map(Path, STAGES[name]["deps"]):
        if dependency.parts[0] == "artifacts":
            assert any(dependency == out or out in dependency.parents or dependency in out.parents for out in made)
        elif dependency.parts[0] != "data":  # brought by `data embedded`, tracked by data.dvc
            assert (ROOT / dependency).exists(), dependency


def outs_of(stage):
    """Path -> entry, of everything that a stage writes."""
    entries = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return {Path(next(iter(out)) if isinstance(out, dict) else out): out for out in entries}


@pytest.mark.parametrize("name", STAGES)
def test_outputs_lie_in_the_folder_that_the_command_writes(name):
    words = STAGES[name]["cmd"].split()
    folder = Path(words[words.index("--out") + 1])
    for path, out in outs_of(STAGES[name]).items():
        assert path.is_relative_to(folder)
        assert isinstance(out, dict), f"{path} is not persistent: DVC would delete it before the command runs"
        assert out[str(path)]["persist"] is True


@pytest.mark.parametrize("name", STAGES)
def test_paths_in_the_command_are_dependencies(name):
    words = STAGES[name]["cmd"].split()
    given = {word: value for word, value in zip(words, words[1:], strict=False) if word.startswith("--")}
    dependencies = [Path(dependency) for dependency in STAGES[name]["deps"]]
    for option, value in given.items():
        if option != "--out":
            assert any(Path(value) == known or Path(value) in known.parents for known in dependencies), (option, value)


LAYING_OUT = [PACKAGE / name for name in ("support", "config", "registry/tracking")]
"""Rooms that decide no number: how things are read, told and stored."""


def imported(path):
    """Full names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_by_file():
    return {path: imported(path) for path in PACKAGE.rglob("*.py")}


def root_of(name):
    return name.partition(".")[0]


def files_of(names):
    """Files of the package that these names stand for."""
    for name in names:
        if root_of(name) == "i2i_unlearn":
            path = ROOT / "src" / Path(*name.split("."))
            if path.with_suffix(".py").exists():
                yield path.with_suffix(".py")
            elif (path / "__init__.py").exists():
                yield path / "__init__.py"


def only_a_docstring(path):
    return len(ast.parse(path.read_text()).body) <= 1


def reached_from(start):
    """Files of the package that `start` imports, and what these import."""
    found, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += files_of(imported(path))
    return found


@pytest.mark.parametrize("name", STAGES)
def test_the_code_that_a_dvc_stage_runs_is_among_its_dependencies(name):
    dependencies = [ROOT / dependency for dependency in STAGES[name]["deps"]]
    if name in ("unlearn", "reference"):  # several processes run the module that launch.py names
        assert PACKAGE / Path(*WORKER.split(".")[1:]).with_suffix(".py") in dependencies
    for path in reached_from(PACKAGE / f"stages/{name}.py"):
        if path.parent == PACKAGE or only_a_docstring(path) or any(room in path.parents for room in LAYING_OUT):
            continue
        assert any(path == known or known in path.parents for known in dependencies), path.relative_to(ROOT)


# --- imports ---

CORE = ["models", "method", "training/engine.py"]
NOT_CORE = {"extractors", "published", "adapters.py", "synthetic_retain.py"}  # bring a library of their own
CORE_NEEDS = {"torch", "numpy", "transformers", "diffusers", "safetensors", "fsspec"}
COMES_WITH = {"huggingface_hub", "torchvision"}  # of transformers' own; torchvision only where it is installed
OPTIONAL = ["kfp", "kubernetes", "mlflow", "dvc", "mlxtend", "skimage", "efficientnet_lite_pytorch", "torch_fidelity"]


def core_files():
    for name in CORE:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if not NOT_CORE & set(file.relative_to(PACKAGE).parts):
                yield file


def test_the_core_imports_the_familys_library_and_little_else():
    # A GPU box may have little else.
    for start in core_files():
        for path in reached_from(start):
            foreign = {root_of(name) for name in imported(path)} - set(sys.stdlib_module_names) - {"i2i_unlearn"}
            assert foreign <= CORE_NEEDS | COMES_WITH, path


REFUSE = """
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in REFUSED:  # as if it were not installed
            return super().find_spec(name, path, target)

sys.meta_path = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""


def test_the_core_works_where_little_else_is_installed():
    refused = [
        *OPTIONAL,
        *("pandas", "pyarrow", "pydantic", "typer", "rich", "jinja2", "matplotlib", "sklearn", "ruamel"),
        *("torchmetrics", "torchvision"),
    ]
    modules = [str(path.relative_to(ROOT / "src").with_suffix("")).replace("/", ".") for path in core_files()]
    program = f"""
REFUSED = {refused!r}
{REFUSE}
import importlib
for name in {modules!r}:
    importlib.import_module(name.removesuffix(".__init__"))
import torch
from i2i_unlearn.models import family_named
sizes = dict(patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
sizes |= dict(decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
make = family_named("mae").create
model = make(sizes | dict(decoder_intermediate_size=8), image_size=8, num_channels=1, generator=torch.Generator())
print(tuple(model.complete(torch.zeros(1, 1, 8, 8), torch.ones(1, 8, 8).bool(), generator=None).shape))
"""
    assert python(program) == "(1, 1, 8, 8)\n"


def test_the_package_imports_without_what_is_optional():
    program = f"""
REFUSED = {OPTIONAL!r}
{REFUSE}
import importlib, json, pkgutil
import i2i_unlearn
from i2i_unlearn.support.errors import UserError
faults = {{}}
for module in pkgutil.walk_packages(i2i_unlearn.__path__, "i2i_unlearn.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except UserError as error:
        faults[module.name] = str(error)
print(json.dumps(faults))
"""
    faults = json.loads(python(program).splitlines()[-1])
    # What is about MLflow or a cluster says how to install it; all else imports.
    assert {"i2i_unlearn.registry.tracking", "i2i_unlearn.pipeline.cluster"} <= set(faults)
    for name, message in faults.items():
        extra = "kfp" if name.startswith("i2i_unlearn.pipeline.cluster") else "mlflow"
        assert f"pip install 'i2i-unlearn[{extra}]'" in message, name


def test_no_module_imports_a_test_or_a_tool_for_developers():
    tools = {"pytest", "mypy", "ruff", "build", "hatchling", "playwright"}
    tools |= {"tests", "benchmarks", "components", "pipelines"}  # not in the wheel
    for path, names in imported_by_file().items():
        assert not tools & {root_of(name) for name in names}, path


# --- distribution ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    ended = subprocess.run(build, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_contains_only_the_package(wheel):
    packed = {Path(name) for name in wheel.namelist() if ".dist-info/" not in name}
    forced = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    data = {
        (Path(place) / path.relative_to(source)): path
        for source, place in forced["force-include"].items()
        for path in tracked(source)
    }
    assert packed == {path.relative_to("src") for path in tracked("src")} | set(data)
    for packed_as, path in data.items():
        assert wheel.read(str(packed_as)) == (ROOT / path).read_bytes()


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    names = wheel.namelist()
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "i2i-unlearn = i2i_unlearn.cli.start:start" in wheel.read(entry_points).decode()
    assert any(name.endswith("LICENSE") for name in names)


# --- what must not be in it ---


def test_no_pickle_and_no_shell_string_in_the_package():
    for path in PACKAGE.rglob("*.py"):
        names = {root_of(name) for name in imported(path)}
        assert not names & {"pickle", "cloudpickle", "joblib", "dill"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                pytest.fail(f"{path}:{node.value.lineno}: a shell string")
            if isinstance(node, ast.Assert):
                pytest.fail(f"{path}:{node.lineno}: an assert does not check input")
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            assert not bare, f"{path}:{node.lineno}: a bare except"


def test_no_large_file_is_tracked():
    # Data belongs to DVC; what published implementations gave, and tests compare with, must lie next to the tests.
    for path in tracked():
        most = 4 if Path(path).parts[:2] == ("tests", "golden") else 1
        assert (ROOT / path).stat().st_size < most * 2**20, path
