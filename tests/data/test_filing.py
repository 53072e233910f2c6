import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from i2i_unlearn.config.sections import SplitConfig, load_params
from i2i_unlearn.data import filing
from i2i_unlearn.data.filing import Champion, Workspace, file_request
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.request import make_request, read_request, write_request
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

ROOT = Path(__file__).parents[2]
PARAMS = (ROOT / "params.yaml").read_text().replace("[digit-3]", "[first]")
MODEL = load_params(ROOT / "params.yaml")["register"]["model_name"]


def champion(*requests):
    return Champion("4", "f" * 64, requests)


def request(id_="second", **selector):
    return make_request(
        id=id_, received="2026-01-10", due="2026-02-10", basis="asked", selector=selector or {"labels": ["b"]}
    )


@pytest.fixture
def workspace(tmp_path):
    """60 images with labels a, b, c; the request `first` for label a is active."""
    records = [Record(f"id-{i}", "abc"[i % 3], bytes([i]), subject="ben" if i < 9 else None) for i in range(60)]
    write_shards(records, tmp_path / "data/images", "s")
    write_request(request("first", labels=["a"]), tmp_path / "data/forget/first.yaml")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Workspace(
        images=str(tmp_path / "data/images"), requests=tmp_path / "data/forget", params=tmp_path / "params.yaml"
    )


def contents(workspace):
    root = workspace.params.parent
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_request_is_written_and_active(workspace):
    filed = file_request(request(), workspace, None)
    assert (filed.num_selected, filed.moved, filed.source) == (20, (), "")
    assert read_request(workspace.requests / "second.yaml") == request()
    assert load_params(workspace.params)["split"]["requests"] == ["first", "second"]


def test_only_the_two_lists_and_the_teacher_change_in_params(workspace):
    file_request(request(), workspace, champion("first"))
    expected = PARAMS.replace("requests: [first]", "requests: [second]").replace("erased: []", "erased: [first]")
    expected = expected.replace("source: artifacts/original/model", f"source: models:/{MODEL}/4")
    assert workspace.params.read_text() == expected.replace('sha256: ""', f'sha256: "{"f" * 64}"')


def test_comments_and_quotes_of_changed_lines_stay():
    plan = filing._Plan(["second"], ["first"], ("first",))
    before = 'split:\n  requests: [first]  # now\n  erased: []\nsnapshot:\n  source: "a"  # frozen\n  sha256: "b"\n'
    after = 'split:\n  requests: [second] # now\n  erased: [first]\nsnapshot:\n  source: "m"  # frozen\n  sha256: "d"\n'
    assert filing.changed_params(before, plan, {"source": "m", "sha256": "d"}) == after


@pytest.mark.parametrize(
    ("forgotten", "requests", "erased", "moved"),
    [
        (["first"], ["second"], ["first"], ("first",)),
        ([], ["first", "second"], [], ()),
        (["first", "other"], ["second"], ["first", "other"], ("first",)),  # `other` was active on another branch
    ],
)
def test_what_the_champion_has_forgotten_becomes_erased_and_the_champion_the_teacher(
    workspace, forgotten, requests, erased, moved
):
    write_request(request("other", labels=["c"]), workspace.requests / "other.yaml")
    # What was said of a published file does not stay with the champion.
    of_file = PARAMS.replace("  checkpoint: {}", "  checkpoint: {num_attention_heads: 4}")
    assert of_file != PARAMS
    workspace.params.write_text(of_file)
    filed = file_request(request(subjects=["ben"]), workspace, champion(*forgotten))
    params = load_params(workspace.params)
    assert (params["split"]["requests"], params["split"]["erased"], filed.moved) == (requests, erased, moved)
    assert params["snapshot"] == {"source": f"models:/{MODEL}/4", "sha256": "f" * 64, "checkpoint": {}}
    assert filed.source == f"models:/{MODEL}/4"


def test_a_list_over_several_lines_keeps_its_comments(workspace):
    block = "requests:\n    # asked by phone\n    - first   # anna\n"
    workspace.params.write_text(PARAMS.replace("requests: [first]\n", block))
    file_request(request(), workspace, None)
    text = workspace.params.read_text()
    assert "# asked by phone" in text
    assert "# anna" in text
    assert load_params(workspace.params)["split"]["requests"] == ["first", "second"]


@pytest.mark.parametrize("id_", ["no", "yes", "on", "off", "null", "true", "12", "0x1f", "1_000", "2026-01-10"])
def test_an_id_that_yaml_takes_for_something_else_stays_an_id(workspace, id_):
    file_request(request(id_), workspace, None)
    assert SplitConfig.from_params(load_params(workspace.params)).requests == ["first", id_]
    # The next request reads and writes the same lists.
    file_request(request("third", subjects=["ben"]), workspace, champion(id_))
    config = SplitConfig.from_params(load_params(workspace.params))
    assert (config.requests, config.erased) == (["first", "third"], [id_])


def test_an_ids_file_is_copied_next_to_the_request_unless_entries_repeat(workspace, tmp_path):
    given, ids = request(ids_file="second.ids.txt"), tmp_path / "mine.txt"
    ids.write_text("id-1\nid-2\n\nid-2\nid-3\nid-1\n")
    before = contents(workspace)
    with says(UserError, "2 of 5 sample ids repeat", "entry 3", "'id-2'"):
        file_request(given, workspace, None, ids_file=ids)
    assert contents(workspace) == before
    ids.write_text("id-1\nid-2\n")
    assert file_request(given, workspace, None, ids_file=ids).num_selected == 2
    assert (workspace.requests / "second.ids.txt").read_text() == "id-1\nid-2\n"
    assert read_request(workspace.requests / "second.yaml").selector.wanted()["sample_id"] == ("id-1", "id-2")


REFUSED = {
    "matches nothing": (request(labels=["zebra"]), None, ("label 'zebra' matches no image", "a, b, c")),
    "matches everything": (request(labels=["a", "b", "c"]), None, ("all 60 images", "narrow the selector")),
    "leaves nothing to train on": (request(labels=["b", "c"]), None, ("every training image", "narrow the selectors")),
    "exists": (request("first"), None, ("first.yaml", "already exists", "choose another id")),
    "id used by the champion": (
        request("old"),
        champion("old"),
        ("'old' is already in use", "params.yaml", "promoted model", "choose another id"),
    ),
    "only what is erased": (
        request(labels=["a"]),
        champion("first"),
        ("its 20 images are forgotten already", "nothing to do"),
    ),
    "a forgotten request without its file": (request(), champion("lost"), ("lost.yaml", "request add")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_request_changes_nothing(workspace, case):
    given, champion, key_words = REFUSED[case]
    before = contents(workspace)
    with says(UserError, *key_words):
        file_request(given, workspace, champion)
    assert contents(workspace) == before


def test_wrong_params_change_nothing(workspace):
    workspace.params.write_text(PARAMS.replace("proxy_fraction: 0.0", "proxy_fraction: many"))
    before = contents(workspace)
    with says(UserError, "split.proxy_fraction='many'"):
        file_request(request(), workspace, None)
    assert contents(workspace) == before


def test_a_failing_write_of_params_takes_the_request_back(workspace, tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("id-1\n")
    before = contents(workspace)
    whole = filing.atomic_file

    def full_disk(path):
        if path == workspace.params:
            raise UserError("the disk is full")
        return whole(path)

    monkeypatch.setattr(filing, "atomic_file", full_disk)
    with says(UserError, "the disk is full"):
        file_request(request(ids_file="second.ids.txt"), workspace, None, ids_file=tmp_path / "mine.txt")
    assert contents(workspace) == before


def test_a_failure_leaves_files_alone_that_were_not_changed(workspace, monkeypatch):
    """On a full disk, writing params.yaml again would cut it off."""
    before = workspace.params.stat()
    monkeypatch.setattr(filing, "write_request", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        file_request(request(), workspace, None)
    after = workspace.params.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("preview", [False, True])
def test_a_request_whose_filing_was_killed_is_filed_by_the_same_call(workspace, preview):
    write_request(request(), workspace.requests / "second.yaml")  # killed before params.yaml was written
    with says(UserError, "second.yaml", "already exists", "differs", "received 2026-01-10"):
        file_request(request(labels=["c"]), workspace, None)
    file_request(request(), workspace, None, preview=preview)
    active = load_params(workspace.params)["split"]["requests"]
    assert active == (["first"] if preview else ["first", "second"])
    with says(UserError, "first.yaml", "already exists"):
        file_request(request("first", labels=["a"]), workspace, None)


def test_requests_that_are_filed_at_the_same_time_are_all_active(workspace):
    """The lock is per open file, so threads stand for processes here."""
    ids = [f"r{number}" for number in range(8)]
    with ThreadPoolExecutor(len(ids)) as pool:
        filings = [
            pool.submit(file_request, request(id_, sample_ids=[f"id-{7 + number}"]), workspace, None)
            for number, id_ in enumerate(ids)
        ]
    assert [filing.exception() for filing in filings] == [None] * len(ids)
    assert sorted(load_params(workspace.params)["split"]["requests"]) == ["first", *ids]


def test_a_failing_command_takes_everything_back(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no git repository, no DVC project
    before = contents(workspace)
    with says(UserError, "`dvc add", "nothing was changed", "not inside of a DVC rep"):
        file_request(request(), workspace, None, commit=True)
    assert contents(workspace) == before


def test_a_missing_program_is_told(monkeypatch):
    with says(UserError, "`no-such-program` is not installed", "--commit"):
        filing.run_all([["no-such-program", "add"]])


def test_a_commit_without_git_changes_nothing(workspace, monkeypatch):
    filing._dvc_files(workspace.requests)[0].touch()
    monkeypatch.setenv("PATH", "")
    before = contents(workspace)
    with says(UserError, "`git` is not installed", "--commit"):
        file_request(request(), workspace, None, commit=True)
    assert contents(workspace) == before


def test_the_commands_name_what_changes_and_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    requests, params = Path("data/forget"), Path("params.yaml")
    lines = [shlex.join(step) for step in filing.commands("x", requests, params)]
    assert lines == [
        "dvc add data",
        "git add data.dvc .gitignore params.yaml",
        "git commit -m 'Add forget request x' -- data.dvc .gitignore params.yaml",
    ]
    Path("data.dvc").touch()
    assert shlex.join(filing.commands("x", requests, params)[1]) == "git add data.dvc params.yaml"
