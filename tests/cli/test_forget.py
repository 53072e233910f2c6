"""The command `forget` up to where stages run; test_demo.py has the rest."""

import json
from functools import partial
from pathlib import Path

import pytest

from i2i_unlearn.cli.main import app
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.support.errors import UserError
from tests.support.commands import lines_of
from tests.support.says import says

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run `i2i-unlearn ...` in a folder with 200 images of labels a and b; return its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    text = (ROOT / "params.yaml").read_text().replace("[digit-3]", "[]").replace("search: true", "search: false")
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "mlflow").symlink_to(ROOT / "mlflow")
    records = [Record(f"id-{i}", "ab"[i % 2], bytes([i]), subject="anna" if i < 8 else None) for i in range(200)]
    write_shards(records, tmp_path / "data/images", "s")
    return partial(lines_of, app)


def written(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".parquet"}


def test_a_preview_says_what_a_request_takes_along_and_writes_nothing(call, tmp_path):
    before = written(tmp_path)
    lines = call("forget", "w-1", "--subject", "anna", "--preview")
    assert written(tmp_path) == before
    taken = int(lines[0].split("takes ")[1].split()[0])
    assert lines[0].startswith("Nothing was filed. Request w-1 takes")
    shares = [line for line in lines if "of its" in line]
    # anna has eight images, half of each label; those that were held out are not taken
    assert f"subject anna: {taken} of its {taken} training images (100%)" in shares
    assert sum(int(line.split(": ")[1].split()[0]) for line in shares if line.startswith("label")) == taken
    assert "near-copies: not searched for (split.near_duplicates.search is false)" in lines
    assert "time: not known yet: nothing is recorded here of unlearn, reference, evaluate" in lines
    assert lines[-1].startswith("policy as_unseen")


def test_the_time_of_a_preview_rests_on_what_was_recorded(call, tmp_path):
    recorded = {"unlearned": (110, 20.0), "reference/1": (1500, 70.0), "evaluation": (None, 40.0)}
    for name, (steps, seconds) in recorded.items():
        (tmp_path / "artifacts" / name).mkdir(parents=True)
        summary = {"seconds": seconds} | ({"steps": steps} if steps else {})
        (tmp_path / "artifacts" / name / "summary.json").write_text(json.dumps(summary))
    # 220 steps are twice as long as 110; unlearning (40 s) and retraining (70 s) run side by side: 70 + 40
    line = next(line for line in call("forget", "w-1", "--sample-id", "id-3", "--preview") if line.startswith("time"))
    assert line == "time: about 2 min, as it took here last (unlearn 40 s, reference 70 s, evaluate 40 s)"


def test_a_request_that_takes_much_is_refused_before_anything_is_written(call, tmp_path):
    before = written(tmp_path)
    with says(UserError, "'w-1' takes", "request.largest_share=0.11", "--allow-large"):
        call("forget", "w-1", "--label", "a")
    assert written(tmp_path) == before


def test_another_request_under_the_same_id_is_refused(call):
    call("request", "add", "w-1", "--sample-id", "id-3", "--basis", "asked")
    for words in (("--sample-id", "id-4", "--basis", "asked"), ("--sample-id", "id-3", "--basis", "another")):
        with says(UserError, "w-1.yaml", "another", "choose another id", "i2i-unlearn forget w-1"):
            call("forget", "w-1", *words)
    with says(UserError, "w-1 is filed already", "request show w-1"):
        call("forget", "w-1", "--preview")


def test_the_same_request_goes_on_with_what_is_filed(call):
    call("request", "add", "w-1", "--sample-id", "id-3", "--basis", "asked", "--received", "2026-01-10")
    filed = Path("data/forget/w-1.yaml").read_bytes()
    with says(UserError, "no DVC project", "i2i-unlearn init"):  # as far as it gets here
        call("forget", "w-1", "--sample-id", "id-3", "--basis", "asked")
    assert Path("data/forget/w-1.yaml").read_bytes() == filed
