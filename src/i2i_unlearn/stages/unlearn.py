"""Stage `unlearn`: make the model forget the forget set. The product's heart; its mathematics: method/objectives/."""

import copy
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.config.sections import UnlearnConfig
from i2i_unlearn.data.images.reading import load_pixels, wanted_by
from i2i_unlearn.data.split.manifest import FORGET, PROXY_RETAIN, RETAIN, UNSEEN_TARGET, SplitManifest, read_manifest
from i2i_unlearn.method.adapters import LORA, Narrowed, narrow
from i2i_unlearn.method.noise import Noise, fit_noise
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.surrogate_difference import NAME as SURROGATE
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.method.surrogate.targets import surrogate_targets
from i2i_unlearn.method.synthetic_retain import synthetic_retain
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.versions import opened_by
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder
from i2i_unlearn.training.frozen_stem import fixed_stems
from i2i_unlearn.training.launch import launch
from i2i_unlearn.training.original import recorded_original
from i2i_unlearn.training.run import Facts, Output, Stream, Training, train_and_write
from i2i_unlearn.training.sampling import Pool, Sampler, single_pool
from i2i_unlearn.training.saved_check import check_export


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: UnlearnConfig,
    *,
    stream: Stream | None = None,
    processes: Processes | None = None,
) -> Facts:
    """Unlearn the forget set; write model/, steps.jsonl and summary.json under `out`; return the summary.

    `splits` holds manifest.parquet, `teacher` is a model directory, `stream` receives each logged row while it runs.
    `processes`: those that share the run, this one included; None = start as many as the config says.

    Raises:
        UserError: wrong settings, images or model that do not fit each other, or a loss that is not finite.
    """
    begun = time.monotonic()
    if processes is None and config.num_processes > 1:
        return launch("unlearn", images, splits, teacher, out, config, config.num_processes, stream)
    device = pick_device(config.device)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    model = load_model(teacher, config.model)
    manifest_path = Path(splits) / "manifest.parquet"
    manifest = read_manifest(manifest_path, images)
    num_forget = len(manifest.of(FORGET))
    if not num_forget:  # also where the objective reads none of them
        raise UserError(_missing(FORGET))
    objective = make_objective(config.objective, _settings(config, num_forget))
    pools = _pools(images, manifest, model, objective.needs, config, device)
    student = copy.deepcopy(model)
    narrowed = _narrowed(student, config)
    student.to(device)
    inputs = {"manifest_sha256": digest_file(manifest_path), "teacher_sha256": digest_folder(teacher)}
    if config.synthetic_ratio and config.prototypes:
        inputs["prototypes_sha256"] = digest_file(config.prototypes)

    def facts(model_folder: Path) -> Facts:
        trained = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
        check_export(model_folder, Path(teacher), set(narrowed.changing) if narrowed else trained, config.model)
        return {
            **inputs,
            **recorded_original(teacher),
            "objective": config.objective,
            "scope": config.scope,
            "alpha": config.alpha,
            "device": device.type,
            "num_forget": num_forget,
            **opened_by(student.family),
        }

    original = model.to(device).requires_grad_(False)
    with num_threads(config.num_threads):
        pixels = {name: pool.images_BCHW for name, pool in pools.items()}
        stems = fixed_stems(original, operator, pixels) if objective.scope == "encoder" else {}
    training = Training(
        stage="unlearn",
        inputs=inputs,
        student=student,
        objective=objective,
        batches=Sampler(pools, operator, config.seed, partial(_draw, original, config.timestep_emphasis), stems),
        targets=_targets(original, operator, pools, config),
        processes=processes or ALONE,
        finish=narrowed.finish if narrowed else lambda: None,
    )
    return train_and_write(training, config, Output(folder=out, facts=facts, begun=begun, stream=stream))


def _narrowed(student: Any, config: UnlearnConfig) -> Narrowed | None:
    """With unlearn.scope=lora: the tensors that change, and what makes an ordinary model of the student in the end."""
    if config.scope != LORA:
        return None
    with num_threads(config.num_threads):
        return narrow(student, rank=config.lora_rank, alpha=config.lora_alpha, seed=config.seed)


def _settings(config: UnlearnConfig, num_forget: int) -> Settings:
    return Settings(
        alpha=config.alpha,
        scope="encoder" if config.scope == LORA else config.scope,
        epsilon=config.epsilon,
        first_phase=config.first_phase,
        most_first_steps=math.ceil(config.push_visits * num_forget / config.batch_size),
        seed=config.seed,
    )


def _draw(model: Any, emphasis: float, name: str, num: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Chance of one batch; only the forget set's leans towards the start of sampling."""
    draws: tuple[Tensor, ...] = model.draw(num, generator, emphasis=emphasis if name == FORGET else 0.0)
    return draws


def _pools(
    images: str,
    manifest: SplitManifest,
    model: Any,
    needs: frozenset[str],
    config: UnlearnConfig,
    device: torch.device,
) -> dict[str, Pool]:
    """The sets that the objective needs, as uint8 pixels on the device."""

    def pixels(role: str) -> Tensor:
        rows = manifest.of(role)
        if not len(rows):
            raise UserError(_missing(role))
        return load_pixels(images, rows, **wanted_by(model), description=f"reading {role}").to(device)

    pools = {}
    if FORGET in needs:
        pools[FORGET] = single_pool(pixels(FORGET), config.batch_size)
    if RETAIN in needs:
        pools[RETAIN] = _retain_pool(pixels, partial(synthetic_retain, images, manifest, model, config, device), config)
    if UNSEEN_TARGET in needs:
        pools[UNSEEN_TARGET] = single_pool(pixels(UNSEEN_TARGET), config.batch_size)
    return pools


_REMEDY = {
    FORGET: "name a request in split.requests",
    RETAIN: "set unlearn.proxy_ratio to 1 to do without real retain images",
    PROXY_RETAIN: "set split.proxy_labels or split.proxy_fraction, or unlearn.proxy_ratio to 0",
    UNSEEN_TARGET: "set split.unseen_target_fraction above 0, or unlearn.objective to encoder_l2, which needs none",
}


def _missing(role: str) -> str:
    return f"the split has no image of the role {role}, which the run needs; {_REMEDY[role]}"


def _retain_pool(pixels: Any, synthetic: Callable[[], Tensor], config: UnlearnConfig) -> Pool:
    """Real, proxy and synthetic retain images in the ratio asked for; what is not needed is not read or made."""
    num_proxy = round(config.batch_size * config.proxy_ratio)
    num_real = max(round(config.batch_size * (1 - config.proxy_ratio - config.synthetic_ratio)), 0)
    if not config.synthetic_ratio:
        num_real = config.batch_size - num_proxy
    wanted = (
        (partial(pixels, RETAIN), num_real),
        (partial(pixels, PROXY_RETAIN), num_proxy),
        (synthetic, config.batch_size - num_proxy - num_real),
    )
    parts = [(source(), count) for source, count in wanted if count]
    return Pool(torch.cat([part for part, _ in parts]), tuple((len(part), count) for part, count in parts))


def _targets(teacher: Any, operator: Operator, pools: dict[str, Pool], config: UnlearnConfig) -> TeacherTargets | None:
    if FORGET not in pools:
        return None
    with num_threads(config.num_threads):  # the covariance is a matrix product: its bits depend on them too
        noise = _noise(pools[FORGET].images_BCHW, teacher, config)
        surrogate = _surrogate(teacher, operator, pools, config)
    return TeacherTargets(
        teacher,
        operator,
        noise,
        {name: pool.images_BCHW for name, pool in pools.items()},
        seed=config.seed,
        num_noise_draws=config.num_noise_draws,
        cache_bytes=config.cache_bytes,
        surrogate=surrogate,
    )


def _surrogate(teacher: Any, operator: Operator, pools: dict[str, Pool], config: UnlearnConfig) -> Tensor | None:
    """Where the surrogate sends each forget image, where the objective asks for it."""
    if config.objective != SURROGATE:
        return None
    return surrogate_targets(
        teacher,
        operator,
        *(pools[name].images_BCHW for name in (FORGET, RETAIN, UNSEEN_TARGET)),
        rank=config.surrogate_rank,
        strength=config.surrogate_strength,
        own=config.surrogate_own,
        seed=config.seed,
    )


def _noise(forget: Tensor, model: Any, config: UnlearnConfig) -> Noise:
    forget_BCHW = to_float(forget.cpu())
    patch_size = _patch_size(model.image_size, config.operator_patch_size) if config.noise_covariance == "full" else 0
    return fit_noise(forget_BCHW, covariance=config.noise_covariance, mean=config.noise_mean, patch_size=patch_size)


def _patch_size(image_size: tuple[int, int], patch_size: int) -> int:
    if image_size[0] % patch_size or image_size[1] % patch_size:
        raise UserError(
            f"operator_patch_size={patch_size} does not divide the image size {image_size[0]}x{image_size[1]}, "
            "which noise_covariance=full needs; choose a divisor of both sides"
        )
    return patch_size
