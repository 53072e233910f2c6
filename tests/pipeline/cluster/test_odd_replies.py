"""Replies that are JSON, but not as the API's models have it: each place in turn holds something else."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import kfp_server_api as api
import pytest

from i2i_unlearn.pipeline.cluster import connect, runs, schedule, upload, watch
from i2i_unlearn.support.errors import UserError
from tests.pipeline.cluster.http_stub import Stub
from tests.pipeline.cluster.kfp_stub import NOW, ROOT, KubeflowStub

ODD = (None, 5, "x", [], {}, [None], {"x": None}, True)
CHECK = ROOT / "pipelines/registry_check.yaml"
CRON = "0 0 6 * * *"


def mutated(whole: Any, place: tuple[Any, ...] = ()) -> Iterator[Any]:
    """`whole` with one node after the other replaced by each odd value."""
    inner: Any = whole
    for key in place:
        inner = inner[key]
    if place:
        for odd in ODD:
            changed = copy.deepcopy(whole)
            around = changed
            for key in place[:-1]:
                around = around[key]
            around[place[-1]] = odd
            yield changed
    children = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
    for key, _ in children:
        yield from mutated(whole, (*place, key))


def plain(model: Any) -> Any:
    return api.ApiClient().sanitize_for_serialization(model)


def a_run() -> Any:
    spec = {
        "root": {"dag": {"tasks": {"split": {"componentRef": {"name": "comp-split"}}}}},
        "components": {"comp-split": {"executorLabel": "exec-split"}},
    }
    return api.V2beta1Run(
        run_id="r",
        experiment_id="e",
        display_name="a run",
        state="FAILED",
        created_at=NOW,
        finished_at=NOW,
        error=api.GoogleRpcStatus(code=13, message="broken"),
        pipeline_spec={"pipeline_spec": spec, "platform_spec": {}},
        run_details=api.V2beta1RunDetails(task_details=[KubeflowStub.task("split", "FAILED", 3)]),
    )


class Says(Stub):
    """Answers everything with one reply."""

    reply: Any = None

    def handle(self, *_: Any) -> Any:
        return self.reply


RECURRING = api.V2beta1RecurringRun(
    recurring_run_id="c",
    display_name="check",
    trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=CRON)),
    runtime_config=api.V2beta1RuntimeConfig(parameters={}),
)
PIPELINES = {
    **plain(
        api.V2beta1ListPipelinesResponse(pipelines=[api.V2beta1Pipeline(pipeline_id="p", display_name="unlearning")])
    ),
    **plain(
        api.V2beta1ListPipelineVersionsResponse(
            pipeline_versions=[
                api.V2beta1PipelineVersion(pipeline_id="p", pipeline_version_id="v", display_name="1", description="d")
            ]
        )
    ),
    "pipeline_id": "p",
    "pipeline_version_id": "v",
}
CASES = {
    "list": (lambda stub: runs.newest(stub, 5), plain(api.V2beta1ListRunsResponse(runs=[a_run()]))),
    "watch": (lambda stub: watch.watch(stub, "r", len, 0.0, still_s=0), plain(a_run())),
    "cancel": (lambda stub: runs.cancel(stub, "r"), plain(a_run())),
    "upload": (lambda stub: upload.upload(stub, CHECK, name="check", version="1"), PIPELINES),
    "schedule": (
        lambda stub: schedule.schedule(stub, CHECK, [], name="check", cron=CRON, experiment="e"),
        plain(api.V2beta1ListRecurringRunsResponse(recurring_runs=[RECURRING])),
    ),
}


@pytest.mark.parametrize("command", CASES)
def test_an_odd_reply_is_an_answer_or_one_line(command, monkeypatch):
    do, whole = CASES[command]
    monkeypatch.setattr(watch, "PATIENCE", 0)
    with Says().served() as stub:
        at = connect.Where(host=stub.url, timeout_s=5)
        for reply in mutated(json.loads(json.dumps(whole))):
            stub.reply = reply
            told = ""
            if command == "watch" and not ends(reply):
                continue  # a run that goes on for ever
            try:
                with connect.connect(at) as there:
                    do(there)
            except UserError as error:
                told = str(error)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error} of {json.dumps(reply)}") from error
            assert "\n" not in told, reply


def ends(reply: Any) -> bool:
    return reply.get("state") == "FAILED"
