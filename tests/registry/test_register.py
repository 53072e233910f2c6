import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.registry import tracking
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.stages import register
from i2i_unlearn.support import files, git
from i2i_unlearn.support.errors import UserError
from tests.registry.world import (
    FORGET_IMAGE,
    SAMPLE_ID,
    SUBJECT,
    Folders,
    Registered,
    killed_at,
    make_folders,
    make_model,
)
from tests.support.says import says


def runs_of(config: RegisterConfig) -> list[Run]:
    """Runs that registered something under the test's model name."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(config.experiment)
    return client.search_runs([experiment.experiment_id], f"tags.model_name = '{config.model_name}'")


@pytest.fixture
def repository(tmp_path) -> Path:
    """A git repository with data.dvc."""
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef.dir\n  path: data\n")
    for words in (
        ("init", "--quiet"),
        ("add", "data.dvc"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def test_the_version_carries_its_whole_lineage(teacher, repository, config):
    register.run_original(teacher, config, repository=repository)
    folders = make_folders(repository / "artifacts", teacher, requests=("digit-3", "digit-5"), erased=("digit-7",))
    facts = register.run(*folders.inputs, config, repository=repository, kfp_run_id="kfp-1", by="Ada")
    assert (facts["version"], facts["registered"], facts["gate"], facts["alias"]) == ("2", "new", "pass", "candidate")
    tags = Registered(config).tags("2")
    commit = subprocess.check_output(["git", "-C", str(repository), "rev-parse", "HEAD"], text=True).strip()
    assert tags == {
        "kind": "unlearned",
        "requests": "digit-3,digit-5",
        "erased": "digit-7",
        "manifest_sha256": files.digest_file(repository / "artifacts/splits/manifest.parquet"),
        "teacher_version": "1",
        "teacher_sha256": files.digest_folder(teacher),
        "model_sha256": files.digest_folder(folders.model),
        "unlearned_sha256": files.digest_folder(folders.model),
        "git_commit": commit,
        "data_md5": "0123456789abcdef.dir",
        "kfp_run_id": "kfp-1",
        "registered_by": "Ada",
        "gate": "pass",
        "gate_policy": "forgotten",
        "operators": "half_left:0.5",
        "evaluation_sha256": tags["evaluation_sha256"],
        "evaluation_run_id": facts["run_id"],
        "saved_sha256": tags["saved_sha256"],
    }
    assert Registered(config).alias("champion") == "1"


def test_changed_tracked_files_make_the_commit_dirty(repository, tmp_path):
    clean = git.git_commit(repository)
    (repository / "data.dvc").write_text("changed")
    assert git.git_commit(repository) == f"{clean}-dirty"
    assert len(clean) == 40


def test_code_and_data_that_are_not_known_are_left_out(tmp_path):
    assert git.git_commit(tmp_path / "nowhere") == ""
    assert git.data_md5(tmp_path) == ""
    (tmp_path / "data.dvc").write_text("outs: []\n")
    with pytest.raises(UserError, match="data.dvc: holds no digest"):
        git.data_md5(tmp_path)


def test_the_run_holds_numbers_settings_curves_and_report_and_the_logged_model_its_numbers(folders, config):
    params = {"seed": 0, "split": {"requests": ["digit-3"]}, "unlearn": {"alpha": 2.0, "objective": "encoder_l2"}}
    params["unlearn"]["batch_size"] = 32.0  # as a run form sends it
    facts = register.run(*folders.inputs, config, params=params)
    client = MlflowClient()
    run = client.get_run(facts["run_id"])
    assert run.info.status == "FINISHED"
    assert (run.data.params["unlearn.alpha"], run.data.params["unlearn.batch_size"]) == ("2", "32")
    assert run.data.params["split.requests"] == "['digit-3']"
    assert run.data.params["unlearn.teacher_sha256"] == files.digest_folder(folders.teacher)
    metrics = run.data.metrics
    assert metrics["unlearned/forget/hole_psnr_db"] == 8.0
    assert (metrics["unlearned/forget/hole_psnr_db_low"], metrics["unlearned/forget/hole_psnr_db_high"]) == (7.9, 8.1)
    assert "unlearned/forget/own_loss_low" not in metrics  # no interval
    assert metrics["unlearned-teacher/forget/hole_psnr_db"] == 8.0
    assert metrics["unlearned_per_reference/retain/own_loss"] == 8.0
    assert metrics["cost/unlearn_s"] == metrics["unlearn/seconds"] == 3.0
    curve = client.get_metric_history(facts["run_id"], "steps/total")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    logged = {file.path for file in client.list_artifacts(facts["run_id"], "evaluation")}
    assert logged == {f"evaluation/{name}" for name in (*register.EVALUATION_FILES, register.REPORT)}
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == Registered(config).tags("1")["manifest_sha256"][:36]
    assert json.loads(dataset.dataset.profile) == {"num_rows": 4, "forget": 1, "retain": 3}
    model = client.get_logged_model(Registered(config).version("1").logged.id)
    assert model.status == "READY"
    assert {metric.key: metric.value for metric in model.metrics}["unlearned/forget/hole_psnr_db"] == 8.0
    assert model.params["operator"] == "half_left"


def test_registering_the_same_again_changes_nothing_and_says_so(folders, config):
    first = register.run(*folders.inputs, config)
    again = register.run(*folders.inputs, config)
    assert (again["version"], again["run_id"], again["registered"]) == (first["version"], first["run_id"], "already")
    assert "nothing was changed" in again["message"]
    assert len(runs_of(config)) == 1


def test_the_same_weights_evaluated_anew_are_the_same_version_and_a_second_run(folders, config):
    first = register.run(*folders.inputs, config)
    worse = register.run(*folders.evaluate("fail", psnr=9.9).inputs, config)
    assert (worse["version"], worse["gate"], worse["alias"]) == (first["version"], "fail", "")
    assert worse["registered"] == "evaluated again"
    assert worse["run_id"] != first["run_id"]
    assert MlflowClient().get_run(worse["run_id"]).data.metrics["unlearned/forget/hole_psnr_db"] == 9.9
    back = register.run(*folders.evaluate().inputs, config)
    assert (back["run_id"], back["gate"], back["alias"]) == (first["run_id"], "pass", "candidate")
    assert len(runs_of(config)) == 2


def test_other_weights_are_another_version(folders, teacher, tmp_path, config):
    register.run(*folders.inputs, config)
    other = make_folders(tmp_path / "other", teacher, seed=9).evaluate("undecided")
    facts = register.run(*other.inputs, config)
    assert (facts["version"], facts["alias"]) == ("2", "")
    assert Registered(config).alias("candidate") == "1"


def test_a_killed_registration_goes_on_where_it_was(folders, config):
    with killed_at("create_version"):
        register.run(*folders.inputs, config)
    assert runs_of(config) == []
    facts = register.run(*folders.inputs, config)
    assert (facts["version"], facts["registered"], facts["alias"]) == ("1", "new", "candidate")
    (run,) = runs_of(config)
    client = MlflowClient()
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "steps/total")) == 3
    assert len(client.get_metric_history(run.info.run_id, "unlearned/forget/hole_psnr_db")) == 1
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert len(models) == 1


def test_a_run_that_kubeflow_opened_is_filled_and_left_open(folders, config, monkeypatch):
    client = MlflowClient()
    run = client.create_run(client.create_experiment(f"kubeflow-{config.model_name}"))
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    stream = tracking.attached_stream()
    stream({"step": 1, "total": 1.0, "forget": 0.5, "phase": "only"})
    first = register.run(*folders.inputs, config)
    again = register.run(*folders.inputs, config)
    assert first["run_id"] == again["run_id"] == run.info.run_id
    assert again["registered"] == "already"
    filled = client.get_run(run.info.run_id)
    assert filled.info.status == "RUNNING"
    assert filled.data.metrics["unlearned/forget/hole_psnr_db"] == 8.0
    curve = client.get_metric_history(run.info.run_id, "steps/total")
    assert sorted(point.step for point in curve) == [1, 2, 3]


def test_the_original_becomes_champion_once(teacher, tmp_path, config):
    first = register.run_original(teacher, config)
    again = register.run_original(teacher, config)
    assert (first["version"], first["alias"], first["registered"]) == ("1", "champion", "new")
    assert (again["version"], again["alias"], again["registered"]) == ("1", "champion", "already")
    assert len(runs_of(config)) == 1
    other = register.run_original(make_model(tmp_path / "other", seed=3), config)
    assert (other["version"], other["alias"]) == ("2", "")
    assert Registered(config).alias("champion") == "1"


def test_the_original_has_the_bytes_that_snapshot_gives_the_teacher(teacher, tmp_path, config):
    from i2i_unlearn.config.sections import SnapshotConfig
    from i2i_unlearn.stages import snapshot

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for path in teacher.iterdir():
        (foreign / path.name).write_bytes(path.read_bytes())
    (foreign / "config.json").write_text((teacher / "config.json").read_text() + "\n")  # as another library writes it
    register.run_original(foreign, config)
    taken = snapshot.run(tmp_path / "snapshot", SnapshotConfig(source=str(foreign), sha256="", model="", checkpoint={}))
    assert find_champion(config.model_name).sha256 == taken["model_sha256"]


def with_text(name: str, text: str) -> Callable[[Folders], object]:
    return lambda folders: (folders.root / name).write_text(text)


def other_manifest(folders: Folders) -> None:
    other = make_folders(folders.root / "x", folders.teacher, requests=("digit-4",))
    shutil.copy(other.root / "splits/manifest.parquet", folders.root / "splits/manifest.parquet")


def summary_of_another_teacher(folders: Folders) -> None:
    summary = folders.root / SUMMARY
    files.write_json(summary, {**files.read_json(summary), "teacher_sha256": "b" * 64})


METRICS, VERDICTS, SUMMARY = "evaluation/metrics.json", "evaluation/verdicts.json", "unlearned/summary.json"


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda f: make_model(f.model, seed=8), ("evaluation", "another version of the unlearned model")),
        (lambda f: make_model(f.teacher, seed=8), ("evaluation", "another version of the teacher")),
        (other_manifest, ("evaluation", "another version of the split manifest")),
        (lambda f: (f.root / VERDICTS).unlink(), ("verdicts.json", "no such file")),
        (lambda f: (f.model / "model.safetensors").unlink(), ("no model.safetensors",)),
        (with_text(SUMMARY, "{"), ("summary.json", "not valid JSON")),
        (with_text(SUMMARY, '{"kind": "retrain"}'), ("`i2i-unlearn unlearn`", "has no objective, teacher_sha256")),
        (summary_of_another_teacher, ("unlearned", "another version of the teacher", "(bbbbbbbbbbbb)")),
        (with_text(METRICS, "{}"), ("metrics.json", "schema version None", "5", "`i2i-unlearn evaluate`")),
        (
            with_text(METRICS, '{"schema_version": 5, "models": []}'),
            ("metrics.json", "models.unlearned", "`i2i-unlearn evaluate`"),
        ),
        (with_text(VERDICTS, "[]"), ("verdicts.json", "schema version None")),
        (with_text(VERDICTS, '{"schema_version": 5, "deciding": "forgotten"}'), ("verdicts.forgotten.policy",)),
    ],
    ids=[
        *("weights", "teacher", "manifest", "no verdict", "no weights", "torn summary"),
        *(
            "another stage",
            "teacher of training",
            "empty metrics",
            "no models",
            "verdicts that are a list",
            "no verdicts",
        ),
    ],
)
def test_folders_that_do_not_belong_together_are_told(tmp_path, config, break_it, told):
    folders = make_folders(tmp_path / "artifacts", make_model(tmp_path / "teacher", seed=0))
    break_it(folders)
    with says(UserError, *told):
        register.run(*folders.inputs, config)
    with tracking.connect() as server:
        assert server.versions(config.model_name) == []


def test_the_card_is_the_versions_description_and_one_that_is_not_valid_is_told_first(folders, config):
    with says(UserError, "model card's template is not valid", "mlflow/model_card.md.j2"):
        register.run(*folders.inputs, config, card_template="{{ model_name ")
    facts = register.run(*folders.inputs, config, card_template="{{ model_name }} {{ tags.gate }} {{ sentence }}")
    assert facts["version"] == "1"  # nothing was registered before
    version = MlflowClient().get_model_version(config.model_name, "1")
    assert version.description == f"{config.model_name} pass A sentence."


def test_the_projects_own_card_fits_both_kinds(folders, teacher, config):
    template = Path(__file__).parents[2].joinpath("mlflow/model_card.md.j2").read_text()
    register.run_original(teacher, config, card_template=template)
    register.run(*folders.inputs, config, card_template=template)
    client = MlflowClient()
    original, unlearned = (client.get_model_version(config.model_name, number).description for number in "12")
    assert "The original model" in original
    assert "digit-3" in unlearned
    assert "| Gate | pass (policy forgotten) |" in unlearned
    assert "{" not in original + unlearned


def test_mlflow_holds_no_sample_id_no_subject_and_no_forget_image(mlflow_home, folders, config):
    (folders.root / "evaluation" / "review.html").write_text(f"{SAMPLE_ID} {SUBJECT}")  # stays where it is
    facts = register.run(*folders.inputs, config)
    artifacts = mlflow_home / "mlflow-artifacts" / facts["run_id"]
    names = {path.relative_to(artifacts / "artifacts").as_posix() for path in artifacts.rglob("*") if path.is_file()}
    assert names == {
        *("evaluation/metrics.json", "evaluation/verdicts.json", "evaluation/summary.json", "evaluation/report.html"),
        *("evaluation/pictures/retain.png", "unlearned/summary.json", "unlearned/steps.jsonl"),
        *("splits/manifest.parquet", "model_card.md", "tables/scores.json", "plots/loss.svg", "plots/scores.svg"),
    }
    for path in [*mlflow_home.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            for secret in (SAMPLE_ID.encode(), SUBJECT.encode(), FORGET_IMAGE, str(folders.root).encode()):
                assert secret not in content, f"{path} holds {secret!r}"


def test_the_kept_copy_of_the_report_names_the_version(mlflow_home, folders, config):
    page = folders.root / "evaluation" / "report.html"
    page.write_text('<html><span id="version">not registered yet</span></html>')
    facts = register.run(*folders.inputs, config, by="R. Smith")
    kept = mlflow_home / "mlflow-artifacts" / facts["run_id"] / "artifacts/evaluation/report.html"
    assert kept.read_text() == '<html><span id="version">version 1, registered by R. Smith</span></html>'
    assert "not registered yet" in page.read_text()  # DVC has its digest


def test_a_uv_lock_of_the_working_folder_does_not_describe_the_registered_model(config, teacher, tmp_path):
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'theirs'\nversion = '1'\n")
    register.run_original(teacher, config)
    with tracking.connect() as server:
        saved = server.download(server.version(config.model_name, "1"), tmp_path)
    assert not {"uv.lock", "pyproject.toml"} & {path.name for path in saved.iterdir()}
