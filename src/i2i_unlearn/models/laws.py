"""The laws of models/base.py, checked on two images of noise, so that a wrong class fails now and not hours later.

Shape letters: B batch, C channels, H, W pixels.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.errors import UserError

BATCH = 2
TOLERANCE = 1e-4  # other batch sizes and memory layouts change the last bits


def check_laws(model: Any) -> None:
    """Encode, decode, complete, take a loss, save and load.

    Raises:
        UserError: lists every law that `model` breaks.
    """
    faults: list[str] = []
    was_training = model.training
    model.eval()
    for law in (_sizes, _encoding, _decoding, _completion, _loss, _encoder_parameters, _files):
        with _told(law, faults):
            faults += law(model)
    model.train(was_training)
    if faults:
        raise UserError(f"{model.family} breaks the laws of i2i_unlearn.models.base: {'; '.join(faults)}")


@contextmanager
def _told(law: Callable[[Any], Iterator[str]], faults: list[str]) -> Iterator[None]:
    """Count an exception of the class's code as a fault."""
    try:
        yield
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        faults.append(f"{law.__name__.strip('_').replace('_', ' ')} stopped with {what}")


def _inputs(model: Any) -> tuple[Tensor, Tensor]:
    """Images of noise, and the mask of a hole in the centre."""
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(BATCH, model.num_channels, *model.image_size, generator=generator) * 2 - 1
    height, width = model.image_size
    return images_BCHW, make_operator("center_hole", 0.75, 1).draw(BATCH, height, width, generator)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _sizes(model: Any) -> Iterator[str]:
    size, channels = getattr(model, "image_size", None), getattr(model, "num_channels", None)
    if not (isinstance(size, tuple) and [type(side) for side in size] == [int, int]):
        yield f"image_size is {size!r}, it must be (height, width) in pixels"
    if channels not in (1, 3):
        yield f"num_channels is {channels!r}, it must be 1 or 3"


@torch.no_grad()
def _encoding(model: Any) -> Iterator[str]:
    images_BCHW, visible_BHW = _inputs(model)
    draws = model.draw(BATCH, _generator(), emphasis=0.0)
    if not isinstance(draws, tuple) or any(len(part) != BATCH for part in draws):
        yield "draw does not give a tuple of tensors with one row per image"
        return
    embedding = model.encode(images_BCHW, visible_BHW, draws)
    if not isinstance(embedding, Embedding) or any(len(feature) != BATCH for feature in embedding.maps):
        yield "encode does not give an Embedding whose maps have one row per image"
        return
    if draws:
        return  # the noisy image of a diffusion model does show in its maps
    other_BCHW = torch.where(visible_BHW.unsqueeze(1), images_BCHW, -images_BCHW)
    other = model.encode(other_BCHW, visible_BHW)
    if any((one - two).abs().max() > TOLERANCE for one, two in zip(embedding.maps, other.maps, strict=True)):
        yield "encode sees hidden pixels"


@torch.no_grad()
def _decoding(model: Any) -> Iterator[str]:
    images_BCHW, visible_BHW = _inputs(model)
    shape = model.decode(model.encode(images_BCHW, visible_BHW), visible_BHW).shape
    if shape != images_BCHW.shape:
        yield f"decode gives {tuple(shape)} for images of {tuple(images_BCHW.shape)}"


@torch.no_grad()
def _completion(model: Any) -> Iterator[str]:
    images_BCHW, visible_BHW = _inputs(model)
    completed_BCHW = model.complete(images_BCHW, visible_BHW, generator=_generator())
    if completed_BCHW.shape != images_BCHW.shape:
        yield f"complete gives {tuple(completed_BCHW.shape)} for images of {tuple(images_BCHW.shape)}"
        return
    if not torch.where(visible_BHW.unsqueeze(1), completed_BCHW, images_BCHW).equal(images_BCHW):
        yield "complete changes visible pixels"
    if completed_BCHW.abs().max() > 1:
        yield "complete leaves [-1, 1]"


def _loss(model: Any) -> Iterator[str]:
    images_BCHW, visible_BHW = _inputs(model)
    own, other = (
        model.training_loss(images_BCHW, visible_BHW, generator=_generator(), truth_BCHW=truth)
        for truth in (None, -images_BCHW)
    )
    if own.shape != (BATCH,) or not own.isfinite().all() or not own.requires_grad:
        yield "training_loss does not give a finite loss with a gradient for each image"
    elif own.equal(other):
        yield "training_loss ignores truth_BCHW"


def _encoder_parameters(model: Any) -> Iterator[str]:
    given = list(model.encoder_parameters())
    known = dict(model.named_parameters())
    wrong = [name for name, parameter in given if known.get(name) is not parameter]
    if wrong or not given:
        what = f"{wrong[0]}, which named_parameters does not give so" if wrong else "nothing"
        yield f"encoder_parameters gives {what}"
        return
    images_BCHW, visible_BHW = _inputs(model)
    with torch.no_grad():
        embedding = model.encode(images_BCHW, visible_BHW)
    decoded_BCHW = model.decode(embedding, visible_BHW)
    trained = [(name, parameter) for name, parameter in given if parameter.requires_grad]
    if not decoded_BCHW.requires_grad:
        return
    gradients = torch.autograd.grad(decoded_BCHW.sum(), [one for _, one in trained], allow_unused=True)
    shared = [name for (name, _), gradient in zip(trained, gradients, strict=True) if gradient is not None]
    if shared:
        yield f"encoder_parameters gives what decode uses as well, first {shared[0]}"


def _files(model: Any) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        model.save(folder)
        if read_config(folder).get("family") != model.family:
            yield f'save writes a config.json without "family": "{model.family}"'
        before, after = model.state_dict(), type(model).load(folder).state_dict()
        if before.keys() != after.keys() or not all(before[name].cpu().equal(after[name].cpu()) for name in before):
            yield "load(save(m)) has other tensors than m"
        fresh = type(model).load_architecture(folder, generator=_generator()).state_dict()
        if {name: one.shape for name, one in fresh.items()} != {name: one.shape for name, one in before.items()}:
            yield "load_architecture makes tensors of other shapes than the directory's"
