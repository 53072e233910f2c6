"""The alias moves once, and the record says so, whatever happens in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from i2i_unlearn.registry import alias_moves, check, history, tracking
from i2i_unlearn.stages import promote
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.support.says import says

PROMOTE = """
import os, signal, sys, time
from i2i_unlearn.registry import alias_moves, tracking
from i2i_unlearn.cli.main import main

_, when, ready, count, *arguments = sys.argv

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if when == "before the alias":
    tracking.Server.set_alias = die
if when == "after the alias":
    alias_moves._end = die
if when == "barrier":
    check = alias_moves.move
    def wait(*words):
        open(os.path.join(ready, str(os.getpid())), "w").close()
        while len(os.listdir(ready)) < int(count):
            time.sleep(0.01)
        check(*words)
    alias_moves.move = wait
sys.argv = ["i2i-unlearn", "registry", "promote", *arguments]
main()
"""


def start(folder: Path, when: str, *arguments: str, count: int = 1) -> subprocess.Popen[str]:
    """`i2i-unlearn registry promote` as a process of its own, in the test's folder."""
    ready = folder / "ready"
    ready.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROMOTE, when, str(ready), str(count), *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "champion", "outcome"), [("before the alias", "1", "void"), ("after the alias", "2", "done")]
)
def test_a_promotion_that_was_killed_is_settled_by_the_next_run(
    params, registered, promote_config, when, champion, outcome
):
    process = start(params.parent, when, "--by", "Ada")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert registered.alias("champion") == champion
    (intent,) = ledger.read(promote_config.ledger)
    assert (intent["event"], intent["step"], intent["version"], intent["by"]) == ("promote", "intent", "2", "Ada")
    assert history.moves([intent], registered.name) == []
    assert history.open_intent([intent], registered.name) == intent
    facts = promote.run(promote_config, registered.config, by="Bob")
    assert facts["outcome"] == ("already champion" if outcome == "done" else "promoted")
    assert registered.alias("champion") == "2"
    records = ledger.read(promote_config.ledger)
    assert (records[1]["event"], records[1]["of"], records[1]["repaired"]) == (outcome, intent["id"], True)
    assert records[1]["found_version"] == champion
    assert [move.record["by"] for move in history.moves(records, registered.name)] == [
        "Ada" if outcome == "done" else "Bob"
    ]
    assert ledger.verify(promote_config.ledger)[0] == len(records)


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told_what_it_lost_to(params, registered, promote_config):
    third = registered.copy("2")
    names = {"2": "Ada", third: "Bob"}
    processes = {
        version: start(params.parent, "barrier", "--version", version, "--by", name, count=2)
        for version, name in names.items()
    }
    told = {version: process.communicate() for version, process in processes.items()}
    codes = {version: process.returncode for version, process in processes.items()}
    assert sorted(codes.values()) == [0, 3], told
    (winner,) = [version for version, code in codes.items() if code == 0]
    (loser,) = set(names) - {winner}
    assert f"version {loser} lost to version {winner}: promoted by {names[winner]} at " in told[loser][1]
    assert "the champion was version 1 when the check began" in told[loser][1]
    assert registered.alias("champion") == winner
    (move,) = history.moves(ledger.read(promote_config.ledger), registered.name)
    assert move.version == winner


def test_who_is_overtaken_with_another_record_right_after_the_move_is_told(registered, promote_config, monkeypatch):
    third = registered.copy("2")
    set_alias = tracking.Server.set_alias

    def and_somebody_else(server: tracking.Server, version: tracking.Version, alias: str) -> None:
        set_alias(server, version, alias)
        set_alias(server, server.version(registered.name, third), alias)

    with monkeypatch.context() as patch:
        patch.setattr(tracking.Server, "set_alias", and_somebody_else)
        with says(GateRefused, "version 2 lost to version 3", "same moment"):
            promote.run(promote_config, registered.config)
    assert history.moves(ledger.read(promote_config.ledger), registered.name) == []


@pytest.mark.parametrize(
    ("moved", "error", "told", "outcome"),
    [
        (False, KeyboardInterrupt(), pytest.raises(KeyboardInterrupt), "void"),
        (True, KeyboardInterrupt(), pytest.raises(KeyboardInterrupt), "done"),
        (True, requests.ConnectionError("cut"), says(UserError, "connection was lost", "again"), "done"),
    ],
    ids=["ended before the alias", "ended after it", "the answer was lost"],
)
def test_what_ended_between_intent_and_done_is_settled(
    registered, promote_config, moved, error, told, outcome, monkeypatch
):
    set_alias = tracking.Server.set_alias

    def and_end(*words: Any) -> None:
        if moved:
            set_alias(*words)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tracking.Server, "set_alias", and_end)
        with told:
            promote.run(promote_config, registered.config)
    records = ledger.read(promote_config.ledger)
    assert history.open_intent(records, registered.name) == records[0]
    assert history.outcomes(records)[0][1] == "open"
    with tracking.connect() as server:
        assert alias_moves.settle(promote_config.ledger, server, "another-model") == ""  # its move is left alone
    checked = check.check(promote_config, registered.name)
    assert "the move to version 2 that was interrupted" in checked.settled
    assert checked.settled.endswith("took place" if moved else "did not take place (champion is version 1)")
    assert check.check(promote_config, registered.name).settled == ""
    assert checked.findings == ()
    assert checked.champion == checked.recorded == ("2" if moved else "1")
    (_, told), *others = history.outcomes(ledger.read(promote_config.ledger))
    assert (told, others) == (f"{outcome}, found later", [])
    assert promote.run(promote_config, registered.config)["outcome"] == ("already champion" if moved else "promoted")
