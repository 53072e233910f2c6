"""Runs that are there: which they are, how they stand, and how one is ended."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from i2i_unlearn.pipeline.cluster.connect import Pipelines
from i2i_unlearn.pipeline.cluster.rest import Refused

GOOD = frozenset({"SUCCEEDED", "SKIPPED"})
ENDED = GOOD | {"FAILED", "CANCELED"}
"""States (V2beta1RuntimeState) after which nothing changes any more."""
PAGE = 100


@dataclass(frozen=True)
class Run:
    """A run in a list."""

    id: str
    name: str
    state: str
    created: datetime | None
    seconds: float | None
    """How long it took, or has taken until now."""


def newest(api: Pipelines, limit: int, experiment: str = "") -> list[Run]:
    """The newest runs first, at most `limit`; of one experiment, if named.

    Raises:
        UserError: the API cannot be reached or refuses; there is no such experiment.
    """
    experiment_id = None
    if experiment:
        try:
            found = api.client.get_experiment(experiment_name=experiment, namespace=api.namespace)
        except ValueError:
            raise Refused(f"no experiment {experiment!r}; correct --experiment, or leave it out", 404) from None
        experiment_id = found.experiment_id
    runs: list[Run] = []
    token = ""
    while len(runs) < limit:
        page = api.client.list_runs(
            page_token=token,
            page_size=min(PAGE, limit - len(runs)),
            sort_by="created_at desc",
            experiment_id=experiment_id,
            namespace=api.namespace,
        )
        runs += [_run(run) for run in page.runs or []]
        token = page.next_page_token or ""
        if not token:
            break
    return runs[:limit]


def state_of(run: Any) -> str:
    """PENDING, RUNNING, ...; PENDING where the API says nothing yet."""
    state = run.state or ""
    return "PENDING" if state in ("", "RUNTIME_STATE_UNSPECIFIED") else str(state)


def cancel(api: Pipelines, run_id: str) -> str:
    """End a run; return what is to be told. A run that has ended, or is about to, is left as it is.

    Raises:
        UserError: the API cannot be reached, or there is no such run.
    """
    state = state_of(api.client.get_run(run_id))
    if state in ENDED:
        return f"run {run_id} has already ended: {state}"
    if state == "CANCELING":
        return f"run {run_id} is being cancelled already"
    try:
        api.client.terminate_run(run_id)
    except Refused as refusal:
        # The API refuses to end what has ended; it may have done so since we looked.
        if refusal.status != 400 or state_of(api.client.get_run(run_id)) not in ENDED | {"CANCELING"}:
            raise
    return f"run {run_id} is being cancelled; Kubernetes ends its pods"


def duration(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from `start` to `end`, or until now; None if it has not begun."""
    if start is None:
        return None
    # Kubernetes' zero time stands for "not yet"; its year is 1 or 1970.
    if end is None or end.year < 1971:
        end = datetime.now(UTC)
    return max(0.0, (_aware(end) - _aware(start)).total_seconds())


def clock(seconds: float | None) -> str:
    """h:mm:ss, or nothing."""
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _run(run: Any) -> Run:
    seconds = duration(run.created_at, run.finished_at)
    return Run(run.run_id or "", run.display_name or "", state_of(run), run.created_at, seconds)
