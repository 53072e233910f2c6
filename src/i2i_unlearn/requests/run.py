"""Brings a project up to date as `dvc repro` does, with the same bytes and the same record, in less time.

DVC's own functions say which stages of dvc.yaml are out of date and record what they made, so `dvc status` is clean
afterwards and `dvc repro` finds nothing to do. What differs is how the stages run:

    - commands of this package run in two processes that import the libraries once, two at a time where none of the two
      needs the other; anything else in dvc.yaml is run by DVC
    - where the original is about to be trained, retraining begins next to it (`reference --ahead`)
    - commands that are no stages (`Command`) run as soon as what they wait for is done

After Ctrl-C or a kill, the same call goes on: what was recorded is up to date, and trainings have checkpoints.
"""

import json
import logging
import os
import re
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_unlearn.config.sections import ReferenceConfig, SnapshotConfig, load_params
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.workers import Answer, Worker

if TYPE_CHECKING:  # an optional package
    from dvc.repo import Repo
    from dvc.stage import Stage

WORKER = "i2i_unlearn.cli.worker"
"""The module that each process runs. It imports the command line, so it is named here and not imported."""
NUM_WORKERS = 2
OURS = re.compile(r"i2i-unlearn [\w./:=@,+ -]+")
"""A stage's command that needs no shell."""
AHEAD = "reference --ahead"


@dataclass(frozen=True)
class Command:
    """A command of this package."""

    name: str
    args: Callable[[], Sequence[str]]
    """Asked for when it begins."""
    after: frozenset[str] = frozenset()
    """Names of those that must be done before it; what no command is called waits for nothing."""
    is_needed: Callable[[], bool] = lambda: True
    """Asked when those are done."""
    record: Callable[[Answer], None] = lambda _: None
    """Called when it is done, with what `cli.worker.compute` returns."""


def bring_up_to_date(further: Sequence[Command] = ()) -> list[str]:
    """Run the stages of dvc.yaml that are out of date, and `further`; return the names of the stages that ran.

    The current folder is the project.

    Raises:
        UserError: there is no DVC project here, a command stopped, or another process works on the same files.
    """
    with _dvc() as repo, ExitStack() as locks:
        pipeline = _Pipeline(repo, locks)
        run_all([*pipeline.commands(), *further])
        return pipeline.ran


@contextmanager
def _dvc() -> Iterator["Repo"]:
    """The DVC project of the current folder; its errors become one line."""
    try:
        from dvc.exceptions import DvcException, NotDvcRepoError
        from dvc.repo import Repo
    except ModuleNotFoundError as error:
        raise UserError(f"DVC is not installed ({error}); install it: pip install 'i2i-unlearn[dvc]'") from None
    logging.getLogger("dvc").setLevel(logging.WARNING)
    # What dvc.yaml calls `i2i-unlearn` is the one next to this interpreter, activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        with Repo(".") as repo:
            _remove_half_lock(repo)
            yield repo
    except NotDvcRepoError:
        raise UserError(f"{Path.cwd()}: no DVC project; make one with `i2i-unlearn init`") from None
    except DvcException as error:
        told = " ".join(str(error).split())
        raise UserError(f"DVC: {told}; run the same command again to continue") from error


def _remove_half_lock(repo: "Repo") -> None:
    """Remove DVC's list of who reads and writes what if a kill left half of it, which DVC refuses to read."""
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path = Path(str(repo.tmp_dir), RWLOCK_FILE)
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        try:
            json.loads(path.read_bytes() if path.exists() else "{}")
        except ValueError:
            path.unlink()


class _Pipeline:
    """The stages of dvc.yaml, as DVC sees them. For one thread."""

    def __init__(self, repo: "Repo", locks: ExitStack) -> None:
        """`locks` are released at the end, whatever happens."""
        self._repo, self._locks = repo, locks
        self.ran: list[str] = []
        self._held: dict[str, ExitStack] = {}
        with self._locked():
            graph = repo.index.graph
            self._stages: dict[str, Stage] = {stage.addressing: stage for stage in graph}
            self._needs = {stage.addressing: {other.addressing for other in graph.successors(stage)} for stage in graph}
        self._needs.get("reference", set()).add(AHEAD)

    def commands(self) -> Iterator[Command]:
        """One for each stage, and perhaps one that retrains ahead."""
        for name, stage in self._stages.items():
            is_needed, record = partial(self._is_needed, stage), partial(self._record, stage)
            yield Command(name, partial(_args, stage), frozenset(self._needs[name]), is_needed, record)
        if self._can_retrain_ahead():
            yield Command(AHEAD, lambda: [*_args(self._stages["reference"]), "--ahead"], frozenset({"split"}))

    def _can_retrain_ahead(self) -> bool:
        """Whether models are to be retrained, and the teacher will be what `pretrain` is to make."""
        first, last = (self._stages.get(name) for name in ("pretrain", "reference"))
        if not (first and last and _is_ours(first) and _is_ours(last)):
            return False
        params = load_params()
        source = Path(SnapshotConfig.from_params(params).source).resolve()
        if not (ReferenceConfig.from_params(params).count and source in [Path(out.fs_path) for out in first.outs]):
            return False
        with self._locked():
            return bool(first.changed() and last.changed())

    def _is_needed(self, stage: "Stage") -> bool:
        """Whether its command must run. What is not ours, DVC runs here and now, if it must."""
        with self._locked():
            if not _is_ours(stage):
                if stage.reproduce():
                    stage.dump(update_pipeline=False)
                    self.ran += [stage.addressing] * bool(stage.cmd and not stage.always_changed)
                return False
            if not stage.changed():
                return False
            self._hold(stage)
            stage.remove_outs(ignore_remove=False, force=False)  # those that persist stay, and may be written
        return True

    def _hold(self, stage: "Stage") -> None:
        """Keep other DVC processes away from what it reads and writes."""
        from dvc.rwlock import rwlock

        paths = ([one.fs_path for one in some] for some in (stage.deps, stage.outs))
        hardlink = self._repo.config["core"].get("hardlink_lock", False)
        held = rwlock(self._repo.tmp_dir, self._repo.fs, " ".join(sys.argv), *paths, hardlink)
        self._held[stage.addressing] = self._locks.enter_context(ExitStack())
        self._held[stage.addressing].enter_context(held)

    def _record(self, stage: "Stage", answer: Answer) -> None:
        with self._locked():
            stage.save()
            stage.commit()
            stage.dump(update_pipeline=False)
            self._held.pop(stage.addressing).close()
        self.ran.append(stage.addressing)
        print(answer["printed"], end="", file=sys.stderr, flush=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from dvc.repo import lock_repo

        with lock_repo(self._repo), self._repo.scm_context(quiet=True):
            yield


def _is_ours(stage: "Stage") -> bool:
    here = Path(stage.wdir).resolve() == Path.cwd().resolve()
    return here and isinstance(stage.cmd, str) and bool(OURS.fullmatch(stage.cmd)) and not stage.frozen


def _args(stage: "Stage") -> list[str]:
    return shlex.split(stage.cmd)[1:]


def run_all(commands: Iterable[Command]) -> None:
    """Run the commands that are needed, in worker processes and in an order that `after` allows.

    Raises:
        UserError: a command's own; those that run are stopped.
    """
    waiting = {command.name: command for command in commands}
    ready: deque[Command] = deque()
    running: dict[Future[Any], tuple[Command, Worker]] = {}
    idle: list[Worker] = []
    with ExitStack() as started, ThreadPoolExecutor(NUM_WORKERS) as pool:
        try:
            while waiting or ready or running:
                ready += _freed(waiting, {*(one.name for one in ready), *(one.name for one, _ in running.values())})
                while ready and len(running) < NUM_WORKERS:
                    worker = idle.pop() if idle else started.enter_context(Worker(WORKER))
                    command = ready.popleft()
                    job = {"name": command.name, "args": list(command.args())}
                    running[pool.submit(worker.ask, job)] = command, worker
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    command, worker = running.pop(future)
                    command.record(future.result())
                    idle.append(worker)
        except BaseException:  # the pool would wait for what runs
            for _, worker in running.values():
                worker.stop()
            raise


def _freed(waiting: dict[str, Command], unfinished: set[str]) -> Iterator[Command]:
    """Take what needs to wait no longer out of `waiting`; those of them that are needed."""
    while free := [one for one in waiting.values() if not one.after & (unfinished | set(waiting))]:
        for command in free:
            del waiting[command.name]
            if command.is_needed():
                unfinished.add(command.name)
                yield command
