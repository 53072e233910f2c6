"""File a forget request: the request's file and params.yaml change together or not at all.

The DVC and git commands that put it under version control are printed for the user, or run for them.
"""

import fcntl
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from i2i_unlearn.config.sections import RegisterConfig, SplitConfig, load_params
from i2i_unlearn.data.forgotten import FILE, read_forgotten
from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.images.layout import composed
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.overview import role_counts
from i2i_unlearn.data.request import ForgetRequest, read_ids, read_request, select, with_ids, write_request
from i2i_unlearn.data.split.codes import load_key
from i2i_unlearn.data.split.manifest import ERASED
from i2i_unlearn.data.split.roles import assign_roles
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.yaml_file import in_quotes


@dataclass(frozen=True)
class Champion:
    """The promoted version; `registry.requests.find_champion` finds it."""

    version: str
    """Version number in the registry."""
    sha256: str
    """Digest of its model directory (`files.digest_folder`); empty = not known."""
    requests: tuple[str, ...]
    """Ids of all requests it has forgotten, sorted."""
    listed: str = ""
    """What was just added to the list of the forgotten, or why nothing was, in words."""


@dataclass(frozen=True)
class Filed:
    """What filing a request changed."""

    num_selected: int
    moved: tuple[str, ...]
    """Ids that moved from split.requests to split.erased."""
    source: str
    """New snapshot.source; empty = unchanged."""
    steps: list[list[str]]
    """The commands that put the request under version control."""
    images: dict[str, dict[str, int]]
    """Numbers of images by role and label, of all active requests together."""
    together: tuple[str, ...]
    """Ids of the other active requests."""
    taken: "Taken"
    """What the request itself takes."""


@dataclass(frozen=True)
class Taken:
    """Numbers of images."""

    training: int
    """Training images that the request takes."""
    of: int
    """All training images that are not erased."""
    erased: int
    """Images that it names and that were forgotten before."""

    @property
    def share(self) -> float:
        """Of the training images."""
        return self.training / max(self.of, 1)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where images, requests and settings are."""

    images: str
    requests: Path
    params: Path


def file_request(
    request: ForgetRequest,
    workspace: Workspace,
    champion: Champion | None,
    *,
    ids_file: Path | None = None,
    commit: bool = False,
    preview: bool = False,
    largest_share: float = 1.0,
) -> Filed:
    """Check `request` against the images, write it, and make it active in params.yaml.

    What the champion has already forgotten becomes `erased`, and the champion becomes the next teacher.

    `ids_file` is copied next to the request, under the name in `request.selector.ids_file`. With `commit`, the commands
    that put the request under version control are also run, from the current folder. With `preview`, everything is
    checked and nothing changed. A request that takes more than `largest_share` of the training images is refused. Of
    several processes, one files at a time. A request whose filing was killed before it
    was active is filed by the same call.

    Raises:
        UserError: the request exists, repeats an entry, selects nothing, everything, or only what is erased,
            params.yaml cannot be changed, or a command failed. Then nothing is changed.
    """
    request = with_ids(request, read_ids(ids_file)) if ids_file else request
    with _alone(workspace.params.parent):
        return _file(
            request, workspace, champion, ids_file, commit=commit, preview=preview, largest_share=largest_share
        )


def filed_before(request: ForgetRequest, workspace: Workspace, ids_file: Path | None) -> ForgetRequest | None:
    """The request that is filed under this id; None where there is none. One that was filed on another day is the same.

    Raises:
        UserError: it is another request.
    """
    path = workspace.requests / f"{request.id}.yaml"
    if not path.exists():
        return None
    found = read_request(path)
    given = with_ids(request, read_ids(ids_file)) if ids_file else request
    differs = [
        key
        for key in ("selector", "basis", "near_duplicates", "note")
        if _compared(found, key) != _compared(given, key)
    ]
    if differs:
        raise UserError(
            f"{path}: a request with this id is filed and has another {' and another '.join(differs)}; choose another "
            f"id, or give the id alone to go on with it: i2i-unlearn forget {request.id}"
        )
    return found


def _compared(request: ForgetRequest, key: str) -> Any:
    return request.selector.wanted() if key == "selector" else getattr(request, key)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file(
    request: ForgetRequest,
    workspace: Workspace,
    champion: Champion | None,
    ids_file: Path | None,
    *,
    commit: bool,
    preview: bool,
    largest_share: float,
) -> Filed:
    params = load_params(workspace.params)
    config = SplitConfig.from_params(params)
    path = workspace.requests / f"{request.id}.yaml"
    if path.exists():
        _check_was_interrupted(request, path, config)
    _check_no_repeats(request)
    plan = _plan(request.id, config, champion)
    name = RegisterConfig.from_params(params).model_name
    teacher = {"source": f"models:/{name}/{champion.version}", "sha256": champion.sha256} if champion else {}
    split = {**params["split"], "requests": plan.requests, "erased": plan.erased}
    num_selected, counts, taken = _check(request, workspace, SplitConfig.from_params({**params, "split": split}))
    _check_share(request, taken, largest_share)
    new_params = changed_params(workspace.params.read_text(encoding="utf-8"), plan, teacher)
    steps = commands(request.id, workspace.requests, workspace.params)
    filed = Filed(num_selected, plan.moved, teacher.get("source", ""), steps, counts, tuple(plan.requests[:-1]), taken)
    if preview:
        return filed
    if commit:
        _refuse_to_commit_other_changes(workspace)
    with _undone_on_error(_touched(request, workspace), steps if commit else []):
        if ids_file:
            with atomic_file(workspace.requests / request.selector.ids_file) as aside:
                shutil.copyfile(ids_file, aside)
        if not path.exists():
            write_request(request, path)
        with atomic_file(workspace.params) as aside:
            aside.write_text(new_params, encoding="utf-8")
        if commit:
            run_all(steps)
    return filed


def _check_was_interrupted(request: ForgetRequest, path: Path, config: SplitConfig) -> None:
    """An existing request may be filed again if it is the same and params.yaml does not name it."""
    if request.id in (*config.requests, *config.erased):
        raise UserError(f"{path}: this request already exists and is kept; choose another id")
    if (found := read_request(path)) != request:
        raise UserError(
            f"{path}: this request already exists, is not active and differs from this one; choose another id, or "
            f"repeat the options that it was filed with (received {found.received}, due {found.due}) to make it active"
        )


def _check_no_repeats(request: ForgetRequest) -> None:
    """A repeat is a slip in the list; the entry that was meant would not be forgotten."""
    for column, values in request.selector.wanted().items():
        first: dict[str, int] = {}
        repeats = [place for place, value in enumerate(values) if first.setdefault(composed(value), place) != place]
        if repeats:
            raise UserError(
                f"forget request {request.id!r}: {len(repeats)} of {len(values)} {column.replace('_', ' ')}s repeat an"
                f" earlier one (the first is entry {repeats[0] + 1}: {values[repeats[0]]!r}); list each once"
            )


def _touched(request: ForgetRequest, workspace: Workspace) -> list[Path]:
    """The files that filing `request` writes, including DVC's."""
    names = [f"{request.id}.yaml", request.selector.ids_file]
    requests = [workspace.requests / name for name in names if name]
    return [workspace.params, *requests, *_dvc_files(workspace.requests)]


@contextmanager
def _undone_on_error(paths: list[Path], steps: list[list[str]]) -> Iterator[None]:
    """On any failure, unstage what the `git add` among `steps` may have staged, and give the files their old content.

    New files are removed.
    """
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:  # also when the user presses Ctrl-C
        for step in steps:
            if step[:2] == ["git", "add"]:
                with suppress(FileNotFoundError):  # without git nothing was staged
                    subprocess.run(["git", "reset", "-q", "--", *step[2:]], capture_output=True, check=False)
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_bytes() != content:
                with atomic_file(path) as aside:
                    aside.write_bytes(content)
        raise


@dataclass(frozen=True)
class _Plan:
    requests: list[str]
    erased: list[str]
    moved: tuple[str, ...]


def _plan(new_id: str, config: SplitConfig, champion: Champion | None) -> _Plan:
    forgotten = list(champion.requests) if champion else []
    moved = tuple(id_ for id_ in config.requests if id_ in forgotten)
    # A champion may know of requests that this params.yaml never held (another branch); they stay forgotten too.
    erased = list(dict.fromkeys([*config.erased, *moved, *forgotten]))
    active = [id_ for id_ in config.requests if id_ not in moved]
    if new_id in (*active, *erased):
        raise UserError(
            f"request id {new_id!r} is already in use (params.yaml or the promoted model names it); choose another id"
        )
    return _Plan([*active, new_id], erased, moved)


def _check_share(request: ForgetRequest, taken: Taken, largest_share: float) -> None:
    """A slip in a selector is cheap to make and dear to carry out."""
    if taken.share > largest_share:
        raise UserError(
            f"forget request {request.id!r} takes {taken.training:,} of {taken.of:,} training images"
            f" ({taken.share:.1%}), more than request.largest_share={largest_share:g}; narrow the selector, or repeat "
            "the command with --allow-large"
        )


def _check(
    request: ForgetRequest, workspace: Workspace, config: SplitConfig
) -> tuple[int, dict[str, dict[str, int]], Taken]:
    """Split as after filing; its errors are this request's. Number of images selected, and of each role and label."""
    index = read_index(workspace.images)
    selected = select(request, index, quote=True)
    if selected.all():
        raise UserError(
            f"forget request {request.id!r} selects all {len(index)} images; nothing would be retained; narrow the"
            " selector"
        )
    others = [id_ for id_ in config.requests if id_ != request.id]
    active, erased = ([read_request(workspace.requests / f"{i}.yaml") for i in ids] for ids in (others, config.erased))
    listed = read_forgotten(workspace.requests)
    forgotten = listed.look_up(load_key(), index["sha256"]) if listed.requests else []
    found = assign_roles(index, [*active, request], erased, config, forgotten=forgotten)
    is_erased, is_train = found.role == ERASED, found.part == TRAIN
    taken = Taken(
        training=int((selected & is_train & ~is_erased).sum()),
        of=int((is_train & ~is_erased).sum()),
        erased=int((selected & is_erased).sum()),
    )
    return int(selected.sum()), role_counts(index, found), taken


def changed_params(text: str, plan: _Plan, teacher: Mapping[str, str]) -> str:
    """params.yaml with other requests and teacher; comments, order and quotes stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # wrap no line
    content = yaml.load(text)
    _replace_items(content["split"]["requests"], plan.requests)
    _replace_items(content["split"]["erased"], plan.erased)
    content["snapshot"].update(teacher)
    if teacher and content["snapshot"].get("checkpoint"):
        content["snapshot"]["checkpoint"] = {}  # described the file that the original came from
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    return buffer.getvalue()


def _replace_items(items: Any, new: list[str]) -> None:
    """Change a list in place, so that it keeps its style and comments; `[]` stays on its line."""
    if not items:
        items.fa.set_flow_style()
    for item in [item for item in items if item not in new]:
        items.remove(item)
    items.extend(in_quotes(item) for item in new if item not in items)


# --- version control ---


def commands(request_id: str, requests: Path, params: Path) -> list[list[str]]:
    """Commands that bring a filed request under version control; run them from the project's root."""
    tracked = requests.parent
    pointer, ignore = _dvc_files(requests)
    changed = [str(pointer), str(params)] if pointer.exists() else [str(pointer), str(ignore), str(params)]
    return [
        ["dvc", "add", str(tracked)],
        ["git", "add", *changed],
        ["git", "commit", "-m", f"Add forget request {request_id}", "--", *changed],
    ]


def _dvc_files(requests: Path) -> tuple[Path, Path]:
    """What `dvc add` of the data folder writes: its pointer and, the first time, the .gitignore next to it."""
    tracked = requests.parent
    return tracked.with_name(f"{tracked.name}.dvc"), tracked.with_name(".gitignore")


def _refuse_to_commit_other_changes(workspace: Workspace) -> None:
    """The commit would take them along, unseen. The list of the forgotten may have grown: promotions add to it."""
    pointer, _ = _dvc_files(workspace.requests)
    if not pointer.exists():  # the first commit of all
        return
    for path in (workspace.params, pointer):
        if _run(["git", "status", "--porcelain", "--untracked-files=no", "--", str(path)]).stdout.strip():
            raise UserError(
                f"{path} has changes that are not committed, and --commit would take them along; commit them first, "
                "or run without --commit"
            )
    if _run(["dvc", "status", "--quiet", str(pointer)]).returncode == 1 and not _only_list_changed(workspace.requests):
        data = workspace.requests.parent
        raise UserError(
            f"{data} has changes that {pointer} does not have, and --commit would take them along; version them first: "
            f"dvc add {data}, then git commit {pointer}; or run without --commit"
        )


def _only_list_changed(requests: Path) -> bool:
    """Whether the list of the forgotten is all that differs from what DVC holds of the data folder."""
    status = _run(["dvc", "data", "status", "--granular", "--json", str(requests.parent)])
    if status.returncode != 0:
        return False
    changes = json.loads(status.stdout).get("uncommitted", {}).values()
    files = {path for paths in changes for path in paths if not path.endswith("/")}
    return {Path(path).parts[-2:] for path in files} == {(requests.name, FILE)}


def run_all(steps: list[list[str]]) -> None:
    """Run the commands in order; their output is shown only if one fails.

    Raises:
        UserError: one failed, or a program is not installed.
    """
    for step in steps:
        done = _run(step)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split()) or "it printed nothing"
            raise UserError(f"`{shlex.join(step)}` failed, nothing was changed: {said[-500:]}")


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run([_program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"`{command[0]}` is not installed; install it, or run without --commit") from None


def _program(name: str) -> str:
    """DVC is in the environment's bin folder, which may not be on the PATH."""
    installed = Path(sys.executable).with_name(name)
    return str(installed) if installed.exists() else name
