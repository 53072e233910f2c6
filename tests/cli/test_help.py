"""What --help says can be read without knowing Python."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from i2i_unlearn.cli.main import app

PRESETS = Path(__file__).parents[2] / "presets"


def commands(group, names=()):
    """All commands below a group, by their words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name)


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_options_name_the_kind_of_their_value_in_words(words):
    text = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"}).output
    assert "Usage:" in text
    assert not re.search(r"<[a-zA-Z%][^>]*>|list\[| range\b", text)


def test_an_option_of_each_kind():
    text = CliRunner().invoke(app, ["find", "--help"]).output
    for told in ("photographs... PATH", "--top NUMBER", "--out PATH", "--images TEXT"):
        assert told in text
    assert "--received YYYY-MM-DD" in CliRunner().invoke(app, ["request", "add", "--help"]).output


@pytest.mark.parametrize("words", [("preset", "use"), ("preset", "show")])
def test_presets_are_named_that_exist(words, monkeypatch, tmp_path):
    expected = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    monkeypatch.chdir(tmp_path)  # no project: those of the package
    assert expected in CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/mine.yaml").touch()
    assert CliRunner().invoke(app, [*words, "--help"]).output.rstrip().endswith("mine")
