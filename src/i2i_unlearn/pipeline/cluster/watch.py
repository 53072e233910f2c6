"""Follow a run until it ends."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from i2i_unlearn.pipeline.cluster.connect import Pipelines
from i2i_unlearn.pipeline.cluster.rest import Refused, Unreachable
from i2i_unlearn.pipeline.cluster.runs import ENDED, clock, duration, state_of

PATIENCE = 10
"""Failed queries in a row after which watching stops: about a minute at five seconds each, plus the time-outs."""

TOO_MANY = 429
"""HTTP status of a server that is up but busy."""

STILL_S = 60.0
"""Seconds without a change after which running steps are printed again."""


def watch(
    api: Pipelines, run_id: str, say: Callable[[str], object], every_s: float = 5.0, still_s: float = STILL_S
) -> tuple[str, str]:
    """Print a line when a step's state changes; return the run's last state, and why it failed (or nothing).

    After `still_s` without a change, the steps that have not ended are printed again with the time they have taken.

    A failed query is repeated: the run continues whether it is watched or not.

    Raises:
        UserError: the API cannot be reached for some time, or refuses; there is no such run.
    """
    told: dict[str, str] = {}
    patience = Patience(say, every_s)
    last_said = time.monotonic()
    while True:
        try:
            run = api.client.get_run(run_id)
        except (Unreachable, Refused) as error:
            patience.failed(error)
            continue
        patience.answered()
        alive = time.monotonic() - last_said >= still_s
        for name, task in sorted(steps(run).items(), key=_begin):
            state = state_of(task)
            if told.get(name) != state or (alive and state not in ENDED):
                told[name] = state
                last_said = time.monotonic()
                say(f"{state:9}  {name:20}  {clock(duration(task.start_time, task.end_time))}".rstrip())
        state = state_of(run)
        if told.get("") != state:
            told[""] = state
            if state not in ENDED:
                say(f"{state:9}  {'(the run)':20}  {clock(duration(run.created_at, run.finished_at))}".rstrip())
        if state in ENDED:
            return state, reason(run)
        time.sleep(every_s)


class Patience:
    """Waits when a server that has answered before stops answering, up to PATIENCE times in a row."""

    def __init__(self, say: Callable[[str], object], every_s: float) -> None:
        self._say, self._every_s = say, every_s
        self._failures = 0
        self._has_answered = False

    def answered(self) -> None:
        """Reset the count."""
        self._failures, self._has_answered = 0, True

    def failed(self, error: Unreachable | Refused) -> None:
        """Wait, or raise the error if waiting cannot help: the first query fails, or the server refuses for good.

        Being too busy (429) counts as an answer.
        """
        self._failures += 1
        status = error.status if isinstance(error, Refused) else 0
        self._has_answered = self._has_answered or status == TOO_MANY
        hopeless = not self._has_answered or (0 < status < 500 and status != TOO_MANY)
        if self._failures > PATIENCE or hopeless:
            raise error
        self._say(f"{error}; trying again in {self._every_s:g} s")
        time.sleep(self._every_s)


def steps(run: Any) -> dict[str, Any]:
    """The newest task of each step, by the step's name as in the pipeline; drivers and groups are left out.

    The API lists Argo's nodes: of a step `unlearn` those are `unlearn-driver`, `unlearn`, and `executor`.
    """
    known = steps_of_spec(run.pipeline_spec)
    found: dict[str, Any] = {}
    for task in (run.run_details and run.run_details.task_details) or []:
        name = task.display_name or ""
        if (known and name not in known) or (not known and not _is_step(name)):
            continue
        if name not in found or _moment(task) >= _moment(found[name]):
            found[name] = task
    return found


def steps_of_spec(spec: Any) -> set[str]:
    """Names of the tasks that run a container; empty where the API does not tell the specification."""
    if not isinstance(spec, Mapping):
        return set()
    spec = spec.get("pipeline_spec", spec)
    components = spec.get("components", {})
    dags = [spec.get("root", {}), *components.values()]
    return {
        name
        for dag in dags
        for name, task in dag.get("dag", {}).get("tasks", {}).items()
        if "dag" not in components.get(task.get("componentRef", {}).get("name"), {})
    }


def _is_step(name: str) -> bool:
    inner = ("executor", "root", "entrypoint", "exit-handler-", "condition-", "for-loop-", "iteration-")
    return bool(name) and not name.endswith("-driver") and not name.startswith(inner)


def _begin(item: tuple[str, Any]) -> tuple[bool, float]:
    return (item[1].start_time is None, _moment(item[1]))


def _moment(task: Any) -> float:
    start: datetime | None = task.start_time or task.create_time
    return start.timestamp() if start else 0.0


def reason(run: Any) -> str:
    """Which steps failed, and what the API says of it."""
    failed = [name for name, task in steps(run).items() if state_of(task) == "FAILED"]
    said = " ".join(str(run.error.message).split()) if run.error and run.error.message else ""
    return "; ".join(part for part in (f"failed: {', '.join(sorted(failed))}" if failed else "", said) if part)
