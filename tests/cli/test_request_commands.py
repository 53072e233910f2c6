import json
import shutil
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from i2i_unlearn.cli.request import app
from i2i_unlearn.config.sections import load_params
from i2i_unlearn.data.filing import Champion
from i2i_unlearn.data.images.holdout import TRAIN, training_part
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.request import make_request, read_request, write_request
from i2i_unlearn.registry import requests as standing
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError
from tests.support.commands import lines_of
from tests.support.says import says

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run `i2i-unlearn request ...` in a project with 60 images of labels a, b, c; return its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("[digit-3]", "[]").replace("share: 0.11", "share: 1.0")
    )
    records = [Record(f"id-{i}", "abc"[i % 3], bytes([i]), subject="anna" if i < 4 else None) for i in range(60)]
    write_shards(records, tmp_path / "data/images", "s")
    (tmp_path / "data.dvc").touch()

    return partial(lines_of, app)


def test_adding_tells_what_was_selected_and_how_to_version_it(call):
    lines = call(
        "add", "anna-1", "--subject", "anna", "--received", "2026-01-31", "--basis", "asked", "--note", "by post"
    )
    assert lines == [
        "wrote data/forget/anna-1.yaml: it selects 4 images and is due 2026-02-28",
        "version it with:",
        "  dvc add data",
        "  git add data.dvc params.yaml",
        "  git commit -m 'Add forget request anna-1' -- data.dvc params.yaml",
        "Next: dvc repro",
    ]
    request = read_request("data/forget/anna-1.yaml")
    assert (request.basis, request.note, request.received) == ("asked", "by post", date(2026, 1, 31))
    assert load_params()["split"]["requests"] == ["anna-1"]


def test_a_request_is_received_today_unless_said_otherwise_and_may_say_what_becomes_of_near_copies(call):
    call("add", "r1", "--label", "a", "--near-duplicates", "include")
    request = read_request("data/forget/r1.yaml")
    assert (request.received, request.near_duplicates) == (date.today(), "include")
    assert not Path("mlflow.db").exists()  # nothing was registered: no database is made by looking


def test_labels_subjects_and_ids_add_up(call, tmp_path):
    (tmp_path / "ids").write_text("id-59\n")
    words = ("--label", "a", "--subject", "anna", "--sample-id", "id-4", "--sample-id", "id-5", "--ids-file", "ids")
    # a: 0, 3, 6 ... 57 (20); anna: 0 1 2 3, of which 1 and 2 are new; id-4, id-5, id-59 are new
    assert "it selects 25 images" in call("add", "r1", *words)[0]
    assert Path("data/forget/r1.ids.txt").read_text() == "id-59\n"


def test_a_request_for_more_than_the_largest_share_is_filed_only_where_that_is_said(call):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("share: 1.0", "share: 0.11"))
    with says(UserError, "'r1' takes", "training images", "request.largest_share=0.11", "--allow-large"):
        call("add", "r1", "--label", "a")
    assert not Path("data/forget").exists()
    call("add", "r1", "--label", "a", "--allow-large")
    call("add", "r2", "--sample-id", "id-59")


def test_images_that_are_forgotten_already_are_told(call, monkeypatch):
    monkeypatch.setattr(standing, "find_champion", lambda *_: Champion("2", "f" * 64, ("r1",)))
    index = read_index("data/images")
    trained = index.loc[training_part(index, holdout_fraction=0.2, seed=0) == TRAIN, ["sample_id", "label"]]
    first, second = trained.loc[trained["label"] == "a", "sample_id"][:2]
    other = trained.loc[trained["label"] == "b", "sample_id"].iloc[0]
    Path("data/forget").mkdir(parents=True)
    write_request(asked("r1", first, second), "data/forget/r1.yaml")
    with says(UserError, "'r2': its 1 images are forgotten already", "nothing to do"):
        call("add", "r2", "--sample-id", first)
    assert "forgotten before: 1 of these images" in call("add", "r3", "--sample-id", second, "--sample-id", other)


def asked(id_, *sample_ids):
    selector = {"sample_ids": sample_ids}
    return make_request(id=id_, received="2026-01-10", due="2026-02-10", basis="asked", selector=selector)


def test_a_later_last_day_needs_a_reason(call):
    words = ("add", "r1", "--label", "a", "--received", "2026-01-10", "--due", "2026-04-10")
    with pytest.raises(UserError, match="later than one month after 2026-01-10; give extension_reason"):
        call(*words)
    assert "due 2026-04-10" in call(*words, "--extension-reason", "many images")[0]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("add", "r1"), "selector give at least one of labels, subjects, sample_ids, ids_file"),
        (("add", "R 1", "--label", "a"), "id String should match pattern"),
        (("add", "r1", "--label", "zebra"), "label 'zebra' matches no image"),
        (("add", "r1", "--label", "a", "--label", "b", "--label", "c"), "selects all 60 images"),
        (
            ("add", "r1", "--sample-id", "id-5", "--sample-id", "id-7", "--sample-id", "id-5"),
            r"1 of 3 sample ids repeat an earlier one \(the first is entry 3: 'id-5'\); list each once",
        ),
        (("add", "r1", "--label", "a", "--label", "a"), "1 of 2 labels repeat an earlier one"),
        (("add", "r1", "--label", "a", "--near-duplicates", "burn"), "near_duplicates Input should be 'include'"),
        (("add", "r1", "--ids-file", "nowhere"), "nowhere: the ids file cannot be read"),
        (("add", "r1", "--label", "a", "--images", "elsewhere"), "elsewhere: no image shard"),
        (("add", "r1", "--label", "a", "--params", "other.yaml"), "other.yaml: no such file"),
        (("show", "r1"), "no such forget request; file it with `i2i-unlearn request add`"),
    ],
)
def test_every_fault_is_one_line_and_nothing_is_written(call, words, fault):
    params = Path("params.yaml").read_text()
    with pytest.raises(UserError, match=fault) as caught:
        call(*words)
    assert "\n" not in str(caught.value)
    assert Path("params.yaml").read_text() == params
    assert not list(Path("data").rglob("r1*"))


def test_a_second_request_moves_what_the_champion_has_forgotten(call, monkeypatch):
    call("add", "r1", "--label", "a")
    monkeypatch.setattr(standing, "find_champion", lambda *_: Champion("3", "e" * 64, ("r1",)))
    lines = call("add", "r2", "--label", "b")
    assert lines[1:3] == [
        "forgotten by the promoted model, now in split.erased: r1",
        "the next teacher: models:/digits-inpainter/3",
    ]
    params = load_params()
    assert (params["split"]["requests"], params["split"]["erased"]) == (["r2"], ["r1"])


def test_the_list_shows_overdue_requests_first(call):
    today = date.today()
    for name, label, days in (("late", "a", -40), ("fresh", "b", 0)):
        call("add", name, "--label", label, "--received", str(today + timedelta(days=days)))
    lines = call("list")
    assert lines[0].split() == ["request", "received", "due", "days", "left", "extended", "paused", "state"]
    assert lines[1].split()[0] == "late"
    assert lines[1].endswith("expired (active) OVERDUE")
    assert lines[2].endswith("open (active)")
    found = json.loads("\n".join(call("list", "--json")))
    assert [(one["id"], one["state"], one["active"], one["overdue"]) for one in found] == [
        ("late", "expired", True, True),
        ("fresh", "open", True, False),
    ]


def test_the_list_follows_the_registry(call, monkeypatch, tmp_path):
    """A real registry; the requests' files stay as they are."""
    from mlflow import MlflowClient

    for name, *which in (
        ("r1", "--label", "a"),
        ("r2", "--label", "b"),
        ("r3", *(["--sample-id", "id-2", "--sample-id", "id-5", "--sample-id", "id-8", "--sample-id", "id-11"])),
    ):
        call("add", name, *which)
    before = {path.name: path.read_bytes() for path in Path("data/forget").glob("*.yaml")}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient()
    client.create_registered_model("digits-inpainter")
    for tags in ({"requests": "r1", "gate": "pass"}, {"requests": "r2", "erased": "r1", "gate": "fail"}):
        client.create_model_version("digits-inpainter", f"{tmp_path}/none", tags=tags)

    def states():
        return {one["id"]: one["state"] for one in json.loads("\n".join(call("list", "--check", "--json")))}

    assert states() == {"r1": "gated", "r2": "not passed", "r3": "open"}
    client.set_registered_model_alias("digits-inpainter", "champion", "1")
    assert states() == {"r1": "promoted", "r2": "not passed", "r3": "open"}
    assert {path.name: path.read_bytes() for path in Path("data/forget").glob("*.yaml")} == before


def test_without_the_registry_the_list_says_what_it_does_not_know(call, monkeypatch):
    for name, label in (("r1", "a"), ("r2", "b")):
        call("add", name, "--label", label)
    with ledger.opened("promotions.jsonl") as record:
        moved = {"event": "promote", "model_name": "digits-inpainter", "version": "2", "erased": ""}
        record.append({**moved, "requests": "r1", "step": "intent", "id": "1", "replaced_version": "1"})
        record.append({**moved, "event": "done", "of": "1"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port `discard`: nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert [line.split()[0] + line.split("  ")[-1] for line in call("list")[1:]] == ["r2open (active)", "r1promoted"]
    lines = call("list", "--check")
    told = {line.split()[0]: line for line in lines}
    assert told["r1"].endswith("promoted")
    assert told["r2"].endswith("unknown (active)")
    assert any("unknown: r2" in line and "http://127.0.0.1:9" in line for line in lines)


def test_the_list_needs_neither_mlflow_nor_torch(call):
    """They take ten seconds to import."""
    call("add", "r1", "--label", "a")
    Path("mlflow.db").touch()
    program = (
        "import sys; from i2i_unlearn.cli.main import app; app(['request', 'list'], standalone_mode=False); "
        "print({'mlflow', 'torch'} & set(sys.modules))"
    )
    lines = subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    assert lines[1].startswith("r1")
    assert lines[-1] == "set()"


def test_show_counts_the_selected_images_by_label_and_part(call):
    call("add", "r1", "--subject", "anna", "--sample-id", "id-5")
    lines = call("show", "r1")
    assert "id: r1" in lines
    head = lines.index("label  train  holdout")
    counts = {row[0]: int(row[1]) + int(row[2]) for row in (line.split() for line in lines[head + 1 :])}
    assert counts == {"a": 2, "b": 1, "c": 2}  # 0 3, 1, 2 5


@pytest.fixture
def call_with_policies(call):
    shutil.copytree(ROOT / "mlflow/policies", "mlflow/policies")
    return call


def test_a_preview_tells_what_can_be_decided_and_writes_nothing(call_with_policies):
    before = Path("params.yaml").read_bytes()
    lines = call_with_policies("add", "one", "--sample-id", trained_id(), "--preview")
    assert "nothing was written" in lines[0]
    assert "data/forget/one.yaml" in lines[0]
    assert not Path("data/forget").exists()
    assert Path("params.yaml").read_bytes() == before
    told = "\n".join(lines)
    assert "as_unseen can decide with 1 forget" in told
    assert "5 images of forget needed, there is 1" in told
    assert "reference.count 3 adds: decides" in told
    assert "--accept-undecided" in lines[-2]


def test_adding_and_showing_tell_the_same_of_what_can_be_decided(call_with_policies):
    preview = json.loads("\n".join(call_with_policies("add", "all-a", "--label", "a", "--preview", "--json")))
    assert not preview["written"]
    added = json.loads("\n".join(call_with_policies("add", "all-a", "--label", "a", "--json")))
    assert added == {**preview, "written": True, "version_with": added["version_with"]}
    shown = json.loads("\n".join(call_with_policies("show", "all-a", "--json")))
    assert shown["can_be_decided"] == added["can_be_decided"]
    assert shown["images"] == added["images"]
    assert shown["images"]["forget"]["a"] + shown["images"]["forget_holdout"]["a"] == 20
    assert shown["selected"] == [
        {"label": "a", "train": shown["images"]["forget"]["a"], "holdout": shown["images"]["forget_holdout"]["a"]}
    ]
    assert any("as_unseen" in line for line in call_with_policies("show", "all-a"))


def test_requests_carried_out_together_are_judged_together(call_with_policies):
    call_with_policies("add", "all-a", "--label", "a")
    lines = call_with_policies("add", "anna-1", "--subject", "anna", "--near-duplicates", "keep", "--preview")
    assert any("together with: all-a" in line for line in lines)
    assert call_with_policies("add", "anna-1", "--subject", "anna")
    assert any("together with: all-a" in line for line in call_with_policies("show", "anna-1"))


def test_a_policy_that_is_not_known_stops_the_telling(call_with_policies):
    call_with_policies("add", "all-a", "--label", "a")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("policy: as_unseen", "policy: nobody"))
    with says(UserError, "evaluate.policy", "nobody", "as_unseen"):
        call_with_policies("show", "all-a")


def trained_id():
    index = read_index("data/images")
    holdout = load_params()["holdout_fraction"]
    trained = training_part(index, holdout_fraction=holdout, seed=load_params()["seed"]) == TRAIN
    return index[trained]["sample_id"].iloc[0]
