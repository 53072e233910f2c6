"""Unlearning with adapters through the stage: which weights change, that it forgets, and that it resumes."""

import pytest

from i2i_unlearn.method.adapters import quarantine
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import snapshot
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from tests.models.published.files import OPTIONS, file_of
from tests.support.measured import error_growth, interrupt_unlearning

SETTINGS = {"scope": "lora", "learning_rate": 0.01}
"""Few weights want larger steps."""


@pytest.fixture(scope="module")
def quarantined(taught, tmp_path_factory):
    """Folder of the unlearned model, and its summary."""
    out = tmp_path_factory.mktemp("lora") / "out"
    return out, taught.unlearn(out, **SETTINGS)


def changed(before, after):
    one, other = load_model(before).state_dict(), load_model(after).state_dict()
    assert list(one) == list(other)
    return {name for name in one if not one[name].equal(other[name])}


def test_of_the_encoder_only_those_weights_change(taught, quarantined):
    names = changed(taught.teacher, quarantined[0] / "model")
    encoder = {name for name, parameter in load_model(taught.teacher).encoder_parameters() if parameter.requires_grad}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names} == {"o_proj", "fc1", "fc2"}
    assert len(names) == 6  # in each of two layers
    assert names < encoder
    assert quarantined[1]["scope"] == "lora"


def test_it_forgets_and_keeps_the_rest(taught, quarantined):
    moved = error_growth(taught, quarantined[0] / "model", ("forget", "retain"))
    assert moved["forget"] > 1.5
    assert moved["retain"] < moved["forget"] / 1.3


def test_an_interrupted_run_ends_with_the_same_bytes(taught, quarantined, tmp_path, monkeypatch):
    interrupt_unlearning(monkeypatch, 26)
    with pytest.raises(KeyboardInterrupt):
        taught.unlearn(tmp_path / "out", **SETTINGS)
    summary = taught.unlearn(tmp_path / "out", **SETTINGS)
    assert summary["resumed_from_step"] == 20
    assert summary["model_sha256"] == quarantined[1]["model_sha256"] == digest_folder(tmp_path / "out/model")


@pytest.mark.parametrize("family", ["mage", "palette"])
def test_the_other_families_do_it_too(taught, family, tmp_path):
    config = taught.config("snapshot", source=str(file_of(family)), checkpoint=OPTIONS[family])
    snapshot.run(tmp_path / "t", config)
    for out in ("one", "again"):
        taught.unlearn(
            tmp_path / out, teacher=tmp_path / "t/model", scope="lora", objective="encoder_l2", alpha=1.0,
            num_steps=3, batch_size=4, num_noise_draws=2, precision="bf16",
        )  # fmt: skip
    names = changed(tmp_path / "t/model", tmp_path / "one/model")
    teacher = load_model(tmp_path / "t/model")
    assert names < {name for name, _ in teacher.encoder_parameters()}
    assert digest_folder(tmp_path / "one/model") == digest_folder(tmp_path / "again/model")


@pytest.mark.parametrize("objective", ["max_loss", "ascent_repair", "epsilon_constraint"])
def test_other_objectives_keep_to_those_weights(taught, objective, tmp_path):
    # Two of them train everything by themselves.
    taught.unlearn(tmp_path / "out", scope="lora", objective=objective, alpha=1.0, num_steps=4, first_phase=0.5)
    names = changed(taught.teacher, tmp_path / "out/model")
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names} == {"o_proj", "fc1", "fc2"}


def test_ranks_decide_nothing_where_there_are_no_adapters(taught):
    def digest(**changes):
        return taught.config("unlearn", **changes).digest()

    assert digest() == digest(lora_rank=3) == digest(lora_alpha=5)
    assert digest(scope="lora") != digest(scope="lora", lora_rank=3) != digest(scope="lora", lora_alpha=5)


def test_wrong_settings_are_one_line(taught):
    with pytest.raises(UserError, match=r"unlearn.lora_rank=0: .*; unlearn.lora_alpha=-1"):
        taught.config("unlearn", lora_rank=0, lora_alpha=-1)
    with pytest.raises(UserError, match=r"unlearn.scope='few'"):
        taught.config("unlearn", scope="few")


def test_what_a_quarantine_is_not_is_said_of_it_alone():
    assert "can restore the original by subtraction" in quarantine("lora")
    assert [quarantine(other) for other in ("auto", "encoder", "all", None)] == [None] * 4


@pytest.mark.slow
def test_two_processes_do_as_one_does(taught, tmp_path):
    # Each makes its own adapters: from the same seed, so they are the same.
    settings = {**SETTINGS, "num_steps": 6}
    taught.unlearn(tmp_path / "one", **settings)
    taught.unlearn(tmp_path / "two", num_processes=2, **settings)
    before, one, two = (
        load_model(folder).state_dict() for folder in (taught.teacher, tmp_path / "one/model", tmp_path / "two/model")
    )
    moved = sum(float((one[name] - before[name]).square().sum()) for name in one) ** 0.5
    apart = sum(float((one[name] - two[name]).square().sum()) for name in one) ** 0.5
    assert apart < 1e-3 * moved
