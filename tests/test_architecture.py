"""The rooms of the package and the arrows between them: none upward, no circle, and docs/architecture.md has the table.

`python tests/test_architecture.py` writes the table again.
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/i2i_unlearn"
PAGE = ROOT / "docs/architecture.md"
FLOORS = (
    ("support",),
    ("config", "models"),
    ("data",),
    ("method",),
    ("training",),
    ("evaluation",),
    ("report",),
    ("registry",),
    ("serving", "evidence"),
    ("stages",),
    ("requests", "sweeps"),
    ("pipeline",),
    ("project",),
    ("cli",),
)
"""From the ground up. Rooms on one floor do not import each other."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}
MOST_ROOMS = 20


@cache
def modules():
    """Dotted name -> file, for every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[dotted.removesuffix(".__init__")] = path
    return found


@cache
def imports():
    """Module -> modules of the package that it imports, wherever in the file."""
    known = modules()
    return {name: set(_imported(path, known)) for name, path in known.items()}


def _imported(path, known):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from [full] if full in known else {node.module} & set(known)
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & set(known)


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def arrows():
    """(room, room) -> the imports behind it."""
    found = {}
    for module, others in imports().items():
        for other in others:
            pair = (room_of(module), room_of(other))
            if "" not in pair and len(set(pair)) == 2:
                found.setdefault(pair, []).append(f"{module} imports {other}")
    return found


def table():
    """The house as Markdown, from the ground up."""
    pairs = arrows()
    lines = ["| floor | room | what it holds | imports |", "| --- | --- | --- | --- |"]
    for room, floor in FLOOR.items():
        about = (ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or "").split("\n\n")[0]
        below = ", ".join(other for other in FLOOR if (room, other) in pairs)
        lines.append(f"| {floor} | `{room}/` | {' '.join(about.split())} | {below or 'nothing'} |")
    return "\n".join([*lines, "", f"{len(FLOOR)} rooms, {len(pairs)} arrows, none upward, no circle."])


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in modules()} - {""} == set(FLOOR)
    assert len(FLOOR) <= MOST_ROOMS
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_no_import_goes_upward():
    upward = [why for (room, other), whys in arrows().items() if FLOOR[other] >= FLOOR[room] for why in whys]
    assert not upward


def test_the_modules_above_that_are_named_and_not_imported():
    known = modules()
    named = {
        (module, node.value)
        for module, path in known.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in known and room_of(node.value) != room_of(module)
    }
    # The processes that share a run start the stage again; those of `forget` run commands.
    assert named == {
        ("i2i_unlearn.training.launch", "i2i_unlearn.pipeline.training_worker"),
        ("i2i_unlearn.requests.run", "i2i_unlearn.cli.worker"),
    }


def test_no_modules_import_each_other_in_a_circle():
    # A package's __init__ is imported before its modules, which is no circle of theirs.
    known = modules()
    plain = {
        name: {other for other in others if known[other].name != "__init__.py"} for name, others in imports().items()
    }
    TopologicalSorter(plain).prepare()  # raises CycleError, which names the circle


def test_stages_holds_the_nodes_of_the_pipeline_and_nothing_else():
    nodes = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]) | {"register", "evidence", "promote"}
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} == nodes | {"__init__"}


def test_the_page_has_the_table():
    assert table() in PAGE.read_text(), "python tests/test_architecture.py writes it again"


if __name__ == "__main__":
    before, begin, rest = PAGE.read_text().partition("<!-- rooms -->\n")
    PAGE.write_text(before + begin + table() + "\n" + rest[rest.index("<!-- /rooms -->") :])
