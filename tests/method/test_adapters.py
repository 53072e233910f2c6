"""Few weights of the encoder: which they are, what adapters add, and what is left of them in the finished model."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from i2i_unlearn.method.adapters import narrow
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.vqgan.model import MaskedTokenModel
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import OPTIONS, converted
from tests.support.says import says

RANK, ALPHA = 2, 6


@pytest.fixture(scope="module", params=OPTIONS)
def original(request):
    """A published model. Copy it, do not change it."""
    return converted(request.param)


@pytest.fixture
def student(original):
    return copy.deepcopy(original)


def training(model):
    """As the engine asks: the encoder's parameters that want gradients."""
    return {name for name, parameter in model.encoder_parameters() if parameter.requires_grad}


def encoded(model, kind=torch.float32):
    height, width = model.image_size
    images = torch.rand(2, model.num_channels, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    visible = torch.ones(2, height, width, dtype=torch.bool)
    visible[:, height // 4 : height // 2, width // 4 : width // 2] = False
    with torch.no_grad():
        draws = (part.to(kind) for part in model.draw(2, torch.Generator().manual_seed(2)))
        return model.encode(images.to(kind), visible, tuple(draws)).maps


def trained(model):
    """Adapters as if they had been trained: B is no longer zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.encoder_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_new_adapters_change_nothing_and_train_alone(original, student):
    before = encoded(student)
    narrowed = narrow(student, rank=RANK, alpha=ALPHA, seed=0)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(before, encoded(student), strict=True))
    assert training(student) == {name for name, _ in student.named_parameters() if ".lora_" in name}
    encoder = {name for name, _ in original.encoder_parameters()}
    assert narrowed.changing < encoder
    assert all(name.endswith(".weight") for name in narrowed.changing)


def test_merged_adapters_compute_what_they_did_next_to_the_weights(student):
    narrowed = narrow(student, rank=RANK, alpha=ALPHA, seed=0)
    trained(student)
    student.double()  # in float32, the rounding of a deep network alone is more than is asked for here
    if isinstance(student, MaskedTokenModel):
        student.tokenizer.float()  # it computes in float32 always, and has no adapters
    with_adapters = encoded(student, torch.float64)
    narrowed.finish()
    for one, other in zip(with_adapters, encoded(student, torch.float64), strict=True):
        assert (one - other).abs().max() <= 1e-6 * max(1.0, float(one.abs().max()))


def test_the_finished_model_is_an_ordinary_one_whose_changes_are_of_low_rank(original, student):
    narrowed = narrow(student, rank=RANK, alpha=ALPHA, seed=0)
    trained(student)
    pairs = dict(student.named_parameters())
    narrowed.finish()
    before, after = original.state_dict(), student.state_dict()
    assert list(after) == list(before)
    assert {name for name in before if not before[name].equal(after[name])} == narrowed.changing
    for name in narrowed.changing:
        delta = after[name] - before[name]
        place = name.removesuffix(".weight")
        first, second = (pairs[f"{place}.lora_{letter}.default.weight"].detach() for letter in "AB")
        if delta.ndim == 2:  # W' - W = alpha / rank * B A, by hand
            assert torch.allclose(delta, ALPHA / RANK * second @ first, atol=1e-6)
        assert torch.linalg.matrix_rank(delta.flatten(1).double(), tol=1e-4) <= RANK


def test_the_first_weights_depend_on_the_seed_alone(original):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        student = copy.deepcopy(original)
        narrow(student, rank=RANK, alpha=ALPHA, seed=seed)
        found.append({name: value for name, value in student.named_parameters() if ".lora_A." in name})
    assert state.equal(torch.random.get_rng_state())
    assert all(found[0][name].equal(found[1][name]) for name in found[0])
    assert not any(found[0][name].equal(found[2][name]) for name in found[0])


class Bare(torch.nn.Module):
    """An encoder of one number, and a decoder of the same kind of layers as no encoder has."""

    image_size, num_channels = (4, 4), 1

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.head = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))

    def encode(self, images_BCHW, visible_BHW, draws=()):
        return images_BCHW * self.scale

    def draw(self, num, generator, *, emphasis=0.0):
        return ()

    def encoder_parameters(self):
        yield "scale", self.scale


def test_an_encoder_without_such_layers_is_told():
    with pytest.raises(UserError, match=r"unlearn.scope=lora.*no linear or convolution layer.*choose auto"):
        narrow(Bare(), rank=1, alpha=1, seed=0)


def test_without_the_library_the_scope_lora_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # as if it were not installed
    with pytest.raises(UserError, match="unlearn.scope=lora needs the package peft"):
        narrow(Bare(), rank=1, alpha=1, seed=0)


# --- what merging must keep ---


class Convolutions(nn.Module):
    """An encoder of two convolutions: what `narrow` asks of a model."""

    image_size, num_channels = (16, 16), 3

    def __init__(self, *layers):
        super().__init__()
        self.encoder = nn.Sequential(*layers)

    def encode(self, images_BCHW, visible_BHW, draws=()):
        return Embedding((self.encoder(images_BCHW * visible_BHW.unsqueeze(1)),))

    def draw(self, num, generator, *, emphasis=0.0):
        return ()

    def encoder_parameters(self):
        return self.encoder.named_parameters(prefix="encoder")


def seen(model):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return model.encode(images, torch.ones(2, 16, 16, dtype=torch.bool)).maps[0]


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("dilation", "width"), [(1, 2), (2, 2), (2, "same"), ((1, 3), (2, 3))])
def test_a_convolution_is_merged_as_it_was_trained(padding, dilation, width):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3, 1, width, padding_mode=padding, dilation=dilation)
    model = Convolutions(layer, nn.GELU(), nn.Conv2d(8, 4, 4, 2))
    before = seen(model)
    narrowed = narrow(model, rank=2, alpha=4, seed=0)
    trained(model)
    change = seen(model)
    narrowed.finish()
    assert (change - before).norm() > 0.05 * before.norm()
    assert torch.allclose(seen(model), change, atol=1e-5)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_layers_whose_weight_is_computed_get_no_adapter(norm, capsys):
    torch.manual_seed(0)
    model = Convolutions(norm(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 4, 3)).eval()
    narrowed = narrow(model, rank=2, alpha=4, seed=0)
    trained(model)
    change = seen(model)
    narrowed.finish()
    assert narrowed.changing == {"encoder.1.weight"}
    assert torch.allclose(seen(model), change, atol=1e-5)
    assert "encoder.0" in capsys.readouterr().err
    with says(UserError, "unlearn.scope=lora", "encoder.0", "weight_norm or spectral_norm", "choose auto"):
        narrow(Convolutions(norm(nn.Conv2d(3, 8, 3))), rank=2, alpha=4, seed=0)


def test_a_merge_that_loses_the_change_is_refused():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3)
    layer.register_forward_pre_hook(
        lambda module, _: module.weight.data.fill_(0.1) is None or None
    )  # undoes what is merged
    model = Convolutions(layer)
    narrowed = narrow(model, rank=2, alpha=4, seed=0)
    trained(model)
    with says(UserError, "unlearn.scope=lora", "loses", "%", "choose the scope encoder"):
        narrowed.finish()
