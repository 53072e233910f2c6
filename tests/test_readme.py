"""The documentation tells the truth: commands exist, links lead somewhere, paths and parameters are real."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from typer.main import get_command

from i2i_unlearn.cli.main import app
from i2i_unlearn.config.sections import CONFIGS, load_params
from i2i_unlearn.evaluation.gate import parse_policy

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs/results").glob("*.md")),
    )
}
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> Iterator[str]:
    """Commands in the blocks marked `sh` and in running text, one by one, without comments and variables."""
    blocks = [content.replace("\\\n", " ") for kind, content in FENCED.findall(text) if kind == "sh"]
    inline = re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    for line in [line for block in blocks for line in block.splitlines()] + inline:
        for command in re.sub(r"(^|\s)#.*", "", line).split("&&"):
            bare = re.sub(r"^(\s*[A-Z0-9_]+=\S*)+\s", "", command).strip()
            if bare:
                yield bare


def commands(program: str) -> list[tuple[str, str]]:
    """(page, command) of every call of `program`."""
    return [
        (page, line) for page, text in PAGES.items() for line in shell_lines(text) if line.startswith(f"{program} ")
    ]


def parse(line: str) -> None:
    """Let the command line read `line`, without running anything."""
    command, context = get_command(app), None
    arguments = shlex.split(line)[1:]
    while hasattr(command, "get_command") and arguments and not arguments[0].startswith("-"):
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
        name = arguments.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name}"
    only_named = not arguments or "--help" in arguments
    command.make_context(command.name, arguments, parent=context, resilient_parsing=only_named)


@pytest.mark.parametrize(("page", "line"), commands("i2i-unlearn"))
def test_every_command_in_the_docs_is_one_that_exists(page, line):
    parse(line)


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        parse("i2i-unlearn register --force")
    with pytest.raises(AssertionError, match="no command unforget"):
        parse("i2i-unlearn unforget")


@pytest.mark.parametrize(("page", "line"), commands("make"))
def test_every_make_target_in_the_docs_is_one_that_exists(page, line):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    settings = set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE))
    for word in shlex.split(line)[1:]:
        assert word.partition("=")[0] in (settings if "=" in word else targets)


@pytest.mark.parametrize(("page", "line"), commands("python -m") + commands(".venv/bin/python -m"))
def test_every_module_that_the_docs_run_exists(page, line):
    assert importlib.util.find_spec(shlex.split(line)[2]) is not None


def anchors(page: Path) -> set[str]:
    """What `#` may name on a page, as GitHub makes it from the headings."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", PAGES[page])):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_every_path_of_the_project_in_the_docs_exists(page):
    """Paths below the folders that are under version control, but for patterns."""
    folders = r"(?:src|components|pipelines|mlflow|presets|tests|benchmarks|docs|\.ci)/"
    # mlflow/ without a file name behind it may be anything of MLflow's.
    paths = re.findall(rf"`({folders}[\w./-]+)`", FENCED.sub("", PAGES[page]))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_module_that_the_architecture_walks_through_exists():
    modules = re.findall(r"`(?!src/)([\w/]+/(?:\w+\.py)?)`", PAGES["docs/architecture.md"])
    assert len(modules) > 30
    assert [
        path for path in modules if not ((ROOT / path).exists() or (ROOT / "src/i2i_unlearn" / path).exists())
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_parameter_in_the_docs_is_one_of_params_yaml(page):
    params = load_params(ROOT / "params.yaml")
    named = re.findall(rf"`({'|'.join(CONFIGS)})\.([a-z_]+)`", PAGES[page])
    fields = {section: {*config.model_fields, *params[section]} for section, config in CONFIGS.items()}
    assert [f"{section}.{key}" for section, key in named if key not in fields[section]] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_yaml_or_of_python_is_valid(page):
    """YAML is a policy, or sections of params.yaml."""
    for kind, content in FENCED.findall(PAGES[page]):
        if kind == "python":
            ast.parse(dedent(content))
        elif kind == "yaml" and content.startswith("schema_version"):
            parse_policy("mine", yaml.safe_load(content))
        elif kind == "yaml":
            for section, keys in yaml.safe_load(content).items():
                assert set(keys) <= set(CONFIGS[section].model_fields), section


def test_the_readme_can_be_read_in_one_sitting():
    assert len(PAGES["README.md"].splitlines()) <= 150
