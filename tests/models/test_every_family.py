"""Laws that every family keeps, in each of its variants. A new family = a line in `CASES`."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from i2i_unlearn.models import FAMILIES, family_named, load_architecture, load_model
from i2i_unlearn.models.laws import check_laws
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.own import _lacks
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from tests.models.latent_directory import write_latent_directory
from tests.models.samples import (
    DEEP,
    DIFFUSION,
    MAE,
    PALETTE,
    VQGAN,
    completed,
    encoded,
    generator,
    ragged_masks,
    refused,
    some_images,
)

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
CASES = {
    "mae": ("mae", MAE, 1),
    "mae, colour, normalised": ("mae", {**MAE, "norm_pix_loss": True}, 3),
    "diffusion": ("diffusion", DIFFUSION, 1),
    "diffusion, patches": ("diffusion", {**DIFFUSION, "patch_size": 2}, 1),
    "diffusion, palette": ("diffusion", {**DIFFUSION, **PALETTE}, 1),
    "diffusion, deep": ("diffusion", {**DIFFUSION, **DEEP}, 3),
    "latent_diffusion": ("latent_diffusion", {}, 3),
    "vqgan": ("vqgan", VQGAN, 1),
    "vqgan, mask ids": ("vqgan", {**VQGAN, "hidden_tokens": "mask"}, 1),
    "vqgan, colour": ("vqgan", VQGAN, 3),
    "own, convolutions": ("conv_inpainter:ConvInpainter", {"width": 8}, 1),
    "own, coordinates": ("coordinate_network:CoordinateNetwork", {"width": 64}, 1),
}
"""Name -> family or class, architecture, channels. Models are of random weights and 16 pixels, latent ones of 32."""
OPERATORS = ("center_hole", "outpaint", "random_patches", "free_form", "half_left")


@pytest.fixture(scope="module", params=list(CASES))
def case(request, tmp_path_factory):
    """(model directory, class of the user's own or ''). Read it, do not write to it."""
    name, architecture, channels = CASES[request.param]
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(EXAMPLES))
    folder = tmp_path_factory.mktemp("model")
    if name == "latent_diffusion":
        yield write_latent_directory(folder), ""
    else:
        own = name if ":" in name else ""
        kind = family_named("own" if own else name, own)
        model = kind.create(architecture, image_size=16, num_channels=channels, generator=generator())
        if name == "vqgan":  # a codebook fitted to images, so that patches have different codes
            visible = visible_of("center_hole", model, 16)
            model.train().tokenizer_loss(some_images(16, channels), visible, generator=generator())
        model.eval().save(folder / "model")
        yield folder / "model", own
    sys.path[:] = path
    for module in set(sys.modules) - before:
        if module in ("conv_inpainter", "coordinate_network"):
            del sys.modules[module]


@pytest.fixture(scope="module")
def loaded(case):
    return load_model(*case)


@pytest.fixture
def model(loaded):
    return copy.deepcopy(loaded)


def visible_of(operator, model, num):
    return make_operator(operator, 0.75, 4).draw(num, *model.image_size, generator(1))


def images_of(model, num, seed=5):
    return some_images(num, model.num_channels, model.image_size[0], seed)


def alike(one, other, **tolerance):
    """Whether two embeddings agree in all parts: to the bit, or within a tolerance."""
    pairs = list(zip((*one.maps, *one.context), (*other.maps, *other.context), strict=True))
    return all(torch.allclose(a, b, **tolerance) if tolerance else a.equal(b) for a, b in pairs)


def test_no_family_is_left_out():
    assert {name for name, _, _ in CASES.values()} >= set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_its_class_meets_what_is_asked_of_a_users_own(name):
    assert list(_lacks(family_named(name), name)) == []


def test_the_laws_of_the_protocol_hold(model):
    check_laws(model)


@pytest.mark.parametrize("operator", [*OPERATORS, "ragged"])
def test_hidden_pixels_have_no_influence(model, operator):
    visible = ragged_masks(model.image_size[0]) if operator == "ragged" else visible_of(operator, model, 4)
    images = images_of(model, 4)
    others = torch.where(visible.unsqueeze(1), images, 100 * images_of(model, 4, seed=6))
    one, other = (encoded(model, given, visible) for given in (images, others))
    pictures = [completed(model, given, visible) for given in (images, others)]
    assert all(a.equal(b) for a, b in zip(one.maps, other.maps, strict=True))  # to the bit, padding too
    assert pictures[0].equal(pictures[1])


def test_visible_pixels_have_influence_on_every_map(model):
    images, visible = images_of(model, 1), visible_of("center_hole", model, 1)
    maps, others = (encoded(model, given, visible).maps for given in (images, -images))
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(maps, others, strict=True))


@pytest.mark.parametrize("operator", ["center_hole", "random_patches", "free_form"])
def test_a_batch_equals_one_image_at_a_time(model, operator):
    images, visible = images_of(model, 3), visible_of(operator, model, 3)
    with torch.no_grad():
        whole = model.complete(images, visible, generator=generator(2))
        stream = generator(2)
        parts = [model.complete(images[i : i + 1], visible[i : i + 1], generator=stream) for i in range(3)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-4)


def test_completions_differ_by_generator_where_a_family_draws(model):
    images, visible = images_of(model, 2), visible_of("center_hole", model, 2)
    one, other = (completed(model, images, visible, seed) for seed in (1, 2))
    assert one.equal(other) == (model.family not in ("diffusion", "latent_diffusion", "vqgan"))


def test_one_shared_mask_equals_its_copies(model):
    images, shared = images_of(model, 4), visible_of("center_hole", model, 4)
    copies = shared.contiguous()
    assert (shared.stride(0) == 0, copies.stride(0) == 0) == (True, False)
    found = []
    for visible in (shared, copies):
        with torch.no_grad():
            loss = model.training_loss(images, visible, generator=generator(3))
            found.append((model.encode(images, visible), model.complete(images, visible, generator=generator(2)), loss))
    assert alike(found[0][0], found[1][0], atol=1e-5)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found[0][1:], found[1][1:], strict=True))


def test_rows_of_an_embedding_are_the_embedding_of_those_rows(model):
    images, visible = images_of(model, 4), visible_of("free_form", model, 4)
    draws = model.draw(4, generator())
    with torch.no_grad():
        part = model.encode(images, visible, draws)[1:3]
        alone = model.encode(images[1:3], visible[1:3], tuple(one[1:3] for one in draws))
        assert float(part.squared_distance(alone).max()) < 1e-8
        assert torch.allclose(model.decode(part, visible[1:3]), model.decode(alone, visible[1:3]), atol=1e-4)


def test_decoding_does_not_depend_on_any_encoder_weight(model):
    images, visible = images_of(model, 2), visible_of("center_hole", model, 2)
    with torch.no_grad():
        embedding = model.encode(images, visible)
        before = model.decode(embedding, visible)
        for _, parameter in model.encoder_parameters():
            parameter.add_(1.0)
        assert model.decode(embedding, visible).equal(before)


def test_freezing_the_model_does_not_change_what_the_encoder_is(model):
    before = [name for name, _ in model.encoder_parameters()]
    model.requires_grad_(False)
    assert [name for name, _ in model.encoder_parameters()] == before


def test_new_weights_are_a_function_of_the_generator_alone(case):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = load_architecture(*case, generator=generator(3)).state_dict()
    assert before.equal(torch.random.get_rng_state())
    torch.manual_seed(2)
    same, other = (load_architecture(*case, generator=generator(seed)).state_dict() for seed in (3, 4))
    assert all(one[name].equal(same[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)


def test_the_weights_are_not_read_for_the_architecture_alone(case, tmp_path):
    folder = Path(shutil.copytree(case[0], tmp_path / "model"))
    for path in folder.rglob("*.safetensors"):
        if path.name == "model.safetensors" or path.parent.name == "unet":  # a latent model keeps its VAE and prompt
            path.write_bytes(b"not read")
    fresh, model = load_architecture(folder, case[1], generator=generator(9)), load_model(*case)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in fresh.state_dict().items()} == shapes


def test_loading_what_was_saved_gives_the_same_model_and_the_same_bytes(case, model, tmp_path):
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model", case[1])
    assert type(again) is type(model)
    assert not again.training
    assert all(tensor.equal(again.state_dict()[name]) for name, tensor in model.state_dict().items())
    images, visible = images_of(model, 2), visible_of("free_form", model, 2)
    one, other = (completed(each, images, visible) for each in (model, again))
    assert one.equal(other)
    again.save(tmp_path / "again")
    assert digest_folder(tmp_path / "again") == digest_folder(tmp_path / "model")


# --- families whose encoder sees patches ---

of_patches = pytest.mark.parametrize(
    "case", [name for name in CASES if name.startswith(("mae", "vqgan"))], indirect=True
)


@of_patches
def test_a_position_changes_what_is_encoded(model):
    image = torch.zeros(1, model.num_channels, 16, 16)
    first, second = (torch.zeros(1, 16, 16, dtype=torch.bool) for _ in range(2))
    first[:, :4, :4] = True
    second[:, :4, 4:8] = True
    assert float(encoded(model, image, first).squared_distance(encoded(model, image, second))) > 0.01


@of_patches
def test_ragged_masks_equal_one_image_at_a_time(model):
    def found(images, visible):
        with torch.no_grad():
            embedding = model.encode(images, visible)
            loss = model.training_loss(images, visible, generator=generator())
            return embedding, loss, model.decode(embedding, visible)

    images, visible = images_of(model, 4), ragged_masks()
    together, losses, pictures = found(images, visible)
    if together.valid_BN is not None:  # a family that shows mask ids pads nothing
        assert together.valid_BN.sum(1).tolist() == [16, 2, 9, 1]  # the class token and the visible patches
    for i in range(3):  # alone, the fourth image would leave nothing visible, which is refused
        one = slice(i, i + 1)
        alone, loss, picture = found(images[one], visible[one])
        tokens = together.maps[0][i] if together.valid_BN is None else together.maps[0][i][together.valid_BN[i]]
        assert torch.allclose(tokens, alone.maps[0][0], atol=1e-5)
        assert torch.allclose(losses[one], loss, rtol=1e-4)
        assert torch.allclose(pictures[one], picture, atol=1e-4)


@of_patches
def test_an_operator_that_leaves_no_whole_patch_is_refused(model):
    visible = torch.ones(2, 16, 16, dtype=torch.bool)
    visible[:, ::4, ::4] = False
    with pytest.raises(UserError, match="leaves no patch of 4 px wholly visible"):
        model.encode(images_of(model, 2), visible)


# --- damaged directories ---


@pytest.fixture
def copied(case, tmp_path):
    """A copy that a test may damage, and its class."""
    return Path(shutil.copytree(case[0], tmp_path / "copied")), case[1]


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_weights_are_refused(copied, keep):
    path = max(copied[0].rglob("*.safetensors"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    assert "its weights cannot be read" in refused(*copied)


@pytest.mark.parametrize("content", ["{", "[]", "", "null"])
def test_a_broken_config_is_refused(copied, content):
    (copied[0] / "config.json").write_text(content)
    assert "config.json" in refused(*copied)


def test_a_directory_without_weights_is_refused(copied):
    for path in copied[0].rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))  # as a pickle would be called
    assert "safetensors in it" in refused(*copied)


def test_a_missing_directory_is_refused(tmp_path):
    assert "give a model directory" in refused(tmp_path / "nothing")
