"""Makes a project, whole or not at all: a git and DVC repository with all that the commands need."""

import contextlib
import io
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2i_unlearn.config.presets import check_settings
from i2i_unlearn.config.sections import load_params
from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.importers.embedded import write_embedded
from i2i_unlearn.data.importers.run import ImportSettings, import_images
from i2i_unlearn.data.importers.source import SHOWN
from i2i_unlearn.data.overview import overview
from i2i_unlearn.data.split.codes import DEFAULT_KEY_FILE, create_key
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.own import code_of
from i2i_unlearn.pipeline.local.runner import PIPELINES, compile_pipeline
from i2i_unlearn.project.dvc_file import ORIGINAL, dvc_file
from i2i_unlearn.project.first_look import FirstLook, first_look
from i2i_unlearn.project.first_settings import first_settings
from i2i_unlearn.project.given_model import GivenModel, look_at_model
from i2i_unlearn.project.params_file import params_text
from i2i_unlearn.project.templates import render
from i2i_unlearn.project.version import VERSION_FILE, version_line
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder
from i2i_unlearn.support.package_data import package_data

PICTURE = "first-look.png"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a project is to be made of."""

    model: Path
    training_images: Path
    unseen_images: Path | None
    own: str = ""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    operator: str = ""
    keep_fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class Created:
    """What was found and made."""

    model: GivenModel
    settings: Mapping[str, Any]
    """The content of params.yaml."""
    look: FirstLook


def check_empty(folder: Path) -> None:
    """Raise UserError if `folder` holds anything, or is the current one, which cannot be put in place whole."""
    if folder.resolve() == Path.cwd():
        raise UserError(f"{folder}: is the current folder; name one that does not exist yet")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty; name a folder that does not exist yet")


def create(folder: Path, wanted: Wanted, tell: Callable[[str], None]) -> Created:
    """Make a project for a user's model and images. `tell` gets lines on what is found.

    Raises:
        UserError: `folder` is not empty, the model or images cannot be used, or git or DVC is missing. Then nothing is
            left of it.
    """
    check_empty(folder)
    _require_tools()
    given = look_at_model(wanted.model, own=wanted.own, checkpoint=wanted.checkpoint)
    height, width = given.image_size
    tell(f"Model: {given.kind}, {height} x {width} pixels, {given.model.num_channels} channels")
    for note in given.notes:
        tell(f"  {note}")
    with atomic_folder(folder) as aside:
        place = _take_model(given, aside)
        settings = first_settings(
            given,
            place=place,
            name=folder.resolve().name,
            checkpoint=dict(wanted.checkpoint),
            operator=wanted.operator,
            keep_fraction=wanted.keep_fraction,
        )
        params = _write_settings(aside, params_text(package_data("params.yaml").read_text(encoding="utf-8"), settings))
        operator = make_operator(params["operator"], params["keep_fraction"], params["operator_patch_size"])
        shards = _import(wanted, aside / "data", Reading.from_params(params), tell)
        _tell_sizes(aside / "data/images", given.image_size, tell)
        look = first_look(given.model, aside / "data/images", operator, aside / PICTURE)
        _write_rest(aside, original=place)
        about = f"Makes a model forget images: {given.kind}, {height} x {width} pixels."
        _write_readme(
            aside,
            folder,
            about,
            demo=False,
            shard=shards[0],
            model_name=params["register"]["model_name"],
        )
        _version(aside, ["data", place])
    return Created(model=given, settings=params, look=look)


def create_demo(folder: Path) -> None:
    """Make the demo's project: embedded digits, a small model that the first stage trains, a request to forget the 3.

    Raises:
        UserError: `folder` is not empty, or git or DVC is missing. Then nothing is left of it.
    """
    check_empty(folder)
    _require_tools()
    with atomic_folder(folder) as aside:
        _write_settings(aside, package_data("params.yaml").read_text(encoding="utf-8"))
        write_embedded("digits", aside / "data")
        _write_rest(aside, original=ORIGINAL)
        about = "The demo of i2i-unlearn: a small model of handwritten digits forgets the digit 3."
        _write_readme(aside, folder, about, demo=True)
        _version(aside, ["data"])


def _require_tools() -> None:
    if shutil.which("git") is None:
        raise UserError("git is not installed, and a project is a git repository; install git")
    try:
        import dvc.repo  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("dvc is not installed; install it with `pip install 'i2i-unlearn[dvc]'`") from None


def _take_model(given: GivenModel, project: Path) -> str:
    """Copy the model, and a class that is in the current folder; return the model's place in the project."""
    if given.own and (code := code_of(given.own)).resolve().is_relative_to(Path.cwd()):
        copy = shutil.copytree if code.is_dir() else shutil.copyfile
        copy(code, project / code.name)
    (project / "models").mkdir()
    if given.is_file:
        place = f"models/{given.source.name}"
        shutil.copyfile(given.source, project / place)
    else:
        place = "models/original"
        shutil.copytree(given.source, project / place)
    return place


def _write_settings(project: Path, text: str) -> dict[str, Any]:
    path = project / "params.yaml"
    path.write_text(text, encoding="utf-8")
    params = load_params(path)
    check_settings(params)
    return params


def _import(wanted: Wanted, data: Path, reading: Reading, tell: Callable[[str], None]) -> list[str]:
    """Import both sets; return the names of their shards."""
    sources = {"train": wanted.training_images, "val": wanted.unseen_images}
    if wanted.unseen_images is None:
        sources = {"": wanted.training_images}  # whose folders may say which images were not trained on
    given = {split: source for split, source in sources.items() if source}
    names = [source.resolve().stem for source in given.values()]
    if len(set(names)) < len(names):
        names = ["training", "unseen"]
    for (split, source), name in zip(given.items(), names, strict=True):
        settings = ImportSettings(name=name, source_split=split, reading=reading)
        imported = import_images(source, data, settings, tell=lambda line: tell(f"broken: {line}"), look=tell)
        if imported.warning:
            tell(f"warning: {imported.warning}")
    if not (read_index(str(data / "images"))["source_split"] == "val").any():
        raise UserError(
            f"{wanted.training_images}: does not say which images the model has never seen, and forgetting is measured "
            "against such images; give them with --unseen-images, or sort the images into folders train and val"
        )
    return names


def _tell_sizes(images: Path, wanted: tuple[int, int], tell: Callable[[str], None]) -> None:
    """The sizes of pictures (the first of each shard), and whether the model gets them in another one."""
    found, own = overview(str(images)), "x".join(map(str, wanted))
    others = {size.split()[0] for size in found["sizes"]} - {own}
    fitted = f"; those of another size are fitted to the model's {own}" if others else ""
    shown = ", ".join(f"{size} ({count})" for size, count in list(found["sizes"].items())[:SHOWN])
    tell(f"sizes (height x width): {shown}{fitted}")
    for note in found["notes"]:
        tell(note)


def _write_rest(project: Path, *, original: str) -> None:
    """Policies, presets, the stages, the recorded version, the key, what git and DVC ignore, the compiled pipelines."""
    shutil.copytree(package_data("policies"), project / "mlflow/policies")
    shutil.copyfile(package_data("model_card.md.j2"), project / "mlflow/model_card.md.j2")
    shutil.copytree(package_data("presets"), project / "presets")
    (project / "data/forget").mkdir(parents=True, exist_ok=True)
    (project / "dvc.yaml").write_text(dvc_file(sources=False, original=original), encoding="utf-8")
    (project / VERSION_FILE).write_text(version_line(), encoding="utf-8")
    for name in ("gitignore", "dvcignore"):
        (project / f".{name}").write_text(render(name), encoding="utf-8")
    create_key(str(project / DEFAULT_KEY_FILE))
    for pipeline in PIPELINES:
        compile_pipeline(project / f"pipelines/{pipeline}.yaml", project, pipeline)


def _write_readme(project: Path, folder: Path, about: str, **values: Any) -> None:
    text = render("README.md.j2", name=folder.resolve().name, about=about, version=version_line().strip(), **values)
    (project / "README.md").write_text(text, encoding="utf-8")


def _version(project: Path, tracked: Iterable[str]) -> None:
    """Make it a git and DVC repository with a first commit."""
    from dvc.repo import Repo

    _git(project, "init", "--quiet", "--initial-branch", "main")
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it tells how to commit, which is done below
    with contextlib.redirect_stdout(io.StringIO()), Repo.init(str(project)) as repo:
        (project / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
        repo.add([str(project / one) for one in tracked])
    _git(project, "add", "--all")
    _git(
        project,
        "-c",
        "commit.gpgsign=false",
        *_somebody(project),
        "commit",
        "--quiet",
        "--message",
        "A project of i2i-unlearn",
    )


def _somebody(project: Path) -> Iterator[str]:
    """Git's name of who commits, where none is set."""
    for key, value in (("user.name", "i2i-unlearn"), ("user.email", "i2i-unlearn@localhost")):
        asked = subprocess.run(["git", "-C", str(project), "config", key], capture_output=True, check=False)
        if asked.returncode:
            yield from ("-c", f"{key}={value}")


def _git(project: Path, *words: str) -> None:
    done = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"git {words[0]} failed ({' '.join(done.stderr.split())}); correct it and run the command again"
        )
