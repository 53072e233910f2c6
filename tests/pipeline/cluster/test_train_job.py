"""Training on several nodes: the step makes a TrainJob, waits, and takes what its nodes wrote."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from kubernetes import client
from safetensors.torch import load_file

from i2i_unlearn.config.sections import ClusterConfig, load_params
from i2i_unlearn.pipeline.cluster import train_job
from i2i_unlearn.support.errors import Diverged, UserError
from i2i_unlearn.support.files import digest_folder
from tests.pipeline.cluster.http_stub import Reply, wait_for
from tests.pipeline.cluster.trainer_stub import TrainerStub

STEPS = 6


@pytest.fixture
def trainer(monkeypatch, tmp_path) -> Iterator[TrainerStub]:
    """A cluster with Kubeflow Trainer, whose volume is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_job, "POLL_S", 0.1)
    stub = TrainerStub(tmp_path)
    with stub.served():
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        yield stub
        stub.close()


def cluster(**changes) -> ClusterConfig:
    """Section `cluster` with a small TrainJob; `changes` are keys without `train_job_`."""
    small = {"nodes": 2, "gpus": 0, "cpus": "1", "memory": "2Gi", "deadline_minutes": 5.0, **changes}
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    return ClusterConfig(**params["cluster"] | {f"train_job_{key}": value for key, value in small.items()})


@pytest.fixture
def unlearn(taught):
    """`unlearn(out, job=..., stream=..., **settings)`: the stage, by TrainJob."""

    def call(out, *, job=None, stream=None, run_id="run-1", **settings):
        config = taught.config("unlearn", **{"num_steps": STEPS, **settings})
        where = (taught.images, taught.splits, taught.teacher, out)
        return train_job.run("unlearn", *where, config, job or cluster(), run_id=run_id, stream=stream)

    return call


def distance(one, other):
    one, other = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    return torch.cat([(one[name] - other[name]).flatten() for name in one]).norm().item()


@pytest.mark.slow
def test_two_nodes_unlearn_as_one_process_does_and_the_step_hears_them(trainer, taught, unlearn, capfd):
    rows = []
    summary = unlearn("out", stream=rows.append)
    heard = capfd.readouterr().err
    unlearn("alone", job=cluster(nodes=0))
    assert distance("out/model", "alone/model") < 1e-3 * distance("alone/model", taught.teacher)
    assert summary["steps"] == STEPS
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert heard.startswith("TrainJob unlearn-")
    assert not trainer.train_jobs  # removed when it was complete
    assert not list(Path("artifacts/train-jobs").iterdir())


@pytest.mark.slow
def test_what_stops_a_node_is_said_in_its_words_and_a_retry_is_a_new_job(trainer, unlearn):
    with pytest.raises(Diverged, match=r"^step \d+: "):
        unlearn("out", learning_rate=1e20, clip_norm=0.0)
    assert not trainer.train_jobs
    assert not Path("out").exists()
    with pytest.raises(Diverged):
        unlearn("out", learning_rate=1e20, clip_norm=0.0)
    first, second = trainer.made
    assert first["metadata"]["name"] == second["metadata"]["name"]


def test_the_job_says_what_kueue_and_the_runtime_need(trainer, unlearn, monkeypatch):
    monkeypatch.setenv("HOSTNAME", "step-pod")
    trainer.pods.append(client.V1Pod(metadata=client.V1ObjectMeta(name="step-pod", uid="u-1", labels={})))
    job = cluster(nodes=3, gpus=4, queue="team", priority="urgent", deadline_minutes=90, memory="9Gi")
    when_made(trainer, lambda name: trainer.end(name, "Failed", "no room"))
    with pytest.raises(UserError, match=r"TrainJob unlearn-\w+ failed: no room"):
        unlearn("out", job=job, batch_size=24)
    made = trainer.made[0]
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/name": "i2i-unlearn",
        "app.kubernetes.io/component": "unlearn",
        "i2i-unlearn-run": "run-1",
        "kueue.x-k8s.io/queue-name": "team",
        "kueue.x-k8s.io/priority-class": "urgent",
    }
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "step-pod", "uid": "u-1"}
    ]
    spec = made["spec"]
    assert spec["activeDeadlineSeconds"] == 90 * 60
    assert (spec["trainer"]["numNodes"], spec["trainer"]["numProcPerNode"]) == (3, 4)
    limits = {"cpu": "1", "memory": "9Gi", "nvidia.com/gpu": "4"}
    assert spec["trainer"]["resourcesPerNode"] == {"requests": limits, "limits": limits}


def when_made(trainer, act):
    """Run no nodes, and call `act` with the job's name once there is a job."""
    trainer.runs_nodes = False

    def wait():
        wait_for(lambda: trainer.train_jobs, 30)
        act(*trainer.train_jobs)

    threading.Thread(target=wait, daemon=True).start()


def test_a_retried_step_waits_for_the_job_that_it_made_before(trainer, taught, unlearn, monkeypatch):
    trainer.runs_nodes = False
    step = a_step(taught)
    wait_for(lambda: trainer.train_jobs, 60)
    step.kill()
    step.wait()
    (name,) = trainer.train_jobs  # nobody deleted it
    shutil.copytree(taught.artifact("original"), Path("artifacts/train-jobs") / name / "out")
    (Path("artifacts/train-jobs") / name / "out/summary.json").rename("summary.json")  # written last

    def end():
        time.sleep(0.3)
        Path("summary.json").rename(Path("artifacts/train-jobs") / name / "out/summary.json")
        trainer.end(name, "Complete")

    threading.Thread(target=end, daemon=True).start()
    monkeypatch.setenv("HOSTNAME", "second-pod")
    trainer.pods.append(client.V1Pod(metadata=client.V1ObjectMeta(name="second-pod", uid="u-2", labels={})))
    unlearn("out")
    assert len(trainer.made) == 1
    assert [owner["uid"] for owner in trainer.made[0]["metadata"]["ownerReferences"]] == ["u-2"]
    assert digest_folder(Path("out/model")) == digest_folder(taught.artifact("original") / "model")


def test_a_finished_job_whose_step_was_killed_is_taken_as_it_is(trainer, taught, unlearn):
    trainer.always = Reply(500, {})  # Kubernetes is not even asked
    config = taught.config("unlearn", num_steps=STEPS, num_processes=2)
    name = train_job._name("unlearn", "run-1", config.digest(), taught.splits, taught.teacher)
    shutil.copytree(taught.artifact("original"), Path("artifacts/train-jobs") / name / "out")
    unlearn("out")
    assert Path("out/summary.json").is_file()
    assert not Path("artifacts/train-jobs", name).exists()


def test_a_job_that_takes_too_long_is_removed(trainer, unlearn):
    trainer.runs_nodes = False
    with pytest.raises(UserError, match=r"did not end in 0.01 minutes.*cluster\.train_job_deadline_minutes"):
        unlearn("out", job=cluster(deadline_minutes=0.01))
    assert not trainer.train_jobs
    assert not Path("out").exists()


def test_a_job_that_somebody_deletes_is_not_waited_for(trainer, unlearn):
    when_made(trainer, lambda name: (time.sleep(0.3), trainer.train_jobs.clear()))
    with pytest.raises(UserError, match="was deleted from outside; run again"):
        unlearn("out")


@pytest.mark.parametrize("fault", ["cut", Reply(503, {"message": "no leader"}), Reply(429, {"message": "slow down"})])
def test_a_cluster_that_is_gone_for_a_while_is_waited_for(trainer, unlearn, fault):

    def trouble(name):
        trainer.faults = [fault] * 6
        wait_for(lambda: not trainer.faults, 60)
        trainer.end(name, "Failed", "at last")

    when_made(trainer, trouble)
    with pytest.raises(UserError, match="failed: at last"):
        unlearn("out")


def test_a_log_that_cannot_be_read_does_not_end_the_wait(trainer, unlearn, tmp_path):

    def trouble(name):
        trainer.refuse("get_log", Reply(500, {"message": "the kubelet is gone"}))
        trainer.add_node(name, 0, "lost")
        time.sleep(1)
        trainer.end(name, "Failed", "at last")

    when_made(trainer, trouble)
    with pytest.raises(UserError, match="failed: at last"):
        unlearn("out")


@pytest.mark.parametrize(("status", "words"), [(403, "forbids this"), (422, "refuses"), (404, "no such thing")])
def test_a_refused_job_is_one_line(trainer, unlearn, monkeypatch, status, words):
    monkeypatch.delenv("HOSTNAME", raising=False)
    trainer.refuse("create", Reply(status, {"message": "no"}))
    with pytest.raises(UserError, match=words):
        unlearn("out")
    assert not Path("out").exists()


STEP = """
import json, sys
from i2i_unlearn.pipeline.cluster import train_job
from i2i_unlearn.config.sections import ClusterConfig, UnlearnConfig
told = json.loads(sys.argv[1])
settings = UnlearnConfig(**told["config"]), ClusterConfig(**told["job"])
train_job.run("unlearn", *told["where"], *settings, run_id="run-1")
"""


def a_step(taught):
    """A process that does what the fixture `unlearn` does."""
    told = {
        "where": [taught.images, str(taught.splits), str(taught.teacher), "out"],
        "config": taught.config("unlearn", num_steps=STEPS).model_dump(mode="json"),
        "job": cluster().model_dump(mode="json"),
    }
    return subprocess.Popen([sys.executable, "-c", STEP, json.dumps(told)], env=os.environ)


@pytest.mark.slow
def test_cancelling_the_step_deletes_the_job(trainer, taught):
    trainer.runs_nodes = False
    step = a_step(taught)
    wait_for(lambda: trainer.train_jobs, 60)
    step.send_signal(signal.SIGTERM)
    assert step.wait(60) != 0
    assert not trainer.train_jobs


def test_no_nodes_is_the_stage_itself(taught, tmp_path):
    config = taught.config("unlearn", num_steps=STEPS)
    where = (taught.images, taught.splits, taught.teacher)
    train_job.run("unlearn", *where, tmp_path / "out", config, cluster(nodes=0))
    assert (tmp_path / "out/model/model.safetensors").is_file()
