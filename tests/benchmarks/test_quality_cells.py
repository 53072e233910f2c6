"""What the quality benchmark computes, and what it does not compute again."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality import execute, scoring
from benchmarks.quality.__main__ import main
from benchmarks.quality.cells import Cell, Store
from benchmarks.quality.code_digest import PACKAGE, code_digest
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.method.objectives.encoder_l2 import encoder_l2
from i2i_unlearn.models import FAMILIES
from i2i_unlearn.support.errors import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = ["--data", "digits", "--tiny", "--families", "mae", "--operators", "hole_1_2", "--requests", "digit-3"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Cache and report of a tiny benchmark with one objective and two seeds, all computed."""
    folder = tmp_path_factory.mktemp("quality")
    assert run(folder, "--objectives", "encoder_l2", "--seeds", "0,1") == 0
    return folder


def run(folder, *options):
    os.chdir(ROOT)
    places = ["--workers", "0", "--cache", str(folder / "cache"), "--out", str(folder / "out")]
    return main([*SMALL, *places, *options])


def finished(folder, kind="*"):
    """Cells and when each was finished."""
    return {path.parent: path.stat().st_mtime_ns for path in (folder / "cache").glob(f"{kind}/*/cell.json")}


def test_the_report_has_every_row_asked_for_and_its_plots(world):
    page = (world / "out/digits/README.md").read_text()
    for title in (
        "Paper's layout",
        "Scores",
        "Nearness to the reference",
        "equal retain damage",
        "place of the retain",
    ):
        assert title in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for name in ("original", "reference", "encoder_l2 alpha 0.1", "encoder_l2 alpha 1"):
        assert any(row.startswith(f"| {name} |") for row in rows), name
    assert any("| proxy |" in row for row in rows)
    assert "python -m benchmarks.quality --data digits" in page
    for name in ("front-mae.png", "nearness-mae.png"):
        assert (world / "out/digits" / name).read_bytes().startswith(b"\x89PNG")


def test_the_csv_holds_every_number_once(world):
    with (world / "out/digits/scores.csv").open(newline="") as file:
        keys = [tuple(row[:10]) for row in list(csv.reader(file))[1:]]
    assert len(set(keys)) == len(keys)
    assert ("digits", "mae", "hole_1_2", "digit-3", "main", "real", "original", "", "retain", "hole_psnr_db") in keys


def test_a_second_run_computes_nothing_and_writes_the_same_tables(world, monkeypatch):
    def refuse(job):
        raise AssertionError(f"{job.kind} computed again")

    before, page = finished(world), (world / "out/digits/README.md").read_text()
    monkeypatch.setattr(execute, "compute", refuse)
    assert run(world, "--objectives", "encoder_l2", "--seeds", "0,1") == 0
    assert finished(world) == before
    assert (world / "out/digits/README.md").read_text() == page


def test_an_added_objective_computes_its_own_cells_alone(world, monkeypatch):
    def doubled(settings):
        return encoder_l2(replace(settings, alpha=2 * settings.alpha))

    before = finished(world)
    monkeypatch.setitem(OBJECTIVES, "encoder_l2_doubled", doubled)
    monkeypatch.setattr("benchmarks.quality.plan._file_of_objective", lambda name: "method/objectives/encoder_l2.py")
    assert run(world, "--objectives", "encoder_l2,encoder_l2_doubled", "--seeds", "0,1") == 0
    new = set(finished(world)) - set(before)
    assert {path: when for path, when in finished(world).items() if path in before} == before
    assert {path.parent.name for path in new} == {"unlearn", "score"}
    assert len(new) == 4  # one setting, two seeds, their scores


def test_a_failing_cell_is_named_and_the_rest_goes_on(world, tmp_path, monkeypatch, capsys):
    def broken(settings):
        raise UserError("broken on purpose")

    monkeypatch.setitem(OBJECTIVES, "broken", broken)
    monkeypatch.setattr("benchmarks.quality.plan._file_of_objective", lambda name: "method/objectives/encoder_l2.py")
    (tmp_path / "cache").symlink_to(world / "cache")
    assert run(tmp_path, "--objectives", "broken,encoder_l2", "--seeds", "0,1") == 2
    told = capsys.readouterr().err
    assert "digits mae hole_1_2 digit-3 broken alpha 0.25 real, seed 0: broken on purpose" in told
    page = (tmp_path / "out/digits/README.md").read_text()
    assert "broken on purpose" in page
    assert "| encoder_l2 alpha 0.1 |" in page


def test_a_killed_benchmark_goes_on_with_what_it_had(tmp_path):
    command = [sys.executable, "-m", "benchmarks.quality", *SMALL, "--objectives", "encoder_l2", "--seeds", "0"]
    command += ["--workers", "1", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not finished(tmp_path, "teacher") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    before = finished(tmp_path)
    assert before
    assert not (tmp_path / "out").exists()
    assert run(tmp_path, "--objectives", "encoder_l2", "--seeds", "0") == 0
    after = finished(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


def test_one_seed_gives_a_report_without_intervals(world):
    assert run(world, "--objectives", "encoder_l2", "--seeds", "0", "--only-report") == 0


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--objectives", "nothing", "--objectives: 'nothing' is not known here; choose among:"),
        ("--families", "gan", "--families: 'gan' is not known here; choose among: mae"),
        ("--seeds", "one", "--seeds one: must be whole numbers separated by commas"),
    ],
)
def test_a_wrong_option_is_one_line(world, capsys, option, value, told):
    assert run(world, option, value) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


# --- keys ---


def cell(code="1", **content):
    return Cell("unlearn", "digits mae", content, code)


def test_settings_and_code_decide_the_key(tmp_path):
    store = Store(tmp_path)
    key = store.key(cell(alpha=1))
    assert store.key(cell(alpha=1)) == key
    assert store.key(cell(alpha=2)) != key
    assert store.key(cell("2", alpha=1)) != key


def test_another_teacher_makes_everything_after_it_anew(tmp_path):
    store = Store(tmp_path)
    one, two = (Cell("unlearn", "", {}, "", {"teacher": cell(code)}) for code in ("1", "2"))
    assert store.key(one) != store.key(two)


def test_a_cell_of_older_code_is_taken_if_asked_for_even_where_a_setting_was_added_since(tmp_path):
    Store(tmp_path).finish(cell("old", alpha=1), {"wall_s": 1.0})
    strict, lenient = Store(tmp_path), Store(tmp_path, accept_older_code=True)
    assert not strict.is_done(cell("new", alpha=1))
    assert lenient.is_done(cell("new", alpha=1, gain=4))
    assert not lenient.is_done(cell("new", alpha=2))
    assert len(lenient.accepted) == 1


def test_comments_and_docstrings_are_no_code(tmp_path):
    plain, told = tmp_path / "a" / "x.py", tmp_path / "b" / "x.py"
    for path, text in ((plain, "y = 1\n"), (told, '"""Says."""\ny = 1  # why\n')):
        path.parent.mkdir()
        path.write_text(text)
    other = tmp_path / "x.py"
    other.write_text("y = 2\n")
    assert code_digest(beside=[plain]) == code_digest(beside=[told]) != code_digest(beside=[other])


def test_every_family_and_every_score_depends_on_the_code_it_runs():
    with_engine, without = code_digest("training/engine.py"), code_digest("models/operators.py")
    assert with_engine != without
    for dotted in FAMILIES.values():
        path = PACKAGE.parent.joinpath(*dotted.partition(":")[0].split(".")).with_suffix(".py")
        assert path.is_file()


def test_an_operator_that_hides_other_pixels_in_every_image_is_refused(world):
    content = {"operator": {"operator": "free_form", "keep_fraction": 0.7}, "operator_patch_size": 7}
    with pytest.raises(UserError, match="free_form"):
        scoring.score("", Path(), Path(), Path(), content, Path())
