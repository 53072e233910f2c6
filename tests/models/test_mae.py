import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models import family_named, load_architecture, load_model
from i2i_unlearn.models.mae import MaskedAutoencoder, _block
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.support.errors import UserError
from tests.models.samples import (
    MAE,
    completed,
    edit_json,
    edit_tensors,
    encoded,
    generator,
    masks,
    ragged_masks,
    refused,
    some_images,
)

# --- what a new model holds ---


def sine_table(width, side):
    """(side^2, width): MAE's table for a square grid: sines and cosines of the column, then of the row."""
    frequencies = 1 / 10000 ** (np.arange(width // 4) / (width // 4))
    return np.array(
        [
            [f(place * frequency) for place in (column, row) for f in (math.sin, math.cos) for frequency in frequencies]
            for row in range(side)
            for column in range(side)
        ]
    )


def test_a_new_model_knows_where_patches_are_in_encoder_and_decoder(tiny_model):
    model = tiny_model(decoder_hidden_size=16).model
    for table, width in ((model.vit.embeddings.position_embeddings, 32), (model.decoder.decoder_pos_embed, 16)):
        assert not table.requires_grad
        assert torch.allclose(table[0, 1:], torch.from_numpy(sine_table(width, 4)).float(), atol=1e-6)
        assert bool((table[0, 0] == 0).all())  # the class token has no place


def test_a_new_model_has_no_tensor_of_zeros_but_biases(tiny_model):
    zero = {name for name, tensor in tiny_model().state_dict().items() if not tensor.any()}
    assert all(name.endswith(".bias") for name in zero)


# --- encoder and decoder against the library ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_centre_hole_equals_the_librarys_own_forward(tiny_model, channels, norm_pix_loss, qkv_bias):
    ours = tiny_model(num_channels=channels, norm_pix_loss=norm_pix_loss, qkv_bias=qkv_bias)
    library = ours.model
    images, visible = some_images(5, channels), masks("center_hole", 5)
    # The library keeps int(L * (1 - mask_ratio)) patches, those of the smallest noise: 4 of 16 patches are hidden.
    hidden_patches = ~visible[:, ::4, ::4].flatten(1)
    library.config.mask_ratio = (4 - 0.5) / 16
    noise = 1000.0 * hidden_patches + torch.arange(16)
    pixels = (images + 1) / 2 * 2 - 1  # ours are made with mean and deviation one half: the model sees [-1, 1]
    with torch.no_grad():
        expected = library(pixels, noise=noise, output_hidden_states=True)
        encoded = ours.encode(images, visible)
        decoded = ours.decode(encoded, visible)
        loss = ours.training_loss(images, visible, generator=generator())
        last = library.vit(pixels, noise=noise).last_hidden_state
    assert expected.mask.bool().equal(hidden_patches)
    assert torch.allclose(encoded.maps[0], last, atol=1e-6)
    assert torch.allclose(decoded, library.unpatchify(expected.logits), atol=1e-6)
    assert torch.allclose(loss.mean(), expected.loss, rtol=1e-5)


def test_merged_query_key_value_equals_the_librarys_block(tiny_model):
    model = tiny_model().model
    tokens = torch.randn(3, 9, 32, generator=generator())
    for layer in (*model.vit.layers, *model.decoder.decoder_layers):
        with torch.no_grad():
            expected = layer(tokens)
            expected = expected[0] if isinstance(expected, tuple) else expected
            assert torch.allclose(_block(layer, tokens, None), expected, atol=1e-6)


def test_merged_query_key_value_has_the_librarys_gradients(tiny_model):
    layer = tiny_model().model.vit.layers[0]
    tokens = torch.randn(2, 5, 32, generator=generator())
    gradients = []
    for forward in (lambda: layer(tokens), lambda: _block(layer, tokens, None)):
        layer.zero_grad()
        output = forward()
        (output[0] if isinstance(output, tuple) else output).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in layer.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-5), name


# --- masks ---


def test_a_patch_counts_as_visible_only_if_all_of_it_is(tiny_model):
    model, images = tiny_model(), some_images(1)
    visible = torch.ones(1, 16, 16, dtype=torch.bool)
    visible[0, 5, 5] = visible[0, 8, 0] = False
    assert encoded(model, images, visible).maps[0].shape[1] == 1 + 16 - 2


def test_completing_keeps_what_is_visible_and_stays_within_the_range(tiny_model):
    model, images, visible = tiny_model(), some_images(4), masks("free_form", 4)
    with torch.no_grad():
        model.model.decoder.decoder_pred.bias.fill_(0.9)  # so that something has to be clamped
    filled = completed(model, images, visible)
    kept = visible.unsqueeze(1)
    assert filled[kept].equal(images[kept])
    assert float(filled.max()) == 1.0
    assert float(filled.min()) >= -1.0


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_completion_and_loss_of_one_pass_are_those_of_two(tiny_model, norm_pix_loss):
    model, images, visible = tiny_model(), some_images(4), ragged_masks()
    model.model.config.norm_pix_loss = norm_pix_loss
    with torch.no_grad():
        both = model.complete_and_loss(images, visible)
        alone = model.training_loss(images, visible, generator=generator())
    assert both[0].equal(completed(model, images, visible))
    assert both[1].equal(alone)


def test_the_loss_is_that_of_hidden_patches_alone(tiny_model):
    # With a decoder that predicts one value c everywhere, the loss is the mean of (c - x)^2 over the hole.
    model, images, visible = tiny_model(), some_images(3), masks("center_hole", 3)
    with torch.no_grad():
        model.model.decoder.decoder_pred.weight.zero_()
        model.model.decoder.decoder_pred.bias.fill_(0.25)
        loss = model.training_loss(images, visible, generator=generator())
    expected = (images[:, 0, 4:12, 4:12] - 0.25).square().mean((1, 2))
    assert torch.allclose(loss, expected, atol=1e-6)


def test_bfloat16_changes_the_outcome_only_a_little(tiny_model):
    for name in ("center_hole", "free_form"):
        model, images, visible = tiny_model(), some_images(4), masks(name, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = completed(model, images, visible)
        assert torch.allclose(rough.float(), completed(model, images, visible), atol=0.05)


# --- parts ---


def test_the_encoder_is_all_of_vit_and_nothing_else(tiny_model):
    model = tiny_model()
    encoder = dict(model.encoder_parameters())
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(encoder) == {name for name in trainable if name.startswith("model.vit.")}
    assert all(encoder[name] is trainable[name] for name in encoder)
    assert len(encoder) == 3 + 2 * 16 + 2  # class token and projection, two blocks, the last norm


def test_position_tables_are_constants_in_a_loaded_model_too(tmp_path, tiny_model):
    tiny_model().save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    frozen = {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad}
    assert frozen == {"model.vit.embeddings.position_embeddings", "model.decoder.decoder_pos_embed"}
    assert [name for name, _ in loaded.encoder_parameters()] == [name for name, _ in tiny_model().encoder_parameters()]


# --- directories ---


@pytest.fixture
def folder(tmp_path, tiny_model):
    tiny_model().save(tmp_path / "model")
    return tmp_path / "model"


def test_plain_transformers_opens_the_directory(folder, tiny_model):
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["config.json", "model.safetensors", "preprocessor_config.json"]
    from transformers import AutoModelForPreTraining, ViTMAEForPreTraining

    images, visible = some_images(3), masks("center_hole", 3)
    expected = encoded(tiny_model(), images, visible).maps[0]
    noise = 1000.0 * ~visible[:, ::4, ::4].flatten(1) + torch.arange(16)
    for opener in (ViTMAEForPreTraining, AutoModelForPreTraining):
        library, info = opener.from_pretrained(folder, output_loading_info=True, mask_ratio=(4 - 0.5) / 16)
        assert type(library) is ViTMAEForPreTraining
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            found = library.eval().vit(images, noise=noise).last_hidden_state
        assert torch.allclose(found, expected, atol=1e-6)
    assert all(name.startswith(("vit.", "decoder.")) for name in load_file(folder / "model.safetensors"))


def test_tensors_have_the_names_of_the_public_checkpoints(folder):
    block = {"layernorm_before", "layernorm_after", "intermediate.dense", "output.dense", "attention.output.dense"}
    block |= {f"attention.attention.{part}" for part in ("query", "key", "value")}
    found = load_file(folder / "model.safetensors")
    for stack in ("vit.encoder.layer.0.", "decoder.decoder_layers.0."):
        inside = {name.removeprefix(stack).rpartition(".")[0] for name in found if name.startswith(stack)}
        assert inside == block


@pytest.mark.parametrize("name", ["initializer_range", "layer_norm_eps", "mask_ratio", "hidden_dropout_prob"])
def test_whole_numbers_for_fractions_are_read_as_published(folder, name):
    edit_json(folder / "config.json", **{name: 1 if name != "hidden_dropout_prob" else 0})
    assert type(getattr(load_model(folder).model.config, name)) is float


def test_the_normalisation_of_a_directory_is_used_and_kept(folder, tmp_path, tiny_model):
    edit_json(folder / "preprocessor_config.json", image_mean=[0.25], image_std=[0.125])
    model = load_model(folder)
    images, visible = some_images(2), masks("center_hole", 2)
    # Pixels in [0, 1] become (p - 1/4) * 8. A model made with one half each sees 2 p - 1 = x.
    seen = ((images + 1) / 2 - 0.25) * 8
    found, expected = encoded(model, images, visible), encoded(tiny_model(), seen, visible)
    assert torch.allclose(found.maps[0], expected.maps[0], atol=1e-5)
    decoded, plain = model.decode(found, visible), tiny_model().decode(expected, visible)
    assert torch.allclose(decoded, (plain / 8 + 0.25) * 2 - 1, atol=1e-5)
    model.save(tmp_path / "again")
    assert json.loads((tmp_path / "again/preprocessor_config.json").read_text())["image_mean"] == [0.25]


def test_the_librarys_image_processor_agrees_with_our_pixels(folder, tiny_model):
    from transformers import AutoImageProcessor

    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    processor = AutoImageProcessor.from_pretrained(folder)
    found = processor(pixels[..., None], return_tensors="pt", input_data_format="channels_last").pixel_values
    ours = tiny_model()._to_model(to_float(torch.from_numpy(pixels)[None, None]))
    assert torch.allclose(found, ours, atol=1e-5)


def test_the_architecture_of_a_directory_with_other_weights(folder):
    edit_json(folder / "preprocessor_config.json", image_mean=[0.25], image_std=[0.125])
    model = load_architecture(folder, generator=generator(9))
    assert model.model.config.hidden_size == 32
    assert (model.mean_C11.item(), model.deviation_C11.item()) == (0.25, 0.125)


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "bert"}, "model_type='bert' belongs to none; known: vit_mae (mae)"),
        ({"intermediate_size": 128}, "model.safetensors"),
        ({"image_size": 18}, "image_size=18 is not a multiple of patch_size=4"),
    ],
)
def test_a_config_of_another_family_or_other_sizes_is_refused(folder, changes, told):
    edit_json(folder / "config.json", **changes)
    assert told in refused(folder)
    if "model_type" in changes:
        with pytest.raises(UserError, match="is not of the family mae"):
            MaskedAutoencoder.load(folder)


def test_missing_tensors_are_refused(folder):
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors.pop("vit.layernorm.weight"))
    assert "lacks or misshapes tensors: 1, first vit.layernorm.weight" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refused(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hiden_size": 32}, "pretrain.architecture: hiden_size is not known"),
        ({"patch_size": 5}, "image_size=16 is not a multiple of patch_size=5"),
        ({"hidden_size": 30}, "hidden_size=30 must be a multiple of 4 and of num_attention_heads=2"),
        ({"num_attention_heads": 3}, "hidden_size=32 must be a multiple of 4 and of num_attention_heads=3"),
        ({"decoder_hidden_size": 12, "decoder_num_attention_heads": 8}, "decoder_hidden_size=12 must be"),
        ({"image_size": 16}, "pretrain.architecture: image_size"),
        ({"num_channels": 1}, "pretrain.architecture: num_channels"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"num_attention_heads": 0}, "num_attention_heads=0"),
        ({"patch_size": -4}, "patch_size=-4"),
        ({"hidden_size": 32.5}, "hidden_size"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, told):
    with pytest.raises(UserError) as error:
        family_named("mae").create({**MAE, **changes}, image_size=16, num_channels=1, generator=generator())
    assert told in str(error.value)
    assert str(error.value).startswith("pretrain.architecture: ")
    assert "\n" not in str(error.value)
