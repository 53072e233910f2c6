"""The command line: it translates, and nothing more.

Exit codes: 0 done, 1 wrong input (one line says what), 2 wrong usage, 3 the gate refused. A traceback is a bug of ours.
Command modules import heavy libraries inside their functions, so that --help answers at once.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from i2i_unlearn import __version__
from i2i_unlearn.cli import (
    complete,
    data,
    demo,
    doctor,
    evidence,
    export,
    find,
    forget,
    guard,
    init,
    interrupt,
    keys,
    pipeline,
    pipeline_cluster,
    preset,
    registry,
    request,
    review,
    stages,
    sweep,
)
from i2i_unlearn.cli.kinds import say_kinds
from i2i_unlearn.project.version import check_version
from i2i_unlearn.support.errors import GateRefused, UserError

TASKS = {
    "Requests": ("find", "forget", "request", "review"),
    "Run": (
        *("demo", "split", "pretrain", "snapshot", "unlearn", "reference", "evaluate"),
        *("sweep", "pareto", "pipeline"),
    ),
    "Registry": ("register", "registry"),
    "Evidence": ("evidence", "keys"),
    "Serve": ("complete", "export", "guard"),
    "Project": ("init", "set", "upgrade", "data", "preset", "doctor"),
}
"""What --help lists, by task and in the order of the work."""


class ByTask(TyperGroup):
    """A group whose help lists its commands by task."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        say_kinds(self)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """One section per task."""
        width = max(map(len, self.commands))
        for task, names in TASKS.items():
            with formatter.section(task):
                helps = (self.commands[name].get_short_help_str(formatter.width - width - 4) for name in names)
                formatter.write_dl([(name.ljust(width), text) for name, text in zip(names, helps, strict=True)])


# Without rich, help is there four times as fast, and brackets in it stay brackets.
app = typer.Typer(
    cls=ByTask,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make image-to-image generators forget: file a request, unlearn, evaluate, register, promote.",
)
for part in (stages.app, find.app, sweep.app, forget.app, demo.app, complete.app, export.app, doctor.app, init.app):
    app.registered_commands += part.registered_commands
pipeline.app.registered_commands += pipeline_cluster.app.registered_commands
for group in (data, request, pipeline, registry, preset, review, guard, keys, evidence):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"i2i-unlearn {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Refuse to compute in a project of another version."""
    if context.invoked_subcommand in (*TASKS["Run"], "forget", "register"):
        check_version(Path())


def prepare() -> None:
    """Set what must be set before libraries are imported, and let SIGTERM end a command as Ctrl-C does."""
    # Threads that wait for each other soon go to sleep: where another process wants the same core, waiting busily made
    # the training loop ten times slower; on idle cores this costs nothing. Read by GNU OpenMP when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # No library sends anything anywhere on its own.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # with what a command has begun


def main() -> None:
    """Run the command line; the only place where exceptions become exit codes."""
    prepare()
    try:
        app()
    except UserError as error:
        sys.exit(_say("error", error, 1))
    except GateRefused as refusal:
        sys.exit([_say("refused", reason, 3) for reason in refusal.reasons][-1])
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != 130:  # what typer makes of Ctrl-C
            raise
        sys.exit(_say("stopped", "run the same command again to continue", 130))
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(_say("error", f"{error.filename}: {error.strerror}", 1))


def _say(kind: str, message: object, code: int) -> int:
    print(f"i2i-unlearn: {kind}: {' '.join(str(message).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    interrupt.ended(main)
