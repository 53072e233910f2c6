"""`init`: what is in a new project, and what is refused before there is one."""

import shutil
import subprocess

import pytest
import yaml
from PIL import Image

from i2i_unlearn.cli.main import app
from i2i_unlearn.config.presets import check_settings
from i2i_unlearn.config.sections import load_params
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.project.create import Wanted, create, create_demo
from i2i_unlearn.project.dvc_file import dvc_file
from i2i_unlearn.project.version import VERSION_FILE
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from i2i_unlearn.support.package_data import package_data
from tests.conftest import pixels_of
from tests.support.commands import dvc, lines_of
from tests.support.says import says
from tests.test_readme import parse, shell_lines


@pytest.fixture(scope="module")
def brought(tmp_path_factory, tiny_model):
    """A user's folder: a model, photographs that it was trained on, others."""
    folder = tmp_path_factory.mktemp("brought")
    tiny_model().save(folder / "model")
    for split, numbers in (("seen", range(6)), ("fresh", range(6, 9))):
        for label in "ab":
            (folder / split / label).mkdir(parents=True)
            for number in numbers:
                Image.fromarray(pixels_of(label, number)).save(folder / split / label / f"{number}.png")
    return folder


def wanted(folder, **changes):
    own = {"model": folder / "model", "training_images": folder / "seen", "unseen_images": folder / "fresh"}
    return Wanted(**{**own, **changes})


@pytest.fixture(scope="module")
def made(brought, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "my project"
    told = []
    return folder, create(folder, wanted(brought), told.append), told


def test_the_model_is_recognised_and_the_settings_are_of_it(made, brought):
    folder, created, told = made
    assert told[0] == "Model: a masked autoencoder (transformers' ViTMAE), 16 x 16 pixels, 1 channels"
    params = load_params(folder / "params.yaml")
    check_settings(params)
    assert params["operator_patch_size"] == params["pretrain"]["architecture"]["patch_size"] == 4
    assert params["keep_fraction"] == 0.75  # 2 of 4 patches
    assert params["snapshot"]["source"] == "models/original"
    assert params["snapshot"]["sha256"] == digest_folder(folder / "models/original") == digest_folder(brought / "model")
    assert params["register"]["model_name"] == "my-project"
    assert params["split"]["requests"] == []
    assert params["reference"]["count"] == 0
    assert params["evaluate"]["show_forget_images"] is False


def test_the_images_are_in_it_under_the_names_of_their_folders(made):
    folder, _, _ = made
    index = read_index(str(folder / "data/images"))
    assert index.groupby("source_split").size().to_dict() == {"train": 12, "val": 6}
    assert "seen/a/0.png" in set(index["sample_id"])
    assert (folder / "first-look.png").read_bytes().startswith(b"\x89PNG")


def test_git_has_everything_but_images_weights_and_secrets(made):
    folder, _, _ = made
    assert not git(folder, "status", "--porcelain")
    kept = set(git(folder, "ls-files").splitlines())
    assert {"params.yaml", "dvc.yaml", "data.dvc", "models/original.dvc", VERSION_FILE, "README.md"} <= kept
    assert {"mlflow/policies/as_unseen.yaml", "presets/paper.yaml", "pipelines/unlearning.yaml"} <= kept
    assert not [name for name in kept if name.startswith((".secrets", "data/", "first-look")) or "safetensors" in name]
    assert (folder / ".secrets/hmac.key").stat().st_mode & 0o777 == 0o600


def test_its_stages_depend_on_data_settings_and_the_version_alone(made):
    folder, _, _ = made
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    assert "pretrain" not in stages
    assert not [dep for stage in stages.values() for dep in stage["deps"] if dep.startswith("src/")]
    assert all(VERSION_FILE in stage["deps"] for stage in stages.values())
    assert '"models/original.dvc" -> "snapshot"' in dvc(folder, "dag", "--dot")
    assert dvc(folder, "status", "data.dvc", "models/original.dvc").strip() == "Data and pipelines are up to date."


def test_the_commands_of_its_readme_exist(made):
    folder, _, _ = made
    lines = [line.partition(">")[0] for line in shell_lines((folder / "README.md").read_text())]
    asked = [line for line in lines if line.startswith("i2i-unlearn ")]
    assert len(asked) > 8
    for line in asked:
        parse(line)


def test_a_model_that_fills_worse_than_grey_is_told(made):
    _, created, _ = made  # its weights are random
    assert "normalisation" in created.look.warning


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, brought):
    (tmp_path / "mine.txt").write_text("mine")
    with says(UserError, "not empty"):
        create(tmp_path, wanted(brought), print)
    with says(UserError, "not empty"):
        create_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "nothing"}, ["nothing", "no such"]),
        ({"training_images": "nothing"}, ["nothing", "no such"]),
        ({"unseen_images": None}, ["seen", "--unseen-images"]),
        ({"operator": "upside_down"}, ["upside_down", "center_hole"]),
        ({"keep_fraction": 1.5}, ["keep_fraction", "1.5"]),
        ({"checkpoint": {"image_size": 16}}, ["--checkpoint", "folder"]),
    ],
)
def test_what_cannot_be_used_leaves_nothing_behind(tmp_path, brought, changes, words):
    paths = {key: brought / value for key, value in changes.items() if value == "nothing"}
    with says(UserError, *words):
        create(tmp_path / "new", wanted(brought, **{**changes, **paths}), print)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_folders_that_say_train_and_val_need_no_second_source(tmp_path, brought):
    for ours, theirs in (("seen", "train"), ("fresh", "val")):
        shutil.copytree(brought / ours, tmp_path / "photos" / theirs)
    create(tmp_path / "new", wanted(brought, training_images=tmp_path / "photos", unseen_images=None), print)
    index = read_index(str(tmp_path / "new/data/images"))
    assert index.groupby("source_split").size().to_dict() == {"train": 12, "val": 6}


def git(folder, *words):
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout


def test_sizes_are_told_and_what_is_fitted(made):
    _, _, told = made
    assert "sizes (height x width): 16x16 L (18)" in told


@pytest.mark.slow
def test_the_demos_project_is_this_repositorys_without_the_code(tmp_path):
    create_demo(tmp_path / "digits")
    folder = tmp_path / "digits"
    assert (folder / "params.yaml").read_bytes() == package_data("params.yaml").read_bytes()
    assert (folder / "dvc.yaml").read_text() == dvc_file(sources=False)
    assert (folder / "data/forget/digit-3.yaml").is_file()
    assert len(read_index(str(folder / "data/images"))) == 5000
    assert not git(folder, "status", "--porcelain")


def test_without_options_and_terminal_one_line_says_what_is_missing(tmp_path):
    with says(UserError, "--model", "--demo"):
        lines_of(app, "init", str(tmp_path / "new"))
    with says(UserError, "current folder"):
        lines_of(app, "init", ".")
