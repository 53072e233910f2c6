"""Every command that ends a part of the work names the one that goes on; what it names exists."""

import re

import pytest
from typer.main import get_command

from i2i_unlearn.cli import next_step
from i2i_unlearn.cli.main import app
from i2i_unlearn.cli.next_step import NEXT, after_register

ENDS = [(command, ended) for command, ends in NEXT.items() for ended in ends]
NAMES = {"version": 2, "report": "report.html", "evidence": "out", "public_key": "public.pem", "private_key": "p.pem"}


def command_of(words):
    """The command that the words name, and the words behind its name."""
    found, rest = get_command(app), list(words)
    while rest and rest[0] in getattr(found, "commands", {}):
        found = found.commands[rest.pop(0)]
    return found, rest


@pytest.mark.parametrize(("command", "ended"), ENDS)
def test_what_comes_next_is_a_command_with_these_options(command, ended):
    assert not hasattr(command_of(command.split())[0], "commands"), f"{command} is no command"
    told = next_step.next_step(command, ended, **NAMES)
    for text in re.findall(r"i2i-unlearn ([^,;()]+)", told):
        found, rest = command_of(text.split())
        assert not hasattr(found, "commands"), text
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, text
    assert (told == "") == ((command, ended) == ("pipeline run", "champion"))


@pytest.mark.parametrize(
    ("facts", "ended"),
    [
        ({"gate": "", "alias": "champion"}, "original"),
        ({"gate": "pass", "alias": "candidate"}, "pass"),
        ({"gate": "pass", "alias": "champion"}, "champion"),
        ({"gate": "fail", "alias": ""}, "fail"),
        ({"gate": "undecided", "alias": ""}, "undecided"),
    ],
)
def test_how_a_registration_ended(facts, ended):
    assert after_register(facts) == ended
    assert ended in NEXT["register"]


def test_the_chain_leads_from_the_request_to_evidence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = [
        next_step.next_step("request add", "filed"),
        next_step.next_step("evaluate", "pass", report="report.html"),
        next_step.next_step("register", "pass", version=2),
        next_step.next_step("registry promote", "promoted", version=2),
        next_step.next_step("evidence create", evidence="artifacts/evidence", public_key="public.pem"),
    ]
    assert told == [
        "Next: dvc repro",
        "Next: i2i-unlearn register",
        "Next: i2i-unlearn registry promote",
        "Next: i2i-unlearn keys create, then i2i-unlearn evidence create --version 2, before another run replaces"
        " artifacts/",
        "Next: i2i-unlearn evidence verify artifacts/evidence --key public.pem",
    ]
    next_step.EVIDENCE_KEY.parent.mkdir(parents=True)
    next_step.EVIDENCE_KEY.touch()
    assert "keys create" not in next_step.next_step("registry promote", "promoted", version=2)


def test_what_a_program_reads_has_no_such_line(capsys):
    from i2i_unlearn.cli.output import show

    show({"a": 1}, True, "Next: something")
    assert "Next" not in capsys.readouterr().out
