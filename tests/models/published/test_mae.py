"""MAE's public files: every tensor of the original implementation's run, forward and in gradients.

Inputs and outputs come from the original code (tests/golden/mae); tolerances are those that were measured with it.
"""

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models import load_model
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.mae import MaeOptions, config_of, places_of, shapes_of
from i2i_unlearn.models.published.reading import Content
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import ENCODER_ALONE, HEADS, changed, converted, file_of, same_weights, weights

GOLDEN = file_of("mae").parent
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PATCH = 4


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def model():
    return converted("mae")


@pytest.fixture(scope="module")
def images(io, model):
    """Pixels in [-1, 1] that the family normalises to the golden images."""
    return (io["images"] * model.deviation_C11 + model.mean_C11) * 2 - 1


def visible_of(io, case):
    """(B, H, W), True = kept."""
    return io[f"{case}.pixel_mask"][:, 0] == 0 if case != "full" else torch.ones(2, 32, 32, dtype=torch.bool)


def with_order(rows, io, case):
    """Ours are in raster order, class token first; the original's follow ids_keep."""
    if case == "full":
        return rows
    order = io[f"{case}.ids_keep"].argsort(1).argsort(1)  # the place of each kept patch among the sorted ones
    patches = rows[:, 1:].gather(1, order.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
    return torch.cat((rows[:, :1], patches), 1)


class Watched:
    """Outputs of modules while a pass runs."""

    def __init__(self, modules):
        self.seen = {}
        for name, module in modules.items():
            module.register_forward_hook(lambda m, given, found, name=name: self.seen.update({name: found}))


@pytest.mark.parametrize("case", ["full", "hole", "random"])
def test_the_encoders_output(io, model, images, case):
    with torch.no_grad():
        embedding = model.encode(images, visible_of(io, case))
    assert torch.allclose(with_order(embedding.maps[0], io, case), io[f"{case}.encoder_output"], **CLOSE)


@pytest.mark.parametrize("case", ["hole", "random"])
def test_every_layer_on_the_way(io, images, case, monkeypatch):
    from i2i_unlearn.models import mae

    model = converted("mae")
    seen, real = [], mae._block
    monkeypatch.setattr(
        mae, "_block", lambda layer, tokens, attend: seen.append((tokens, real(layer, tokens, attend))) or seen[-1][1]
    )
    with torch.no_grad():
        model.training_loss(images, visible_of(io, case), generator=torch.Generator())
    encoder, decoder = seen[:3], seen[3:]
    for number, (_, found) in enumerate(encoder):
        assert torch.allclose(with_order(found, io, case), io[f"{case}.encoder_block{number}"], **CLOSE)
    assert torch.allclose(decoder[0][0], io[f"{case}.decoder_input"], **CLOSE)
    assert len(decoder) == 2
    for number, (_, found) in enumerate(decoder):
        assert torch.allclose(found, io[f"{case}.decoder_block{number}"], **CLOSE)


@pytest.mark.parametrize("case", ["hole", "random"])
def test_prediction_reconstruction_completion_and_loss(io, model, images, case):
    visible = visible_of(io, case)
    with torch.no_grad():
        loss = model.training_loss(images, visible, generator=torch.Generator())
        embedding = model.encode(images, visible)
        predicted = model._predict(embedding, visible)
        painted = model.decode(embedding, visible)
        completed = model.complete(images, visible, generator=torch.Generator())
    assert torch.allclose(loss.mean(), io[f"{case}.loss"], **CLOSE)  # as many patches are hidden in each image
    assert torch.allclose(predicted, io[f"{case}.decoder_pred"], **CLOSE)
    reconstruction = (io[f"{case}.reconstruction"] * model.deviation_C11 + model.mean_C11) * 2 - 1
    assert torch.allclose(painted, reconstruction, **CLOSE)
    pasted = (io[f"{case}.pasted"] * model.deviation_C11 + model.mean_C11) * 2 - 1
    inside = visible.unsqueeze(1).expand_as(pasted)
    assert completed[inside].equal(images[inside])  # what is visible stays to the bit
    assert torch.allclose(completed[~inside], pasted.clamp(-1, 1)[~inside], **CLOSE)


def test_the_norm_of_every_gradient(io, images):
    model = converted("mae")
    model.training_loss(images, visible_of(io, "random"), generator=torch.Generator()).mean().backward()
    wanted = json.loads((GOLDEN / "grad_norms.json").read_text())
    config = model.model.config
    largest = max(value for value in wanted.values() if value is not None)
    ours = dict(model.model.named_parameters())
    assert set(wanted) <= set(places_of(config, has_decoder=True))
    for name, value in wanted.items():
        grads = [ours[place].grad for place in places_of(config, has_decoder=True)[name]]
        if value is None:
            assert grads == [None], name
        else:
            found = torch.cat([grad.flatten() for grad in grads]).norm().item()
            assert abs(found - value) <= 1e-3 * value + 1e-5 * largest, name


def test_normalised_patches_are_divided_by_the_unbiased_deviation(io, images):
    """Worked from the golden data: target patches, prediction and mask give the loss."""
    model = convert_checkpoint(file_of("mae"), {**HEADS, "norm_pix_loss": True}).model
    with torch.no_grad():
        found = model.training_loss(images, visible_of(io, "random"), generator=torch.Generator())
    target = io["target_patches"]
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, unbiased=True, keepdim=True) + 1e-6) ** 0.5
    per_patch = (io["random.decoder_pred"] - target).square().mean(-1) * io["random.mask"]
    assert torch.allclose(found, per_patch.sum(1) / io["random.mask"].sum(1), atol=1e-4, rtol=1e-4)


# --- the files ---


def test_the_training_scripts_file_gives_the_same_model_and_says_what_it_let_in():
    plain = convert_checkpoint(file_of("mae"), HEADS)
    training = convert_checkpoint(GOLDEN / "checkpoint_train.pth", HEADS)
    assert plain.notes == []
    assert training.notes == [
        "checkpoint_train.pth holds an object of argparse.Namespace, a plain container, which was let in"
    ]
    assert same_weights(plain.model, training.model)


def test_the_training_scripts_settings_tell_of_normalised_patches(tmp_path):
    state, _ = weights(file_of("mae"))
    for stored, given, expected in ((True, {}, True), (False, {}, False), (True, {"norm_pix_loss": False}, False)):
        torch.save({"model": state, "args": argparse.Namespace(norm_pix_loss=stored)}, tmp_path / "x.pth")
        model = convert_checkpoint(tmp_path / "x.pth", {**HEADS, **given}).model
        assert model.model.config.norm_pix_loss is expected


@pytest.mark.parametrize(("size", "entries"), [("vitb", 254), ("vitl", 398), ("vith", 494)])
@pytest.mark.parametrize("has_decoder", [True, False])
def test_the_real_sizes_leave_nothing_out_and_nothing_over(size, entries, has_decoder):
    keys = json.loads((GOLDEN / f"keys_{size}.json").read_text())
    assert len(keys) == entries
    if not has_decoder:
        keys = {name: shape for name, shape in keys.items() if not name.startswith("decoder_") and name != "mask_token"}
        assert len(keys) == entries - 104
    tensors = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    content = Content(Path("public.pth"), tensors, {})
    config = config_of(content, MaeOptions(), has_decoder=has_decoder)
    shapes = shapes_of(config, places_of(config, has_decoder=has_decoder))
    assert shapes == {name: tuple(shape) for name, shape in keys.items()}
    assert (config.image_size, config.patch_size) == (224, 14 if size == "vith" else 16)
    assert config.num_attention_heads == {"vitb": 12, "vitl": 16, "vith": 16}[size]
    if has_decoder:
        assert config.decoder_num_attention_heads == 16


# --- the encoder alone ---


def test_a_file_without_a_decoder_says_so_and_encodes_as_the_whole_one(io, model, images, tmp_path):
    file = changed("mae", tmp_path / "mae_pretrain_vit_tiny.pth", ENCODER_ALONE)
    made = convert_checkpoint(file, {"num_attention_heads": 4})
    assert "mae_pretrain_vit_tiny.pth holds no decoder" in made.notes[0]
    made.model.save(tmp_path / "model")
    for alone in (made.model, load_model(tmp_path / "model")):
        with torch.no_grad():
            found = alone.encode(images, visible_of(io, "hole")).maps[0]
            assert found.equal(model.encode(images, visible_of(io, "hole")).maps[0])
        assert not [name for name, _ in alone.named_parameters() if "decoder" in name]
        with pytest.raises(UserError, match="the model has no decoder"):
            alone.complete(images, visible_of(io, "hole"), generator=torch.Generator())
