"""Time and memory that a training run will take, from counted operations and measured speeds.

    images seen   = num_steps * batch_size * sets
    operations    = images seen * operations of one image, forward and backward
    time          = operations / speed, between the two speeds of `Device`
    memory        = weights (student, teacher) + gradients + Adam's two moments + what is kept for the way back + caches

Operations and kept memory are counted while a model processes two images; nothing is timed. Loading images, starting,
checkpoints and evaluation come on top. The estimate is usually within a factor of two.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from i2i_unlearn.method.adapters import LORA
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.models import family_named, load_architecture
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.pipeline.form import AllSettings, read_form
from i2i_unlearn.pipeline.local.runner import form_fields
from i2i_unlearn.support.errors import UserError

FLOAT = 4
"""Bytes of a weight. Half precision is autocast: weights, gradients and moments stay float32."""
GIB = 2**30
NUM = 2
"""Images passed to count. One alone would take other paths through some layers."""
_FIELD = re.compile(r"\{\{\$\.inputs\.parameters\['pipelinechannel--(\w+)'\]\}\}")
"""A field of the run form, where a compiled package hands it to a step."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one model."""

    image_size: tuple[int, int]
    """(height, width), pixels."""
    num_parameters: int
    num_trained: int
    forward_flops: float
    """Of one image."""
    training_flops: float
    """Of one image, forward and backward."""
    kept_bytes: float
    """Of one image: what the way forward keeps for the way back, float32."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """How fast something computes, and how that is known."""

    name: str
    slow: float
    """Operations per second with small models, or with much waiting."""
    fast: float
    """Operations per second with large models."""
    base_bytes: float
    """Of the process, before it holds a model."""
    source: str


CPU = Device(
    name="one thread of an AMD EPYC (Zen 3), float32",
    slow=33e9,  # the demo's diffusion model: 8.1 GFLOP a step in 245 ms
    fast=80e9,  # products of large matrices
    base_bytes=0.6 * GIB,  # a process that has imported torch and transformers
    source="measured, docs/results/throughput.md",
)
GPU = Device(
    name="one H100, bf16",
    slow=0.25 * 989e12,
    fast=0.40 * 989e12,
    base_bytes=0.5 * GIB,  # CUDA's context
    source="not measured: 25 to 40 % of the nominal speed, docs/results/throughput.md",
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much is trained."""

    num_steps: int
    batch_size: int
    """Images of each set in a step."""
    num_sets: int
    """Unlearning sees two, forget and retain; training from scratch one."""
    num_models: int
    """Copies of all weights: student and teacher, or the model and its moving average."""
    cache_bytes: int = 0
    """Maximum size of the cache of the teacher's embeddings."""
    num_processes: int = 1
    """They share each batch evenly; each has a device of its own and all weights."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What will be taken: operations by all processes, memory by each."""

    images_seen: int
    flops: float
    seconds: tuple[float, float]
    """At the fast and at the slow speed, without communication between processes."""
    weight_bytes: float
    training_bytes: float
    """Gradients and Adam's moments."""
    kept_bytes: float
    cache_bytes: float
    base_bytes: float

    @property
    def bytes(self) -> float:
        """All of it at its peak."""
        return self.weight_bytes + self.training_bytes + self.kept_bytes + self.cache_bytes + self.base_bytes


def estimate(counts: Counts, training: Training, device: Device) -> Estimate:
    """The arithmetic of this file's head."""
    in_a_step = training.batch_size * training.num_sets
    images_seen = training.num_steps * in_a_step
    flops = images_seen * counts.training_flops
    return Estimate(
        images_seen=images_seen,
        flops=flops,
        seconds=(flops / device.fast / training.num_processes, flops / device.slow / training.num_processes),
        weight_bytes=FLOAT * counts.num_parameters * training.num_models,
        training_bytes=3 * FLOAT * counts.num_trained,
        kept_bytes=in_a_step * counts.kept_bytes / training.num_processes,
        cache_bytes=training.cache_bytes,
        base_bytes=device.base_bytes,
    )


def told(name: str, training: Training, found: Estimate, device: Device) -> list[str]:
    """The estimate of one step of the pipeline, in lines for people."""
    sets = f"{training.num_sets} x {training.batch_size}" if training.num_sets > 1 else str(training.batch_size)
    fast, slow = found.seconds
    devices = f"{training.num_processes} times {device.name}" if training.num_processes > 1 else device.name
    each = " each" if training.num_processes > 1 else ""
    parts = {
        "weights": found.weight_bytes,
        "gradients and Adam": found.training_bytes,
        "for the way back": found.kept_bytes,
        "cache, at most": found.cache_bytes,
        "the process": found.base_bytes,
    }
    listed = ", ".join(f"{what} {size(part)}" for what, part in parts.items() if part)
    return [
        f"{name}: {training.num_steps} steps of {sets} images, {_large(found.flops)}FLOP: "
        f"{_time(fast)} to {_time(slow)} on {devices}",
        f"{name}: {size(found.bytes)}{each} ({listed})",
    ]


def size(count: float) -> str:
    """Bytes in GiB or MiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _large(number: float) -> str:
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if number >= factor:
            return f"{number / factor:.1f} {letter}"
    return f"{number / 1e6:.1f} M"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(model: Any, operator: Operator, *, whole: bool) -> Counts:
    """Count an encoder pass (as unlearning trains it), or the family's whole training loss.

    `model` is an ImageToImage; it keeps its weights, and its gradients are cleared.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = model.image_size
    images_BCHW = torch.rand(NUM, model.num_channels, height, width, generator=generator) * 2 - 1
    visible_BHW = operator.draw(NUM, height, width, generator)
    trained = [one for one in model.parameters() if one.requires_grad]
    if not whole:
        trained = [parameter for _, parameter in model.encoder_parameters()]

    def loss() -> Tensor:
        if whole:
            total: Tensor = model.training_loss(images_BCHW, visible_BHW, generator=generator).mean()
            return total
        embedding = model.encode(images_BCHW, visible_BHW, model.draw(NUM, generator))
        return torch.stack([one.square().mean() for one in embedding.maps]).sum()

    ours = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as forward:  # with gradients: its book of modules does not work without
        loss()
    with (
        FlopCounterMode(display=False) as both,
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss().backward()
    for parameter in model.parameters():
        parameter.grad = None
    return Counts(
        image_size=(height, width),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_trained=sum(parameter.numel() for parameter in trained),
        forward_flops=forward.get_total_flops() / NUM,
        training_flops=both.get_total_flops() / NUM,
        kept_bytes=sum(kept.values()) / NUM,
    )


def of_package(spec: Mapping[str, Any], arguments: Mapping[str, Any], params: Mapping[str, Any] | None) -> list[str]:
    """Lines for people about `unlearn` and `reference` with these arguments of the run form.

    The model is the one that the field `model` names, if it is a folder here; otherwise one as `params`, the content of
    params.yaml, describes it.

    Raises:
        UserError: neither is here, the form has faults, or the package has no step `check`.
    """
    form: dict[str, Any] = {name: field.get("defaultValue") for name, field in form_fields(spec).items()}
    form |= arguments
    settings = _settings(spec, form)
    unlearning, reference = settings["unlearn"], settings["reference"]
    model, described = _model(settings["snapshot"]["source"], params)
    operator = make_operator(unlearning["operator"], unlearning["keep_fraction"], unlearning["operator_patch_size"])
    device = _device(settings["cluster"], form["accelerator_count"])
    lines = [
        f"an estimate, not a measurement (speed: {device.source}), for {described}, {_pixels(model)}",
        *_of_training("unlearn", count(model, operator, whole=_whole(unlearning)), unlearning, device, form["memory"]),
    ]
    if reference["count"]:
        counts = count(model, operator, whole=True)
        lines += _of_training("reference", counts, reference, device, form["memory"])
        if reference["count"] > 1:
            lines.append(f"reference: {reference['count']} times this, side by side where there is room")
    return [*lines, "loading, evaluation and the other steps come on top"]


def _settings(spec: Mapping[str, Any], form: Mapping[str, Any]) -> AllSettings:
    """What the step `check` of the package would return for this form."""
    tasks = [component.get("dag", {}).get("tasks", {}).get("check") for component in spec["components"].values()]
    task = next(filter(None, tasks), None)
    if task is None:
        raise UserError(
            "--estimate is for pipelines/unlearning.yaml: this package has no step `check`; leave out --estimate"
        )
    given = task["inputs"]["parameters"]
    constants = {name: given[name]["runtimeValue"]["constant"] for name in ("form", "params", "policies")}
    values = {place: form[_FIELD.sub(r"\1", field)] for place, field in constants.pop("form").items()}
    return read_form(values, accelerator_count=form["accelerator_count"], promote=form["promote"], **constants)


def _whole(settings: Mapping[str, Any]) -> bool:
    """Whether all weights are trained, or the encoder's alone."""
    scope: Any = "encoder" if settings["scope"] == LORA else settings["scope"]
    chosen = Settings(alpha=settings["alpha"], scope=scope, epsilon=settings["epsilon"])
    return make_objective(settings["objective"], chosen).scope == "all"


def _of_training(stage: str, counts: Counts, settings: Mapping[str, Any], device: Device, memory: str) -> list[str]:
    training = Training(
        num_steps=settings["num_steps"],
        batch_size=settings["batch_size"],
        num_sets=2 if stage == "unlearn" else 1,
        num_models=2,
        cache_bytes=settings.get("cache_bytes", 0),
        num_processes=settings["num_processes"],
    )
    found = estimate(counts, training, device)
    lines, limit = told(stage, training, found, device), quantity(memory)
    if device is CPU and limit is not None and found.bytes > limit:
        lines.append(f"{stage}: more than the field memory allows ({size(limit)}); raise it")
    return lines


def _device(cluster: Mapping[str, Any], accelerator_count: str) -> Device:
    """Where it is computed; with `auto` on what the pods are given."""
    if cluster["device"] != "auto":
        return CPU if cluster["device"] == "cpu" else GPU
    gpus = cluster["train_job_gpus"] if cluster["train_job_nodes"] else int(accelerator_count)
    return GPU if gpus else CPU


def quantity(text: str) -> float | None:
    """Bytes of a Kubernetes quantity such as 4Gi; None if it is not one."""
    from kubernetes.utils import parse_quantity

    try:
        return float(parse_quantity(text.strip()))
    except ValueError:
        return None


def _model(named: str, params: Mapping[str, Any] | None) -> tuple[Any, str]:
    generator = generator_for(0, "estimate")
    if (Path(named) / "config.json").is_file():
        return load_architecture(named, generator=generator), named
    if params is None:
        raise UserError(
            f"--estimate: {named} is not a model directory here, and there is no params.yaml whose section pretrain "
            "describes one; run this in the project's folder, or name a directory with --param model=FOLDER"
        )
    recipe = params["pretrain"]
    family = family_named(recipe["family"], params.get("model", ""))
    model = family.create(
        recipe["architecture"],
        image_size=recipe["image_size"],
        num_channels=recipe["num_channels"],
        generator=generator,
    )
    return model, f"a model as section pretrain of params.yaml has it ({recipe['family']}; {named} is not here)"


def _pixels(model: Any) -> str:
    height, width = model.image_size
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"{height} x {width} px, {millions:.1f} million weights"
