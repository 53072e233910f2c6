import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from i2i_unlearn import __version__
from i2i_unlearn.cli import main
from i2i_unlearn.support.errors import GateRefused, UserError

COMMAND = Path(sys.executable).with_name("i2i-unlearn")
HEAVY = {
    *("torch", "torchvision", "transformers", "safetensors", "torchmetrics", "sklearn", "matplotlib"),
    *("mlflow", "kfp", "dvc", "kubernetes", "pandas", "numpy", "pyarrow", "fsspec", "PIL"),
}


def commands():
    """Every command: its words and the command itself."""

    def walk(words, command):
        if hasattr(command, "commands"):
            for name, below in command.commands.items():
                yield from walk((*words, name), below)
        else:
            yield words, command

    return sorted(walk((), typer.main.get_command(main.app)), key=lambda pair: pair[0])


COMMANDS = [pytest.param(words, command, id=" ".join(words)) for words, command in commands()]


# --- help ---


def test_importing_the_command_line_imports_nothing_heavy():
    program = "import sys, json, i2i_unlearn.cli.main; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(json.loads(printed))


def test_help_answers_in_under_half_a_second():
    # Time of the processor, not of the clock: other processes may want the cores.
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    )
    command = [sys.executable, "-c", script, COMMAND, "--help"]
    seconds = [float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(3)]
    assert min(seconds) < 0.5


def test_help_lists_every_command_once_by_task_and_in_full():
    group = typer.main.get_command(main.app)
    assert sorted(name for names in main.TASKS.values() for name in names) == sorted(group.commands)
    shown = CliRunner().invoke(main.app, ["--help"], terminal_width=80).output
    assert [line.rstrip(":") for line in shown.splitlines() if line.rstrip(":") in main.TASKS] == list(main.TASKS)
    for words in {words[:-1] for words, _ in commands()}:
        listed = CliRunner().invoke(main.app, [*words, "--help"], terminal_width=80).output
        assert "..." not in listed.replace("[ARGS]...", ""), words


def test_what_changes_the_registry_is_under_registry_alone():
    words = {words for words, _ in commands()}
    moved = {("promote",), ("rollback",), ("check",), ("lineage",), ("ledger", "verify"), ("ledger", "show")}
    assert {("registry", *one) for one in moved} <= words
    assert not {one[0] for one in moved} & {one[0] for one in words}


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_command_says_what_it_and_its_options_are_with_an_example_that_it_would_take(words, command):
    about, _, example = command.help.partition("Example: ")
    assert about.strip().endswith(".")
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name
    for line in example.strip().split(" && "):
        program, *arguments = shlex.split(line)
        assert program == "i2i-unlearn"
        assert tuple(arguments[: len(words)]) == words
        command.make_context(" ".join(words), arguments[len(words) :])  # fails if it would be wrong usage


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_help_of_every_command_shows_its_example(command_line, tmp_path, words, command):
    shown = command_line(tmp_path, *words, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "Example: i2i-unlearn" in " ".join(shown.out.split())


# --- exit codes ---


def test_done_is_0(command_line, tmp_path):
    assert command_line(tmp_path, "--version").out == f"i2i-unlearn {__version__}\n"
    assert command_line(tmp_path, "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["unlaern"],
        ["unlearn", "--alpha", "3"],
        ["data", "embedded"],
        ["data", "embedded", "faces"],
        ["pipeline", "run", "--runner", "cluster"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(command_line, tmp_path, arguments):
    ended = command_line(tmp_path, *arguments)
    assert ended.code == 2
    assert "Usage:" in ended.err
    assert "Traceback" not in ended.err


def test_no_command_shows_the_help(command_line, tmp_path):
    ended = command_line(tmp_path)
    assert "Requests:" in ended.out + ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a\nmessage  of two lines"), 1, "i2i-unlearn: error: a message of two lines\n"),
        (GateRefused("the gate did not pass"), 3, "i2i-unlearn: refused: the gate did not pass\n"),
        (
            PermissionError(13, "Permission denied", "/some/file"),
            1,
            "i2i-unlearn: error: /some/file: Permission denied\n",
        ),
    ],
)
def test_errors_become_one_line_and_a_code(monkeypatch, capsys, error, code, said):
    def command():
        raise error

    monkeypatch.setattr(main, "app", command)
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == code
    assert capsys.readouterr().err == said


def test_a_bug_is_a_traceback(monkeypatch):
    monkeypatch.setattr(main, "app", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main()


def refused(ended):
    """The one line that a command says which fails by its input."""
    assert ended.code == 1, ended
    (line,) = ended.err.splitlines()
    assert line.startswith("i2i-unlearn: error: ")
    assert ended.out == ""
    return line


@pytest.fixture
def folder(tmp_path, taught, params_written):
    """A folder with a params.yaml, to run commands in."""
    params_written(tmp_path, taught)
    return tmp_path


@pytest.fixture
def run(command_line, folder, taught):
    """Run a stage on the tiny project; options as keywords."""

    def run(stage, **options):
        command = typer.main.get_command(main.app).commands[stage]
        given = {"images": taught.images, "splits": taught.splits, "teacher": taught.teacher, "out": "out"}
        given |= {"requests": taught.requests, "hmac_key_file": taught.key}
        chosen = {one.name: given[one.name] for one in command.params if one.name in given} | options
        words = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in chosen.items()
        ]
        return command_line(folder, stage, *words)

    return run


@pytest.mark.parametrize("stage", ["split", "pretrain", "snapshot", "unlearn", "reference"])
def test_each_stage_says_in_a_few_lines_what_happened_and_all_as_json(run, folder, taught, params_written, stage):
    pretrain = {"num_steps": 3} if stage == "pretrain" else {}  # a reference is trained as the original was
    params_written(folder, taught, pretrain=pretrain, unlearn={"num_steps": 3})
    ended = run(stage)
    assert (ended.code, ended.err) == (0, "")
    summary = json.loads((folder / "out/summary.json").read_text())
    assert len(ended.out.splitlines()) <= 4
    assert "out" in ended.out.splitlines()[-1]
    assert not [
        value for value in summary.values() if isinstance(value, str) and len(value) == 64 and value in ended.out
    ]
    again = run(stage, json=True)
    assert json.loads(again.out) == json.loads((folder / "out/summary.json").read_text())


def test_the_command_gives_the_bytes_of_the_function(run, folder, tiny):
    assert run("unlearn").code == 0
    for name in ("model/model.safetensors", "model/config.json", "steps.jsonl"):
        assert (folder / "out" / name).read_bytes() == (tiny.artifact("unlearned") / name).read_bytes()


def test_parameters_that_cannot_be_read_are_told(run, folder):
    assert refused(run("pretrain", params=".")) == "i2i-unlearn: error: .: Is a directory"
    (folder / "params.yaml").unlink()
    line = refused(run("pretrain"))
    assert line.endswith("params.yaml: no such file; run the command from the folder that holds params.yaml")


@pytest.mark.parametrize(
    ("stages", "options", "told"),
    [
        (
            ["split", "pretrain", "unlearn", "reference"],
            {"images": "data/images"},
            ["data/images: no image shard (*.parquet) found", "`i2i-unlearn data embedded"],
        ),
        (["unlearn", "reference"], {"splits": "artifacts/splits"}, ["make it with `i2i-unlearn split`"]),
        (
            ["unlearn", "reference"],
            {"teacher": "artifacts/teacher/model"},
            ["artifacts/teacher/model: no config.json in it", "give a model directory"],
        ),
        (["split"], {"hmac_key_file": "nothing.key"}, ["make one with `i2i-unlearn data key`"]),
    ],
    ids=["images", "split", "teacher", "key"],
)
def test_a_missing_input_is_told_with_what_brings_it(run, stages, options, told):
    for stage in stages:
        line = refused(run(stage, **options))
        for words in told:
            assert words in line


def test_a_request_that_does_not_exist_is_told(run, folder, taught, params_written):
    params_written(folder, taught, split={"requests": ["nobody"]})
    line = refused(run("split"))
    assert "nobody.yaml: no such forget request" in line
    assert "`i2i-unlearn request add`" in line


def test_an_interrupted_run_says_how_to_go_on(command_line, folder, taught):
    moment = {"event": "os.rename", "contains": ".safetensors", "signal": signal.SIGINT}
    arguments = ["pretrain", "--images", taught.images, "--out", "out"]
    ended = command_line(folder, *arguments, moment=moment)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "i2i-unlearn: stopped: run the same command again to continue"
    assert "Traceback" not in ended.err
    assert not (folder / "out").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
