import hashlib
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def append(path: Path, **record: object) -> dict[str, object]:
    with ledger.opened(path) as opened:
        return opened.append(record)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "promotions.jsonl"
    for number in range(3):
        append(path, version=str(number))
    return path


def test_records_come_back_in_order_and_each_line_holds_the_digest_of_the_line_before(path):
    records = ledger.read(path)
    assert [record["version"] for record in records] == ["0", "1", "2"]
    assert all(record["schema_version"] == 2 and record["time"].endswith("+00:00") for record in records)
    lines = path.read_bytes().splitlines()
    claimed = [record["previous_sha256"] for record in records]
    assert claimed == ["", *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]
    append(path, version="3")
    assert path.read_bytes().splitlines()[:3] == lines
    assert ledger.read(path.parent / "none.jsonl") == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda lines: [lines[0].replace(b'"0"', b'"9"'), *lines[1:]], "line 2 does not follow"),
        (lambda lines: [lines[0], lines[2]], "line 2 does not follow"),
        (lambda lines: lines[1:], "line 1 does not follow"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1 does not follow"),
        (lambda lines: [*lines, b"{}\n"], "line 4 does not follow"),
        (lambda lines: [*lines, b"no json\n"], "line 4 is not valid JSON"),
        (lambda lines: [*lines[:2], lines[2].rstrip(b"\n")], "last line is not complete"),
    ],
    ids=["changed", "removed", "beginning cut off", "swapped", "added by hand", "garbage", "torn"],
)
def test_tampering_shows_and_stops_the_next_promotion(path, damage, found):
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    damaged = path.read_bytes()
    with pytest.raises(UserError, match=found):
        ledger.read(path)
    with pytest.raises(UserError, match=found):
        append(path, version="3")
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("version", [1, 3])
def test_a_record_of_another_program_is_refused(tmp_path, version):
    path = tmp_path / "promotions.jsonl"
    path.write_text(f'{{"schema_version": {version}, "previous_sha256": ""}}\n')
    with says(UserError, "promotions.jsonl", "line 1", f"schema_version {version}", "2", "i2i-unlearn"):
        ledger.read(path)


def test_writers_at_the_same_time_wait_for_each_other(path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(path, version=str(number)), range(3, 40)))
    assert sorted(int(record["version"]) for record in ledger.read(path)) == list(range(40))


def test_full_disk_adds_nothing(path):
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(UserError, match="disk is full"):
            append(path, version="3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path):
    with says(UserError, "promotions.jsonl", "cannot be written", "promote.ledger"):
        append(tmp_path / "no" / "promotions.jsonl", version="0")


# --- verify ---


def test_verify_tells_the_number_of_lines_and_the_newest_ones_digest(path):
    newest = hashlib.sha256(path.read_bytes().splitlines()[-1]).hexdigest()
    assert ledger.verify(path) == (3, newest)
    assert ledger.verify(path.parent / "none.jsonl") == (0, "")


def test_a_kept_digest_finds_what_was_cut_off_or_rewritten(path):
    _, kept = ledger.verify(path)
    append(path, version="3")
    assert ledger.verify(path, kept)[0] == 4  # the record may grow
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert ledger.verify(path)[0] == 2  # a whole chain: without the digest nothing is found
    with says(UserError, "promotions.jsonl", f"no line has the sha256 {kept}", "restore"):
        ledger.verify(path, kept)
    append(path, version="another")
    with says(UserError, "no line has the sha256"):
        ledger.verify(path, kept)
