#!/usr/bin/env bash
# kfp.local runs a ParallelFor over a step's only output, and stops at one over an output that has a name of its own.
#
# Version: kfp 2.17.0 (PyPI), Python 3.11. Seen on 2026-11-29 with `bash findings/kfp_local_loop_over_named_output.sh`:
#     over the only output: SUCCESS, letters a b
#     over a named output: ValueError: Parent pipeline input argument 'pipelinechannel--named-letters' not found.
#
# Both pipelines compile. The local orchestrator looks the items up in the inputs of the parent pipeline (source:
# kfp/local/orchestrator/enhanced_dag_orchestrator.py, `_run_parallel_for_task`) and does not find a named output there.
# What to do: give the step that is looped over an output called `Output`, next to the others if there are any.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'kfp==2.17.0'
cat > "$folder/loop.py" <<'PROGRAM'
import sys
from typing import NamedTuple

from kfp import dsl, local


@dsl.component
def only() -> list:
    return ["a", "b"]


@dsl.component
def named() -> NamedTuple("Out", [("letters", list), ("number", int)]):
    from collections import namedtuple
    return namedtuple("Out", ["letters", "number"])(["a", "b"], 1)


@dsl.component
def show(letter: str):
    print("letter", letter)


@dsl.pipeline
def over_the_only_output():
    with dsl.ParallelFor(only().output) as letter:
        show(letter=letter)


@dsl.pipeline
def over_a_named_output():
    with dsl.ParallelFor(named().outputs["letters"]) as letter:
        show(letter=letter)


local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
{"only": over_the_only_output, "named": over_a_named_output}[sys.argv[1]]()
PROGRAM

run() { (cd "$folder" && "$folder/venv/bin/python" loop.py "$1" "$folder/runs" 2>&1) || true; }

one=$(run only)
letters=$(grep -o 'letter [ab]$' <<<"$one" | cut -d ' ' -f 2 | sort | paste -sd ' ')
printf 'over the only output: %s, letters %s\n' "$(grep -o 'SUCCESS' <<<"$one" | tail -n 1)" "$letters"
other=$(run named)
last=$(tail -n 1 <<<"$other")
printf 'over a named output: %s\n' "$last"

[ "$letters" = 'a b' ] || { echo 'changed: a loop over the only output no longer runs'; exit 1; }
[ "$last" = "ValueError: Parent pipeline input argument 'pipelinechannel--named-letters' not found." ] ||
    { echo 'changed: a loop over a named output no longer stops like this'; exit 1; }
