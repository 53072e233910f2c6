"""Follow the logs of a run's steps until the run ends.

Each pod's log is polled, from the second of the last line that was read. The timestamps that Kubernetes puts before the
lines tell which of them were already written, so a lost connection loses and repeats nothing.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from i2i_unlearn.pipeline.cluster.connect import Pipelines
from i2i_unlearn.pipeline.cluster.kubernetes_api import Kubernetes
from i2i_unlearn.pipeline.cluster.logs import CONTAINER, StepPod, lines_of, no_pods, pods, require_id
from i2i_unlearn.pipeline.cluster.rest import Refused, Unreachable
from i2i_unlearn.pipeline.cluster.runs import ENDED, state_of
from i2i_unlearn.pipeline.cluster.watch import PATIENCE, Patience, reason, steps_of_spec
from i2i_unlearn.support.errors import UserError

LOG = "/api/v1/namespaces/{namespace}/pods/{name}/log"
LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) ?(.*)", re.DOTALL)
"""Second, fraction and zone of the time, and what was printed."""
POD_ENDED = ("Succeeded", "Failed")
GONE = 404


def follow(
    api: Pipelines,
    kubernetes: Kubernetes,
    run_id: str,
    write: Callable[[str], object],
    say: Callable[[str], object],
    *,
    step: str = "",
    tail: int | None = None,
    every_s: float = 2.0,
) -> tuple[str, str]:
    """Write each whole line once; return the run's last state, and why it failed (or nothing).

    Args:
        api: tells the state of the run.
        kubernetes: has the pods.
        run_id: of the run.
        write: receives the lines, and a line with the step's name whenever the output changes to another step.
        say: receives problems that may pass: a server that does not answer, a pod that has not started.
        step: follow only this step; empty = all.
        tail: write only this many of the lines that a step had printed before it was first seen; None = all of them.
        every_s: seconds between two polls.

    Raises:
        UserError: the run or step does not exist; a server refuses, or cannot be reached for some time.
    """
    require_id(run_id)
    told = _Told(kubernetes, write, say, tail)
    patience, looks_after_end, no_pod_said = Patience(say, every_s), 0, False
    while True:
        try:
            run = api.client.get_run(run_id)  # before the logs: once it has ended, they are complete
            known = steps_of_spec(run.pipeline_spec)
            if step and known and step not in known:
                raise UserError(f"run {run_id} has no step {step!r}; it has {', '.join(sorted(known))}")
            found = pods(kubernetes, run_id)
            wanted = [pod for pod in found if step in ("", pod.step)]
            is_whole = told.show_new(wanted)
        except (Unreachable, Refused) as error:
            patience.failed(error)
            continue
        patience.answered()
        if not wanted and not no_pod_said:
            no_pod_said = True
            say(f"step {step} has no pod" if found else no_pods(kubernetes, run_id))
        if state_of(run) in ENDED:
            looks_after_end += 1
            if is_whole or looks_after_end > PATIENCE:
                return state_of(run), reason(run)
        time.sleep(every_s)


class _Told:
    """What has been written so far, of all pods."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        write: Callable[[str], object],
        say: Callable[[str], object],
        tail: int | None,
    ) -> None:
        self._kubernetes, self._write, self._say, self._tail = kubernetes, write, say, tail
        self.pods: dict[str, _Log] = {}
        self._last = ""
        """The pod that printed the last line."""
        self._said: dict[str, str] = {}

    def show_new(self, pods: list[StepPod]) -> bool:
        """Write what is new; return whether these pods have ended and everything they printed is written.

        Raises:
            Refused: the logs may not be read (401, 403).
        """
        is_whole = True
        for pod in pods:
            log = self.pods.setdefault(pod.pod, _Log(self._kubernetes, pod.pod, self._tail))
            if log.is_over:
                continue
            try:
                for line in log.new(has_ended=pod.phase in POD_ENDED):
                    self._show(pod, line)
                is_whole = is_whole and log.is_over  # a pod may end slightly later than its run
            except (Unreachable, Refused) as error:  # keep following: the run may try again on another node
                if isinstance(error, Refused) and error.status in (401, 403):
                    raise
                log.is_over = isinstance(error, Refused) and error.status == GONE
                is_whole = is_whole and log.is_over
                if self._said.get(pod.pod) != str(error):
                    self._said[pod.pod] = str(error)
                    self._say(f"{pod.step} ({pod.pod}, {pod.phase}): {error}")
        return is_whole

    def _show(self, pod: StepPod, line: str) -> None:
        if self._last != pod.pod:
            self._last = pod.pod
            self._write(f"== {pod.step} ({pod.pod}, {pod.phase})\n")
        self._write(f"{line}\n")


class _Log:
    """A pod's log, and how far it has been read."""

    def __init__(self, kubernetes: Kubernetes, pod: str, tail: int | None) -> None:
        self._kubernetes, self._pod, self._tail = kubernetes, pod, tail
        self._since: datetime | None = None
        """The second of the newest line; `sinceTime` is no finer."""
        self._read: Counter[bytes] = Counter()
        """The lines since then, with their times."""
        self._first: tuple[datetime, bytes] | None = None
        """The time of the first line that was ever read; with `tail`, older lines are skipped."""
        self.is_over = False

    def new(self, *, has_ended: bool) -> Iterator[str]:
        """The lines that were not read yet; while the pod still runs, only complete ones.

        Raises:
            Unreachable: the log broke off.
            Refused: it has not started, or is gone.
        """
        again = self._read.copy()
        for raw in self._lines(has_ended):
            if again[raw]:
                again[raw] -= 1
                continue
            found = LINE.fullmatch(raw)
            if not found:
                raise Unreachable(f"the log of {self._pod} has a line without its time")
            second = datetime.fromisoformat((found[1] + found[3]).decode())
            moment = (second, found[2] or b"")
            self._first = self._first or moment
            if moment < self._first:
                continue
            if self._since is None or second > self._since:
                self._since = second
                self._read.clear()
            self._read[raw] += 1
            yield found[4].decode(errors="replace")
        self.is_over = has_ended

    def _lines(self, has_ended: bool) -> Iterator[bytes]:
        for line in lines_of(self._reply(), self._pod):
            if has_ended or line.endswith(b"\n"):
                yield line.removesuffix(b"\n")

    def _reply(self) -> Any:
        # CoreV1Api.read_namespaced_pod_log of kubernetes 30 does not know sinceTime.
        query: list[tuple[str, Any]] = [("container", CONTAINER), ("timestamps", "true")]
        if self._since:
            query.append(("sinceTime", self._since.isoformat()))
        elif self._tail is not None:
            query.append(("tailLines", self._tail))
        return self._kubernetes.api.call_api(
            LOG,
            "GET",
            path_params={"namespace": self._kubernetes.namespace, "name": self._pod},
            query_params=query,
            header_params={"Accept": "*/*"},
            response_type="str",
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
