"""MAGE's public files. That the network computes as the original does: tests/models/test_vqgan_published.py."""

import json
from pathlib import Path

import pytest
import torch

from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.mage import MageOptions, architecture_of, shapes_of
from i2i_unlearn.models.published.reading import Content
from i2i_unlearn.models.vqgan.mage_keys import UNUSED, is_unused, model_names
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import HEADS, changed, converted, file_of, same_weights, weights, without

GOLDEN = file_of("mage").parent


@pytest.fixture(scope="module")
def model():
    return converted("mage")


@pytest.fixture
def without_tokenizer(tmp_path):
    """A file that holds no tokenizer."""
    return changed("mage", tmp_path / "mage.pth", without(r"vqgan\."))


def test_every_tensor_is_where_it_belongs_and_none_of_the_unused_is_left(model):
    assert same_weights(model, model_names(weights(file_of("mage"))[0]))


def test_the_tokenizer_does_not_train(model):
    assert not any(parameter.requires_grad for parameter in model.tokenizer.parameters())
    assert any(parameter.requires_grad for _, parameter in model.encoder_parameters())


@pytest.mark.parametrize(("size", "entries"), [("vitb", 433), ("vitl", 577)])
def test_the_real_sizes_leave_nothing_out_and_nothing_over(size, entries):
    keys = json.loads((GOLDEN / f"keys_{size}.json").read_text())
    assert len(keys) == entries
    tensors = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    architecture = architecture_of(Content(Path("public.pth"), tensors, {}), MageOptions())
    wanted = shapes_of(architecture)
    assert wanted == {name: tuple(shape) for name, shape in keys.items() if not is_unused(name)}
    assert (architecture.image_size, architecture.patch_size) == (256, 16)
    assert architecture.num_attention_heads == {"vitb": 12, "vitl": 16}[size]
    tokenizer = json.loads((GOLDEN / "keys_vqgan.json").read_text())
    assert {f"vqgan.{name}" for name in tokenizer} == {name for name in wanted if name.startswith("vqgan.")}


# --- the tokenizer in a file of its own ---


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_tokenizer_may_come_from_its_own_file_flat_or_wrapped(model, without_tokenizer, tmp_path, wrapped):
    state = torch.load(GOLDEN / "vqgan.ckpt", weights_only=True)
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "vqgan.ckpt")
    made = convert_checkpoint(without_tokenizer, {**HEADS, "tokenizer": str(tmp_path / "vqgan.ckpt")})
    assert made.notes == ["the tokenizer is that of vqgan.ckpt"]
    assert same_weights(model, made.model)


def test_the_models_own_tokenizer_wins_and_that_is_said(model, tmp_path):
    state = torch.load(GOLDEN / "vqgan.ckpt", weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "other.ckpt")
    made = convert_checkpoint(file_of("mage"), {**HEADS, "tokenizer": str(tmp_path / "other.ckpt")})
    assert "holds its own tokenizer, which is taken" in made.notes[0]
    assert same_weights(model, made.model)


def test_a_model_without_a_tokenizer_and_a_tokenizer_alone_are_told_apart(without_tokenizer):
    with pytest.raises(UserError, match="holds no tokenizer; name its file: snapshot.checkpoint: {tokenizer: FILE}"):
        convert_checkpoint(without_tokenizer, HEADS)
    with pytest.raises(UserError, match="vqgan.ckpt: holds the tokenizer alone; give the model's file"):
        convert_checkpoint(GOLDEN / "vqgan.ckpt", HEADS)


def test_what_no_computation_uses_may_be_missing(tmp_path, model):
    assert any(name.startswith(UNUSED) for name in weights(file_of("mage"))[0])
    used = changed("mage", tmp_path / "x.pth", lambda state: {n: t for n, t in state.items() if not is_unused(n)})
    assert same_weights(model, convert_checkpoint(used, HEADS).model)
