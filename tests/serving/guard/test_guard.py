"""The filter on a real project, with a real extractor."""

import datetime
import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.models import extractors
from i2i_unlearn.serving.guard import GUARD_VARIABLE, guard_from_environment, load_guard
from i2i_unlearn.serving.guard import make as stage
from i2i_unlearn.serving.guard.make import ALTERED, rate, threshold_for
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

TODAY = datetime.date(2026, 1, 15)  # between received and due of the tests' request


def make(project, out, *, requests="", today=TODAY, **changes):
    config = project.config("guard", **changes)
    return stage.run(
        project.images, project.splits, requests or project.requests, project.teacher, out, config, today=today
    )


@pytest.fixture(scope="session")
def made(taught, tmp_path_factory) -> tuple[Path, dict]:
    """A guard for every b of the tiny project, and what making it told."""
    out = tmp_path_factory.mktemp("guard") / "guard"
    return out, make(taught, out, false_alarms=0.1)


@pytest.fixture
def copied(made, tmp_path) -> Path:
    """A copy of the guard, to change."""
    return Path(shutil.copytree(made[0], tmp_path / "guard"))


def pixels_of(project, role: str) -> np.ndarray:
    rows = read_manifest(project.splits / "manifest.parquet").of(role)
    found = load_pixels(project.images, rows, image_size=(16, 16), num_channels=1, description="")
    return found.permute(0, 2, 3, 1).numpy()


def test_forget_images_are_refused_and_most_others_are_not(made, taught):
    guard = load_guard(made[0], TODAY)
    forget, others = pixels_of(taught, "forget"), pixels_of(taught, "retain_holdout")
    assert guard.refuses(forget, forget).all()
    assert guard.refuses(others, others).mean() <= 0.3
    # either look is enough
    assert guard.refuses(others[:5], forget[:5]).all()
    assert guard.refuses(forget[:5], others[:5]).all()


def test_the_rates_are_told_with_their_intervals(made):
    folder, told = made
    facts = json.loads((folder / "guard.json").read_text())
    rates = facts["measured"]
    assert set(rates) == {
        *("false alarms", "hits, as it is", "hits, crop", "hits, brightness", "hits, jpeg"),
        "hits, part to be filled is blank",
    }
    assert rates["hits, as it is"]["value"] == 1.0
    for one in rates.values():
        assert one["low"] <= one["value"] <= one["high"]
        assert one["num_images"] > 0
    assert rates["false alarms"]["low"] <= 0.1  # what was asked for is not ruled out
    assert (facts["requests"], facts["expires"]) == (["all-b"], "2026-02-01")
    assert "not unlearning" in facts["what"]
    assert "not unlearning" in told["what"]
    assert "images)" in told["false alarms"]


def test_the_folder_holds_no_pixels_ids_or_labels_and_is_for_its_owner(made, taught):
    folder, _ = made
    assert sorted(path.name for path in folder.iterdir()) == ["features.safetensors", "guard.json"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    tensors = load_file(folder / "features.safetensors")
    assert {name: tuple(one.shape[1:]) for name, one in tensors.items()} == {
        "forget": (1280,),
        "mean": (),
        "probe": (1280,),
    }
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [number for number in range(40) if f'b-{number}"'.encode() in content]
    for image in pixels_of(taught, "forget")[:5]:
        assert image.tobytes() not in content
        assert image[0].tobytes() not in content


def test_a_guard_ends_with_its_requests_whose_last_day_a_pause_moves(made, taught, tmp_path):
    assert stage.check(made[0], datetime.date(2026, 2, 1))["days_left"] == 0
    with says(UserError, "expired on 2026-02-01", "all-b", "--expires"):
        stage.check(made[0], datetime.date(2026, 2, 2))
    request = yaml.safe_load((Path(taught.requests) / "all-b.yaml").read_text())
    pause = {"since": "2026-01-05", "until": "2026-01-15", "reason": "waiting for an answer"}
    (tmp_path / "forget").mkdir()
    (tmp_path / "forget/all-b.yaml").write_text(yaml.safe_dump({**request, "paused": [pause]}))
    day = datetime.date(2026, 2, 12)  # one past the ten days
    for requests, last_day in ((taught.requests, "2026-02-01"), (tmp_path / "forget", "2026-02-11")):
        with says(UserError, f"would have expired on {last_day}", "--expires"):
            make(taught, tmp_path / "g", requests=requests, today=day)
    assert not (tmp_path / "g").exists()


def test_another_extractor_is_refused(made, monkeypatch):
    real = extractors.EXTRACTORS["efficientnet_lite0"]

    class Other:
        num_features = 1280

        def __init__(self, device):
            self.inner, self.logits = real(device), None

        def __call__(self, images_BCHW):
            return self.inner(images_BCHW.flip(3).roll(5, 2) * 0.5)

    monkeypatch.setitem(extractors.EXTRACTORS, "efficientnet_lite0", Other)
    with says(UserError, "guard: the installed extractor", "efficientnet_lite0", "make the guard again"):
        load_guard(made[0], TODAY)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 2}, ("schema version 2", "reads 1", "guard make")),
        ({"extractor_label": "clip@abc"}, ("not the one that the guard was made with", "clip@abc")),
        ({"surprise": 1}, ("the guard is damaged", "surprise")),
    ],
)
def test_a_changed_guard_is_one_line(copied, change, told):
    path = copied / "guard.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with says(UserError, *told):
        load_guard(copied, TODAY)


def test_damaged_missing_and_readable_guards_are_one_line(copied, tmp_path):
    with says(UserError, "nowhere: no guard", "i2i-unlearn guard make"):
        load_guard(tmp_path / "nowhere", TODAY)
    features = copied / "features.safetensors"
    features.chmod(0o644)
    with says(UserError, "features.safetensors", "readable by others", "chmod -R go="):
        load_guard(copied, TODAY)
    features.chmod(0o600)
    content = features.read_bytes()
    features.write_bytes(content[: len(content) // 2])
    with says(UserError, "the guard is damaged", "guard make"):
        load_guard(copied, TODAY)
    save_file({"mean": torch.zeros(3)}, features)
    features.chmod(0o600)
    with says(UserError, "the guard is damaged", "guard make"):
        load_guard(copied, TODAY)


def test_the_same_seed_makes_the_same_guard_and_a_lower_rate_refuses_no_more(made, taught, tmp_path):
    make(taught, tmp_path / "same", false_alarms=0.1)
    for name in ("guard.json", "features.safetensors"):
        assert (tmp_path / "same" / name).read_bytes() == (made[0] / name).read_bytes()
    make(taught, tmp_path / "loose", false_alarms=0.3)
    strict, loose = load_guard(made[0], TODAY), load_guard(tmp_path / "loose", TODAY)
    assert loose.facts.threshold <= strict.facts.threshold


def test_altered_copies_are_what_they_are_called():
    image = np.zeros((20, 20, 1), dtype=np.uint8)
    image[2:18, 2:18] = 100
    assert ALTERED["crop"](image).min() >= 85  # 80 %: the frame is cut off, bicubic leaves a trace of it
    assert ALTERED["brightness"](image).max() == 140
    jpeg = ALTERED["jpeg"](image)
    assert jpeg.shape == image.shape
    assert 0 < np.abs(jpeg.astype(int) - image).mean() < 20


# --- rates ---


def test_the_threshold_lets_through_all_but_the_share_that_was_asked_for():
    similarities = np.arange(100) / 100
    # 5 of 100 may be refused: 0.95 ... 0.99; refused is what lies above
    assert threshold_for(similarities, 0.05) == pytest.approx(0.94)
    assert (similarities > threshold_for(similarities, 0.05)).sum() == 5
    assert threshold_for(similarities, 0.009) == pytest.approx(0.99)
    equal = np.array([0.1] * 5 + [0.9] * 5)
    assert (equal > threshold_for(equal, 0.2)).mean() <= 0.2


def test_the_rate_of_nothing_has_the_rule_of_threes_interval():
    found = rate(np.zeros(300), 0.5)
    # exact: 1 - 0.025 ** (1 / 300) = 0.01222
    assert (found.value, found.low, found.num_images) == (0.0, 0.0, 300)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert rate(np.ones(4), 0.5).low == pytest.approx(0.025 ** (1 / 4))


def test_on_new_images_of_the_same_kind_the_rate_is_the_one_asked_for():
    rng = np.random.default_rng(0)
    threshold = threshold_for(rng.normal(size=20_000), 0.02)
    found = rate(rng.normal(size=20_000), threshold)
    assert found.value == pytest.approx(0.02, abs=0.004)
    assert found.low < found.value < found.high


def test_a_split_of_other_requests_is_refused(taught, tmp_path):
    config = taught.config("guard")
    inputs = (taught.images, taught.splits, taught.requests, taught.teacher, tmp_path / "guard", config)
    with says(UserError, f"{taught.splits}", "for the requests all-b", "split.requests", "all-c", "i2i-unlearn split"):
        stage.run(*inputs, today=TODAY, active=["all-c"])
    assert not (tmp_path / "guard").exists()


def test_a_guard_for_other_requests_or_another_model_is_named(copied, taught, monkeypatch, tmp_path):
    with says(UserError, f"{copied}", "all-b", "split.requests", "none"):
        stage.check(copied, TODAY, active=[])
    assert stage.check(copied, TODAY, active=["all-b"])["requests"] == "all-b"
    facts = json.loads((copied / "guard.json").read_text())
    (copied / "guard.json").write_text(json.dumps({**facts, "expires": "2999-01-01"}))
    monkeypatch.setenv(GUARD_VARIABLE, str(copied))
    assert guard_from_environment(taught.teacher) is not None
    other = shutil.copytree(taught.teacher, tmp_path / "other")
    (other / "config.json").write_text("{}")
    with says(UserError, f"{copied}", facts["model_sha256"][:12], "all-b", "is served", GUARD_VARIABLE):
        guard_from_environment(other)
