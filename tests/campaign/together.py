"""Eight processes at once on one project: no line is lost, and there is one champion."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.campaign.world import CHAIN, Chain, run, versions_and_champions

NUM_PROCESSES = 8


def _all_at_once(project: Path, commands: Sequence[tuple[str, ...]]) -> list[tuple[int, str]]:
    """Exit code and last line of each command, all started together; each writes what it says to a place of its own."""
    children = []
    for number, command in enumerate(commands):
        scratch = project.parent / f"said-{number}"
        scratch.mkdir(exist_ok=True)
        pid = os.fork()
        if not pid:
            link = scratch / project.name  # `run` keeps what a command says next to its folder
            link.unlink(missing_ok=True)
            link.symlink_to(project)
            ended = run(link, *command)
            (scratch / "ended.json").write_text(json.dumps([ended.code, (ended.err or ended.out).strip()]))
            os._exit(0)
        children.append((pid, scratch))
    found = []
    for pid, scratch in children:
        os.waitpid(pid, 0)
        code, said = json.loads((scratch / "ended.json").read_text())
        found.append((code, said))
    return found


def run_together(chain: Chain) -> list[str]:
    """What went wrong; nothing = all as it should be."""
    faults: list[str] = []
    project = chain.put_back("request add")
    ended = _all_at_once(
        project,
        [
            ("request", "add", f"w-{number}", "--sample-id", f"pictures/b/{number:03}.png")
            for number in range(NUM_PROCESSES)
        ],
    )
    filed = sorted(path.stem for path in (project / "data/forget").glob("*.yaml"))
    added = [f"w-{number}" for number, (code, _) in enumerate(ended) if code == 0]
    if filed != added:
        faults.append(f"request add: {added} said that they were filed, {filed} are")
    faults += [f"request add: {said[-200:]}" for code, said in ended if code and "Traceback" in said]
    active = yaml.safe_load((project / "params.yaml").read_text())["split"]["requests"]
    if sorted(active) != added:
        faults.append(f"request add: {added} said that they were filed, active are {active}")

    project = chain.put_back("split")
    ended = _all_at_once(project, [CHAIN["split"]] * NUM_PROCESSES)
    faults += [
        f"split: exit code {code}: {said[-200:]}" for code, said in ended if code not in (0, 1) or "Traceback" in said
    ]
    expected = (chain.after("split") / "artifacts/splits/manifest.parquet").read_bytes()
    if (project / "artifacts/splits/manifest.parquet").read_bytes() != expected:
        faults.append("split: the manifest differs from that of one process")

    project = chain.put_back("register")
    ended = _all_at_once(project, [CHAIN["register"]] * NUM_PROCESSES)
    faults += [  # one line may say that another is registering the same
        f"register: exit code {code}: {said[-200:]}"
        for code, said in ended
        if code not in (0, 1) or "Traceback" in said
    ]
    if all(code for code, _ in ended) and (told := run(project, *CHAIN["register"])).code:  # as the line says
        faults.append(f"register: none succeeded, nor does the next: {told.err[-200:]}")
    if (found := versions_and_champions(project)) != (2, 1):
        faults.append(f"register: versions and champions are {found}, not (2, 1)")

    ended = _all_at_once(project, [CHAIN["promote"]] * NUM_PROCESSES)
    faults += [
        f"promote: exit code {code}: {said[-200:]}"
        for code, said in ended
        if code not in (0, 1, 3) or "Traceback" in said
    ]
    if all(code for code, _ in ended) and (told := run(project, *CHAIN["promote"])).code:
        faults.append(f"promote: none succeeded, nor does the next: {told.err[-200:]}")
    if (found := versions_and_champions(project)) != (2, 1):
        faults.append(f"promote: versions and champions are {found}, not (2, 1)")
    for check in (("registry", "ledger", "verify"), ("registry", "check")):
        if (told := run(project, *check)).code:
            faults.append(f"{' '.join(check)}: {(told.err or told.out).strip()[-200:]}")
    return faults
