"""MAGE's public files. That the network computes as the original does: tests/models/test_vqgan_published.py."""

import json
from pathlib import Path

import pytest
import torch

from i2i_unlearn.models import load_model
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.mage import MageOptions, architecture_of, shapes_of
from i2i_unlearn.models.published.reading import Content
from i2i_unlearn.models.vqgan.mage_keys import UNUSED, is_unused, model_names
from i2i_unlearn.support.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden/mage"
HEADS = {"num_attention_heads": 4, "decoder_num_attention_heads": 8}


@pytest.fixture(scope="module")
def model():
    return convert_checkpoint(GOLDEN / "checkpoint.pth", HEADS).model


def test_the_sizes_are_those_of_the_configuration(model):
    published = json.loads((GOLDEN / "config.json").read_text())
    found = model.architecture
    assert (found.image_size, found.num_channels, found.patch_size) == (32, 3, 4)
    assert (found.num_codes, found.code_size) == (published["vqgan"]["n_embed"], published["vqgan"]["embed_dim"])
    assert found.tokenizer_multipliers == published["vqgan"]["ddconfig"]["ch_mult"]
    assert (found.num_hidden_layers, found.decoder_num_hidden_layers) == (2, 2)
    assert (found.num_classes, found.num_positions) == (1000, 257)
    assert model.transformer.first_id == published["fake_class_label"]
    assert model.transformer.mask_id == published["mask_token_label"]


def test_every_tensor_is_where_it_belongs_and_none_of_the_unused_is_left(model, tmp_path):
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)["model"]
    expected = model_names(state)
    ours = model.state_dict()
    assert ours.keys() == expected.keys()
    assert all(ours[name].equal(expected[name]) for name in ours)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model").state_dict()
    assert all(ours[name].equal(again[name]) for name in ours)


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


@pytest.fixture(scope="module")
def without_tokenizer(tmp_path_factory):
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)["model"]
    path = tmp_path_factory.mktemp("mage") / "mage.pth"
    torch.save({"model": {name: t for name, t in state.items() if not name.startswith("vqgan.")}}, path)
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_tokenizer_may_come_from_its_own_file_flat_or_wrapped(model, without_tokenizer, tmp_path, wrapped):
    state = torch.load(GOLDEN / "vqgan.ckpt", weights_only=True)
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "vqgan.ckpt")
    made = convert_checkpoint(without_tokenizer, {**HEADS, "tokenizer": str(tmp_path / "vqgan.ckpt")})
    assert made.notes == ["the tokenizer is that of vqgan.ckpt"]
    ours, theirs = model.state_dict(), made.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_the_models_own_tokenizer_wins_and_that_is_said(model, tmp_path):
    state = torch.load(GOLDEN / "vqgan.ckpt", weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "other.ckpt")
    made = convert_checkpoint(GOLDEN / "checkpoint.pth", {**HEADS, "tokenizer": str(tmp_path / "other.ckpt")})
    assert "holds its own tokenizer, which is taken" in made.notes[0]
    assert all(tensor.equal(made.model.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_model_without_a_tokenizer_and_a_tokenizer_alone_are_told_apart(without_tokenizer):
    with pytest.raises(UserError, match="holds no tokenizer; name its file: snapshot.checkpoint: {tokenizer: FILE}"):
        convert_checkpoint(without_tokenizer, HEADS)
    with pytest.raises(UserError, match="vqgan.ckpt: holds the tokenizer alone; give the model's file"):
        convert_checkpoint(GOLDEN / "vqgan.ckpt", HEADS)


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("mlm_layer.bias"), "mlm_layer.bias is missing"),
        (lambda state: state.pop("vqgan.decoder.conv_out.weight"), "vqgan.decoder.conv_out.weight is missing"),
        (lambda state: state.update(head=torch.zeros(2)), "head is left over"),
        (lambda state: state.update({"norm.weight": torch.zeros(3)}), "norm.weight is of another shape"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, told):
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)["model"]
    change(state)
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=told):
        convert_checkpoint(tmp_path / "x.pth", HEADS)


def test_what_no_computation_uses_may_be_missing(tmp_path, model):
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)["model"]
    assert any(name.startswith(UNUSED) for name in state)
    torch.save({"model": {name: tensor for name, tensor in state.items() if not is_unused(name)}}, tmp_path / "x.pth")
    made = convert_checkpoint(tmp_path / "x.pth", HEADS).model
    assert all(tensor.equal(made.state_dict()[name]) for name, tensor in model.state_dict().items())
