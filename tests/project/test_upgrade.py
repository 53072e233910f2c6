"""`upgrade`: what a project keeps, what it gets, and what stops it."""

import shutil

import pytest
import yaml

import i2i_unlearn
from i2i_unlearn.config.sections import load_params
from i2i_unlearn.project.dvc_file import dvc_file
from i2i_unlearn.project.upgrade import upgrade
from i2i_unlearn.project.version import VERSION_FILE, check_version
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.package_data import package_data
from tests.support.says import says

OLDER = "i2i-unlearn 0.0.9\n"


@pytest.fixture
def older(tmp_path):
    """A project of an older version: it lacks two settings and a policy, and has changed another."""
    params = yaml.safe_load(package_data("params.yaml").read_text())
    del params["guard"], params["evaluate"]["audits"]["perturbations"]
    params["unlearn"]["alpha"] = 7.5
    (tmp_path / "params.yaml").write_text("# mine\n" + yaml.safe_dump(params, sort_keys=False))
    shutil.copytree(package_data("policies"), tmp_path / "mlflow/policies")
    (tmp_path / "mlflow/policies/forgotten.yaml").unlink()
    changed = tmp_path / "mlflow/policies/as_unseen.yaml"
    changed.write_text(changed.read_text().replace("at_least: -0.5", "at_least: -0.4"))
    (tmp_path / "dvc.yaml").write_text("vars:\n  - original: models/original\nstages: {}\n")
    (tmp_path / VERSION_FILE).write_text(OLDER)
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_decisions_stay_and_what_is_new_is_added_and_told(older):
    policy = (older / "mlflow/policies/as_unseen.yaml").read_text()
    with ledger.opened(older / "promotions.jsonl") as record:
        record.append({"event": "test"})
    told = "\n".join(upgrade(older))

    params = load_params(older / "params.yaml")
    assert params["unlearn"]["alpha"] == 7.5
    assert params["evaluate"]["audits"]["perturbations"] == 2
    assert "guard" in params
    assert (older / "params.yaml").read_text().startswith("# mine\n")
    assert (older / "mlflow/policies/as_unseen.yaml").read_text() == policy
    assert (older / "mlflow/policies/forgotten.yaml").is_file()
    assert (older / "presets/paper.yaml").is_file()
    assert (older / "dvc.yaml").read_text() == dvc_file(sources=False, original="models/original")
    assert (older / "pipelines/unlearning.yaml").is_file()
    for words in (
        *(
            "new setting evaluate.audits.perturbations: 2",
            "new setting guard",
            "new file mlflow/policies/forgotten.yaml",
        ),
        *("mlflow/policies/as_unseen.yaml differs", "ledger: 1 records", "0.0.9"),
    ):
        assert words in told
    assert upgrade(older) == [f"This project is of i2i-unlearn {i2i_unlearn.__version__} already."]


def damage_ledger(project):
    (project / "promotions.jsonl").write_text("{}\n")


def damage_settings(project):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("  alpha: 7.5", "  alpha: 7.5\n  beta: 1"))


def damage_policy(project):
    (project / "mlflow/policies/own.yaml").write_text("schema_version: 99\n")


def newer(project):
    (project / VERSION_FILE).write_text("i2i-unlearn 99.0\n")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (damage_ledger, "promotions.jsonl"),
        (damage_settings, "unlearn.beta"),
        (damage_policy, "own.yaml"),
        (newer, "newer"),
        (lambda project: (project / "dvc.yaml").write_text("stages: {}\n"), "original"),
        (lambda project: (project / VERSION_FILE).unlink(), VERSION_FILE),
        (lambda project: (project / VERSION_FILE).write_text("what\n"), "restore it"),
    ],
)
def test_what_cannot_be_carried_over_stops_it_before_anything_changes(older, damage, word):
    damage(older)
    before = files(older)
    with says(UserError, word):
        upgrade(older)
    assert files(older) == before


def test_a_stage_does_not_run_in_a_project_of_another_version(older, command_line):
    with says(UserError, "0.0.9", "upgrade"):
        check_version(older)
    ended = command_line(older, "split")
    assert ended.code == 1
    assert "i2i-unlearn upgrade" in ended.err
    (older / VERSION_FILE).write_text(f"i2i-unlearn {i2i_unlearn.__version__}\n")
    check_version(older)
