"""Run the campaign, or a part of it, and write down what was found.

python -m tests.campaign run kills --number 200     one kind; its findings go to .bench/campaign/kills.json
python -m tests.campaign run                        all kinds
python -m tests.campaign report                     docs/results/campaign.md over what was found
"""

import argparse
import datetime
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.support.files import read_json, write_json
from tests.campaign import bad_inputs, flipped_bytes, full_disk, kills, together
from tests.campaign.world import Chain, run_chain

OUT = Path(".bench/campaign")
PAGE = Path("docs/results/campaign.md")
Findings = dict[str, Any]


def _kills(chain: Chain, number: int, seed: int) -> Findings:
    rows = kills.run_kills(chain, number, seed)
    return {"done": len(rows), "killed": sum(bool(row["killed"]) for row in rows), "wrong": _wrong(rows)}


def _long_kills(chain: Chain, number: int, seed: int) -> Findings:
    rng = random.Random(seed)
    rows = [row for command in kills.LONG for row in kills.run_long_kills(chain, command, number, rng)]
    return {"done": len(rows), "killed": sum(bool(row["killed"]) for row in rows), "wrong": _wrong(rows)}


def _bad_inputs(chain: Chain, number: int, seed: int) -> Findings:
    found = bad_inputs.run_bad_inputs(bad_inputs.world_of(chain), number, seed)
    by_command = bad_inputs.run_by_command(chain, max(1, number // 100), seed)
    surfaces = Counter(case.surface for case in found)
    wrong = [vars(case) for case in (*found, *by_command) if case.outcome != "refused"]
    return {"done": len(found), "by command": len(by_command), "surfaces": dict(surfaces), "wrong": wrong}


def _flipped_bytes(chain: Chain, number: int, seed: int) -> Findings:
    some = number // (len(flipped_bytes.PLACES) + 1)
    rows = flipped_bytes.run_flips(chain, number - some, seed)
    rows += flipped_bytes.run_checkpoint_flips(chain.folder.parent / "checkpoints", some, seed)
    places = Counter(str(row["place"]) for row in rows)
    return {"done": len(rows), "places": dict(places), "wrong": [row for row in rows if not row["found"]]}


def _together(chain: Chain, number: int, seed: int) -> Findings:
    wrong = [{"round": count, "fault": fault} for count in range(number) for fault in together.run_together(chain)]
    return {"done": number, "processes": together.NUM_PROCESSES, "wrong": wrong}


def _full_disk(chain: Chain, number: int, seed: int) -> Findings:
    rows = full_disk.run_full_disks(chain)
    return {"done": len(rows), "wrong": _wrong(rows)}


KINDS: dict[str, tuple[Callable[[Chain, int, int], Findings], int, str]] = {
    "kills": (_kills, 200, "SIGKILL at a random moment of a command; the same command again"),
    "long-kills": (_long_kills, 4, "the same with `pipeline run` and `forget`, so many each; no process outlives them"),
    "bad-inputs": (_bad_inputs, 10_000, "a valid input with one named fault; a hundredth of them by the command line"),
    "flipped-bytes": (_flipped_bytes, 1000, "one bit of one byte of a file that a digest covers"),
    "together": (_together, 3, "eight processes at once: request add, split, register, promote"),
    "full-disk": (_full_disk, 1, "every command on a disk with 0, 4 and 64 KiB left, and on a read-only one"),
}
"""How a kind is run, how often in the whole campaign, and what it is."""


FIXED = (
    "MLflow's SQLite file, half created by a kill, could not be opened",
    "DVC's list of locks, emptied by a kill, stopped all further work; `forget` and `demo` now remove it",
    "a flipped byte in the facts of a split manifest, or in a text of a shard, ended in a traceback",
    "the hidden file of a killed writing stayed",
)
"""What runs before the reported ones found."""


def _wrong(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row for row in rows if row["faults"]]


def run(kinds: list[str], number: int | None, seed: int) -> int:
    """Run some kinds; 1 if anything was wrong."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    any_wrong = False
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        chain = run_chain(Path(folder))
        for kind in kinds:
            how, usual, _ = KINDS[kind]
            begun = time.monotonic()
            found = how(chain, number or usual, seed)
            facts = {
                "commit": commit.stdout.strip(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "seed": seed,
                "seconds": round(time.monotonic() - begun),
            }
            write_json(OUT / f"{kind}.json", found | facts)
            any_wrong |= bool(found["wrong"])
            print(f"{kind}: {found['done']} done, {len(found['wrong'])} wrong", flush=True)
    return int(any_wrong)


def report() -> None:
    """Write the page."""
    PAGE.write_text(page({kind: read_json(path) for kind in KINDS if (path := OUT / f"{kind}.json").exists()}))
    print(PAGE)


def page(found: Mapping[str, Findings]) -> str:
    """The page over what was found, by kind."""
    lines = [
        "# Campaign: faults looked for by the hundred",
        "",
        "    make campaign",
        "",
        "A project of 36 pictures lives through all its commands, from `data import` to `evidence create`; then things",
        "go wrong. tests/campaign has each kind; a short run of each is among the tests.",
        "",
        "| kind | what | done | wrong | commit | date | s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, (_, _, what) in KINDS.items():
        if kind in found:
            one = found[kind]
            more = f" + {one['by command']} by the command line" if "by command" in one else ""
            facts = [f"{one['done']:,}{more}", len(one["wrong"]), one["commit"], one["date"], one["seconds"]]
        else:
            facts = ["not run", "", "", "", ""]
        lines.append("| " + " | ".join([kind, what, *map(str, facts)]) + " |")
    wrong = [f"- {kind}: `{row}`" for kind, one in found.items() for row in one["wrong"]]
    fixed = [f"- {one}" for one in FIXED]
    lines += [
        "",
        "What was wrong:",
        "",
        *(wrong or ["- nothing"]),
        "",
        "What earlier runs found, fixed since:",
        "",
        *fixed,
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("report")
    runner = commands.add_parser("run")
    runner.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="default: all")
    runner.add_argument("--number", type=int, help="how many; default: those of the whole campaign")
    runner.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "report":
        report()
        return 0
    return run(options.kinds or list(KINDS), options.number, options.seed)


if __name__ == "__main__":
    sys.exit(main())
