"""Running a compiled package on this machine: its parameters, and how a stopped step is told."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kfp import compiler, dsl
from typer.testing import CliRunner

from i2i_unlearn.cli.main import app
from i2i_unlearn.pipeline.local.runner import (
    PIPELINES,
    compile_pipeline,
    outcome_lines,
    parse_params,
    read_package,
    run_package,
    without_retries,
)
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json
from tests.support.says import says

IMAGE = "i2i-unlearn:test"
ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "pipelines/unlearning.yaml"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def stop(kind: str, message: str, tries: str):
    from i2i_unlearn.support import errors

    print("said by the step")
    with open(tries, "a") as file:
        file.write("x")
    if kind:
        raise getattr(errors, kind)(message)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def last(status: dsl.PipelineTaskFinalStatus, out: str):
    with open(out, "w") as file:
        file.write(status.state)


@dsl.pipeline(name="tiny")
def tiny(kind: str = "", message: str = "", tries: str = "", out: str = "", number: int = 1, flag: bool = False):
    with dsl.ExitHandler(last(out=out)):
        stop(kind=kind, message=message, tries=tries).set_retry(3, backoff_duration="60s").set_caching_options(False)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("package") / "tiny.yaml"
    compiler.Compiler().compile(tiny, str(path))
    return path


def command(package: Path, folder: Path, **params: str) -> subprocess.CompletedProcess[str]:
    given = {"tries": str(folder / "tries"), "out": str(folder / "state"), **params}
    fields = [word for key, value in given.items() for word in ("--param", f"{key}={value}")]
    program = [sys.executable, "-m", "i2i_unlearn.cli.main", "pipeline", "run", "--package", str(package)]
    return subprocess.run(
        [*program, "--out", str(folder / "runs"), *fields], capture_output=True, text=True, check=False
    )


def without_seconds(text: str) -> list[str]:
    return re.sub(r"\d+\.\d s", "N s", text).splitlines()


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [("UserError", 1, "i2i-unlearn: error: wrong"), ("GateRefused", 3, "i2i-unlearn: refused: wrong")],
)
def test_a_refusal_is_one_line_after_the_steps_and_its_exit_code(package, tmp_path, kind, code, line):
    done = command(package, tmp_path, kind=kind, message="wrong")
    (log,) = (tmp_path / "runs").glob("*/log.txt")
    steps = ["stop: started", "stop: stopped after N s", "last: started", "last: done in N s"]
    assert without_seconds(done.stderr) == [f"log: {log}", *steps, line]
    assert (done.returncode, done.stdout) == (code, "")
    assert all(text in log.read_text() for text in ("said by the step", "Traceback", f"errors.{kind}: wrong"))
    assert (tmp_path / "state").read_text() == "FAILED"
    assert (tmp_path / "tries").read_text() == "x"  # not tried four times with pauses of minutes between


def test_a_run_that_succeeds_prints_its_steps_and_where_the_outputs_are(package, tmp_path):
    done = command(package, tmp_path)
    (log,) = (tmp_path / "runs").glob("*/log.txt")
    steps = ["stop: started", "stop: done in N s", "last: started", "last: done in N s"]
    assert without_seconds(done.stderr) == [f"log: {log}", *steps]
    assert done.stdout.startswith(f"outputs: {log.parent}")
    assert done.returncode == 0
    assert (tmp_path / "state").read_text() == "SUCCEEDED"


def test_a_step_that_crashes_is_named_with_its_log_and_only_then_a_traceback_is_shown(package, tmp_path, capsys):
    with pytest.raises(UserError, match=r"the step 'stop' crashed; .*log\.txt") as caught:
        run_package(package, ["kind=NoSuchError", f"tries={tmp_path}/tries", f"out={tmp_path}/state"], tmp_path)
    told = capsys.readouterr().err.splitlines()
    assert told.count("Traceback (most recent call last):") == 1
    assert told[-1] == "AttributeError: module 'i2i_unlearn.support.errors' has no attribute 'NoSuchError'"
    assert "\n" not in str(caught.value)


def test_runs_at_the_same_time_in_one_folder_do_not_meet(package, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: command(package, tmp_path), range(2)))
    said = {done.stdout for done in both}
    assert [done.returncode for done in both] == [0, 0]
    assert len(said) == 2
    assert len(list((tmp_path / "runs").glob("*/tiny-*/stop"))) == 2


# --- what a run says at its end ---


def test_the_end_says_verdict_version_evidence_and_promotion(tmp_path):
    line = {"name": "forgotten enough", "outcome": "fail", "decides": True, "by_rehearsal": False}
    verdict = {"outcome": "fail", "lines": [line], "preset": "", "asks": ""}
    write_json(tmp_path / "evaluate/evaluation/verdicts.json", {"deciding": "mine", "verdicts": {"mine": verdict}})
    for step, message in (("register", "faces version 2 registered (gate fail)"), ("evidence", "no key")):
        made = {step: {"artifacts": [{"name": step, "metadata": {"message": message}}]}}
        write_json(tmp_path / step / "executor_output.json", {"artifacts": made})
    assert list(outcome_lines(tmp_path)) == [
        "FAILED mine (0 of 1 lines). Not passed: forgotten enough.",
        "faces version 2 registered (gate fail)",
        "no key",
    ]
    assert list(outcome_lines(tmp_path / "evaluate")) == []


def test_a_package_older_than_the_settings_is_told(tmp_path):
    for folder in ("pipelines", "components", "mlflow/policies"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    settings = (ROOT / "params.yaml").read_text()
    assert "  requests: [digit-3]\n" in settings
    command = [sys.executable, "-m", "i2i_unlearn.cli.main", "pipeline", "submit", "--dry-run", "--host", "http://none"]
    told = []
    for text in (settings, settings.replace("[digit-3]", "[digit-3, digit-5]")):
        (tmp_path / "params.yaml").write_text(text)
        told.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert "older" not in told[0]
    expected = "older than the settings here (split.requests: ['digit-3'] there, ['digit-3', 'digit-5'] here)"
    assert expected in told[1]
    assert "pipeline compile" in told[1]


# --- stopping ---


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def long(number: int, folder: str):
    import os
    import subprocess
    import sys
    import time

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(f"{folder}/{number}.aside", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(f"{folder}/{number}.aside", f"{folder}/{number}.pids")
    time.sleep(60)


@dsl.pipeline(name="endless")
def endless(folder: str):
    with dsl.ParallelFor([1, 2, 3]) as number:
        long(number=number, folder=folder)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_step_outlives_the_run_whatever_ends_it(tmp_path, number):
    package = tmp_path / "endless.yaml"
    compiler.Compiler().compile(endless, str(package))
    words = ["pipeline", "run", "--package", package, "--out", tmp_path / "runs", "--param", f"folder={tmp_path}"]
    program = [sys.executable, "-m", "i2i_unlearn.cli.main", *map(str, words)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        wait_for(lambda: len(list(tmp_path.glob("*.pids"))) == 2, "two items of the loop run at once")
        run.send_signal(number)
        assert run.stderr is not None
        told = run.stderr.read()
    pids = [int(pid) for path in tmp_path.glob("*.pids") for pid in path.read_text().split()]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the steps and their children are gone")
    assert len(list(tmp_path.glob("*.pids"))) == 2  # the third was not begun
    if number != signal.SIGKILL:
        assert run.returncode == 130
        assert told.splitlines()[-1] == "i2i-unlearn: stopped: run the same command again to continue"


# --- parameters ---


@pytest.fixture(scope="module")
def spec() -> dict:
    return read_package(PACKAGE)


def test_values_get_the_types_of_the_form(spec):
    given = ["alpha=0.5", "num_steps=7", "requests=a,b", "images=s3://bucket/a=b", "accelerator_count=0"]
    assert parse_params(given, spec) == {
        "alpha": 0.5,
        "num_steps": 7,
        "requests": "a,b",
        "images": "s3://bucket/a=b",
        "accelerator_count": "0",  # text: Kubernetes reads it as a quantity
    }


def form_of(parameter_type):
    """A package whose form has one field, `field`."""
    return {"root": {"inputDefinitions": {"parameters": {"field": {"parameterType": parameter_type}}}}}


@pytest.mark.parametrize(
    ("parameter_type", "text", "value"),
    [("BOOLEAN", "false", False), ("STRUCT", '{"gpu": "a100"}', {"gpu": "a100"}), ("LIST", "[]", [])],
)
def test_a_package_of_another_project_may_have_fields_of_other_types(parameter_type, text, value):
    assert parse_params([f"field={text}"], form_of(parameter_type)) == {"field": value}


@pytest.mark.parametrize(
    ("parameter_type", "text", "words"),
    [
        ("BOOLEAN", "1", "expected true or false"),
        ("LIST", "{", "expected a list"),
        ("STRUCT", "[]", "expected a mapping"),
    ],
)
def test_a_wrong_value_of_another_type_is_told(parameter_type, text, words):
    with pytest.raises(UserError, match=words):
        parse_params([f"field={text}"], form_of(parameter_type))


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("alpha", "not of the form key=value"),
        ("alhpa=1", "did you mean alpha"),
        ("zzz=1", "known are"),
        ("alpha=much", "expected a number"),
        ("num_steps=1.5", "expected a whole number"),
        *((f"alpha={text}", "expected a finite number") for text in ("nan", "inf", "-Infinity", "1e999")),
        *((f"seed={seed}", "below 2^53") for seed in (2**53, -(2**53), 10**30)),
        ("requests={{$.inputs}}", "does not hand on {{"),
        ('requests=a"b', "does not hand on"),
        ("model=", "model='' is blank"),
        ("images= ", "images=' ' is blank"),
    ],
)
def test_a_wrong_parameter_is_one_line(spec, param, words):
    with says(UserError, words):
        parse_params([param], spec)


def test_retries_are_taken_out_at_every_depth(spec):
    assert "retryPolicy" in str(spec)
    assert "retryPolicy" not in str(without_retries(read_package(PACKAGE)))


def test_the_largest_seed_that_every_door_keeps(spec):
    assert parse_params([f"seed={2**53 - 1}"], spec) == {"seed": 9007199254740991}


# --- packages ---


def test_a_missing_package_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(UserError, match="i2i-unlearn pipeline compile"):
        read_package(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: 1", "pipelineInfo: {}\nroot: {}", "a: ["])
def test_a_file_that_is_no_package_is_refused(tmp_path, content):
    path = tmp_path / "other.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"other\.yaml"):
        read_package(path)


@pytest.mark.parametrize("name", PIPELINES)
def test_compile_outside_the_project_says_where_to_run_it(tmp_path, name):
    with says(UserError, "params.yaml", "run this from the project's folder"):
        compile_pipeline(tmp_path / "out.yaml", tmp_path, name)


def test_compiling_says_that_the_pipeline_shows_forget_images(tmp_path):
    told = CliRunner().invoke(app, ["pipeline", "compile", "--out", str(tmp_path / "out.yaml")]).output
    assert "show_forget_images is true" in told


@pytest.mark.parametrize("command", ["compile", "run"])
def test_help_has_an_example(command):
    assert f"Example: i2i-unlearn pipeline {command}" in CliRunner().invoke(app, ["pipeline", command, "--help"]).output
