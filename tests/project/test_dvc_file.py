from pathlib import Path

import yaml

from i2i_unlearn.project.dvc_file import dvc_file
from i2i_unlearn.project.version import VERSION_FILE
from tests.support.commands import dvc

ROOT = Path(__file__).parents[2]


def stages(text):
    return yaml.safe_load(text)["stages"]


def test_the_committed_file_is_the_rendered_one():
    remedy = "run `python -m i2i_unlearn.cli.dvc_file > dvc.yaml`"
    assert (ROOT / "dvc.yaml").read_text() == dvc_file(sources=True), remedy


def test_this_repository_names_at_most_35_folders_of_code():
    deps = [dep for stage in stages(dvc_file(sources=True)).values() for dep in stage["deps"]]
    assert len([dep for dep in deps if dep.startswith("src/")]) <= 35


def test_a_project_of_a_user_differs_in_the_code_alone_and_dvc_takes_it(tmp_path):
    text = dvc_file(sources=False)
    assert "src/" not in text
    ours, theirs = stages(dvc_file(sources=True)), stages(text)
    assert set(ours) == set(theirs)
    for name, stage in ours.items():
        code = [dep for dep in stage["deps"] if dep.startswith("src/")]
        assert {dep for dep in stage["deps"] if dep not in code} | {VERSION_FILE} == set(theirs[name]["deps"])
        assert stage | {"deps": []} == theirs[name] | {"deps": []}

    (tmp_path / "dvc.yaml").write_text(text)
    dvc(tmp_path, "init", "--no-scm", "-q")
    listed = [line.split()[0] for line in dvc(tmp_path, "stage", "list").splitlines()]
    assert set(listed) == set(ours)


def test_a_model_of_the_users_own_is_not_trained():
    given = dvc_file(sources=False, original="models/original")
    assert set(stages(dvc_file(sources=False))) - set(stages(given)) == {"pretrain"}
    assert yaml.safe_load(given)["vars"] == [{"original": "models/original"}]


def test_another_version_runs_the_stages_of_a_user_again(tmp_path):
    """A program that only writes files in place of the command line."""
    (tmp_path / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"split": {"cmd": "date +%N >> ran", "deps": [VERSION_FILE]}}})
    )
    dvc(tmp_path, "init", "--no-scm", "-q")
    runs = []
    for version in ("1", "1", "2"):
        (tmp_path / VERSION_FILE).write_text(f"{version}\n")
        dvc(tmp_path, "repro", "-q")
        runs.append(len((tmp_path / "ran").read_text().splitlines()))
    assert runs == [1, 1, 2]
