"""Time and memory that a training run will take: arithmetic on counted operations and on speeds that were measured.

    images seen   = num_steps * batch_size * sets
    operations    = images seen * operations of one image, forward and backward
    time          = operations / speed, between the two speeds of `Device`
    memory        = weights (student, teacher) + gradients + Adam's two moments + what is kept for the way back + caches

Loading images, starting, checkpoints and evaluation come on top. An estimate: a factor of two either way is usual.
"""

from dataclasses import dataclass

FLOAT = 4
"""Bytes of a weight. Half precision is autocast: weights, gradients and moments stay float32."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one model (counting.py)."""

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
    """Operations a second: of small models, or of much waiting."""
    fast: float
    """Operations a second: of large ones."""
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
    """Most that is kept of the teacher's embeddings."""
    num_processes: int = 1
    """Which share each batch evenly, each on a device of its own with all weights."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What will be taken: operations by all processes, memory by each."""

    images_seen: int
    flops: float
    seconds: tuple[float, float]
    """At the fast and at the slow speed; what processes tell each other is left out."""
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
