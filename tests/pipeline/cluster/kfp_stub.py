"""The API of Kubeflow Pipelines with a memory, made of the published client's models.

What is asked is read into those models, and unknown fields are refused; what is answered is written from them.
"""

import json
import uuid
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import kfp_server_api as api

from tests.pipeline.cluster.http_stub import Reply, Stub

ROOT = Path(__file__).parents[3]
TOKEN = "eyJ-a-very-secret-token"
V2 = "/apis/v2beta1"
NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


class KubeflowStub(Stub):
    def __init__(self, token: str = "", multi_user: bool = False) -> None:
        super().__init__(api.ApiClient())
        self.token = token
        self.multi_user = multi_user
        self.experiments: list[Any] = []
        self.runs: list[Any] = []
        self.pipelines: list[Any] = []
        self.versions: list[Any] = []
        self.files: list[bytes] = []
        self.recurring: list[Any] = []
        self.script: dict[str, list[Any]] = {}
        """Of a run's id, what it looks like at the next looks."""

    # --- what a test says ---

    def add_run(self, name: str = "a run", state: str = "RUNNING", **more: Any) -> str:
        run_id = str(uuid.uuid4())
        created = more.pop("created_at", NOW + timedelta(minutes=len(self.runs)))
        run = api.V2beta1Run(run_id=run_id, display_name=name, state=state, created_at=created, **more)
        self.runs.append(run)
        return run_id

    @staticmethod
    def task(name: str, state: str, seconds: float | None = None, begun: bool = True, **more: Any) -> Any:
        return api.V2beta1PipelineTaskDetail(
            display_name=name,
            state=state,
            start_time=NOW if begun else None,
            end_time=NOW + timedelta(seconds=seconds) if seconds is not None else None,
            **more,
        )

    def looks(self, run_id: str, *looks: tuple[str, list[Any]]) -> None:
        """At each look the next of these: state of the run, tasks. The last one stays."""
        self.script[run_id] = list(looks)

    # --- the API ---

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: dict[str, str]) -> Any:
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise Reply(401, {"code": 16, "message": f"Unauthenticated: got {headers.get('authorization')}"})
        lists = method == "GET" and path.endswith(("/experiments", "/runs")) and "experiment_id" not in query
        if self.multi_user and lists and not query.get("namespace", [""])[0]:
            raise Reply(400, {"code": 3, "message": "Invalid input error: a namespace is needed in multi-user mode"})
        return super().handle(method, path, query, body, headers)

    ROUTES = [
        (rf"GET {V2}/healthz", "health"),
        (rf"GET {V2}/experiments", "list_experiments"),
        (rf"POST {V2}/experiments", "create_experiment"),
        (rf"GET {V2}/runs", "list_runs"),
        (rf"POST {V2}/runs", "create_run"),
        (rf"GET {V2}/runs/([^/:]+)", "get_run"),
        (rf"POST {V2}/runs/([^/:]+):terminate", "terminate_run"),
        (rf"GET {V2}/pipelines", "list_pipelines"),
        (rf"POST {V2}/pipelines", "create_pipeline"),
        (rf"GET {V2}/pipelines/([^/:]+)/versions", "list_versions"),
        (rf"POST {V2}/pipelines/upload_version", "upload_version"),
        (rf"GET {V2}/recurringruns", "list_recurring"),
        (rf"POST {V2}/recurringruns", "create_recurring"),
    ]

    def health(self, *_: Any) -> Any:
        return api.V2beta1GetHealthzResponse(multi_user=self.multi_user, pipeline_store="database")

    def list_experiments(self, query: dict[str, list[str]], *_: Any) -> Any:
        found = [one for one in self.experiments if _matches(one, query) and _in(one, query)]
        return api.V2beta1ListExperimentsResponse(experiments=found or None, total_size=len(found))

    def create_experiment(self, query: Any, body: bytes, *_: Any) -> Any:
        experiment = self._read(body, "V2beta1Experiment")
        experiment.experiment_id = str(uuid.uuid4())
        self.experiments.append(experiment)
        return experiment

    def list_runs(self, query: dict[str, list[str]], *_: Any) -> Any:
        wanted = query.get("experiment_id", [None])[0]
        runs = [run for run in self.runs if wanted is None or run.experiment_id == wanted]
        if query.get("sort_by") == ["created_at desc"]:
            runs = sorted(runs, key=lambda run: run.created_at, reverse=True)
        size, start = int(query["page_size"][0]), int(query.get("page_token", ["0"])[0] or 0)
        token = str(start + size) if start + size < len(runs) else None
        return api.V2beta1ListRunsResponse(runs=runs[start : start + size] or None, next_page_token=token)

    def create_run(self, query: Any, body: bytes, *_: Any) -> Any:
        run = self._read(body, "V2beta1Run")
        if run.experiment_id not in [one.experiment_id for one in self.experiments]:
            raise Reply(404, {"code": 5, "message": f"Experiment {run.experiment_id} not found"})
        run.run_id, run.state, run.created_at = str(uuid.uuid4()), "PENDING", NOW
        self.runs.append(run)
        return run

    def get_run(self, query: Any, body: bytes, run_id: str) -> Any:
        run = self._run(run_id)
        looks = self.script.get(run_id)
        if looks:
            run.state, tasks = looks.pop(0) if len(looks) > 1 else looks[0]
            run.run_details = api.V2beta1RunDetails(task_details=tasks)
        return run

    def terminate_run(self, query: Any, body: bytes, run_id: str) -> Any:
        run = self._run(run_id)
        if run.state not in ("PENDING", "RUNNING", "PAUSED"):
            raise Reply(400, {"code": 3, "message": f"Failed to terminate a run {run_id}. Row not found"})
        run.state = "CANCELING"
        return {}

    def list_pipelines(self, query: dict[str, list[str]], *_: Any) -> Any:
        found = [one for one in self.pipelines if _matches(one, query) and _in(one, query)]
        return api.V2beta1ListPipelinesResponse(pipelines=found or None)

    def create_pipeline(self, query: Any, body: bytes, *_: Any) -> Any:
        pipeline = self._read(body, "V2beta1Pipeline")
        pipeline.pipeline_id = str(uuid.uuid4())
        self.pipelines.append(pipeline)
        return pipeline

    def list_versions(self, query: Any, body: bytes, pipeline_id: str) -> Any:
        found = [one for one in self.versions if one.pipeline_id == pipeline_id]
        return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=found or None)

    def upload_version(self, query: dict[str, list[str]], body: bytes) -> Any:
        boundary = body[2 : body.index(b"\r\n")]  # the first line is "--" and the boundary
        message = message_from_bytes(b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n" + body)
        (part,) = message.get_payload()
        self.files.append(part.get_payload(decode=True))
        version = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"][0],
            pipeline_version_id=str(uuid.uuid4()),
            display_name=query["name"][0],
            description=query.get("description", [None])[0],
        )
        self.versions.append(version)
        return version

    def list_recurring(self, query: dict[str, list[str]], *_: Any) -> Any:
        found = [one for one in self.recurring if _matches(one, query)]
        return api.V2beta1ListRecurringRunsResponse(recurring_runs=found or None)

    def create_recurring(self, query: Any, body: bytes, *_: Any) -> Any:
        one = self._read(body, "V2beta1RecurringRun")
        one.recurring_run_id = str(uuid.uuid4())
        self.recurring.append(one)
        return one

    def _run(self, run_id: str) -> Any:
        for run in self.runs:
            if run.run_id == run_id:
                return run
        raise Reply(404, {"code": 5, "message": f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found"})

    def _read(self, body: bytes, model: str) -> Any:
        given = json.loads(body)
        unknown = set(given) - set(getattr(api, model).attribute_map.values())
        if unknown:
            raise Reply(400, {"code": 3, "message": f"unknown fields {sorted(unknown)} in {model}"})

        class Response:
            data = body

        return self._models.deserialize(Response, model)


def _matches(one: Any, query: dict[str, list[str]]) -> bool:
    if not query.get("filter", [""])[0]:
        return True
    (predicate,) = json.loads(query["filter"][0])["predicates"]
    assert predicate["key"] == "display_name"
    assert predicate["operation"] in (1, "EQUALS")
    return bool(one.display_name == predicate["stringValue"])


def one_line(result: tuple[int, str, str], *words: str) -> str:
    """Require that a command ended with one line that says all of `words`, and without a token; return the line."""
    code, out, err = result
    assert code == 1, (out, err)
    assert err.startswith("i2i-unlearn: error: ")
    assert err.count("\n") == 1, err
    assert TOKEN not in out + err
    for word in words:
        assert word in err
    return err


def _in(one: Any, query: dict[str, list[str]]) -> bool:
    return (one.namespace or "") == query.get("namespace", [""])[0]
