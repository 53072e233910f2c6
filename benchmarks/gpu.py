"""What a GPU makes of the unlearning loop: agreement with the CPU, speed, memory, and the paper's protocol for MAE.

    python -m benchmarks.gpu [--small] [--out FOLDER]

Runs from the source tree and needs torch, numpy, transformers and diffusers alone; nothing else is installed. Prints a
table and writes it with all figures to FOLDER/gpu.md and FOLDER/gpu.json. Without a GPU, or with --small, it runs tiny
models in seconds: that shows that it works and measures nothing.
"""

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_cases import MAE, PALETTE, SMALL_MAE, SMALL_PALETTE, Case, Unlearning

AGREEMENT = 1e-3
"""Largest relative difference between the losses of GPU and CPU in float32 (TF32 off) over `Size.compared_steps`."""
HALF_AGREEMENT = 2e-2
"""The same between bf16 (8 bits of mantissa) and float32 on one device, at the first step."""
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Size:
    """How much is run."""

    cases: tuple[Case, ...]
    protocol: Case
    num_images: int
    """Of each set, in the measurement of speed."""
    compared_images: int
    """Of each set in one step, in the comparison with the CPU."""
    compared_steps: int
    timed_steps: int
    matmul: int
    """Rows and columns of the matrices that give the peak."""
    protocol_images: int
    """Of each set."""
    protocol_epochs: int


REAL = Size((MAE, PALETTE), MAE, 1024, 4, 3, 20, 8192, 12_000, 6)
"""The protocol: 100 forget and 100 retain classes of 120 images, 6 epochs (METHOD section 5)."""
SMALL = Size((SMALL_MAE, SMALL_PALETTE), SMALL_MAE, 8, 2, 3, 2, 128, 12, 2)


def measure(size: Size, device: torch.device) -> dict[str, Any]:
    """All figures."""
    peak = matmul_flops_per_s(size.matmul, device, torch.bfloat16)
    found: dict[str, Any] = {
        "device": device_name(device),
        "torch": torch.__version__,
        "small": size is SMALL,
        "matmul_tflops": {
            "bf16": peak / 1e12,
            "fp32": matmul_flops_per_s(size.matmul, device, torch.float32) / 1e12,
        },
        "cases": [{"name": case.name, **measure_case(case, size, device, peak)} for case in size.cases],
    }
    return {**found, "protocol": measure_protocol(size, device)}


def measure_case(case: Case, size: Size, device: torch.device, peak: float) -> dict[str, Any]:
    """Agreement, speed and memory of one model. `peak` is the measured rate of bf16 matrix products, FLOP/s."""
    on_cpu, on_device = (compared_losses(case, size, place, "fp32") for place in (torch.device("cpu"), device))
    half = compared_losses(case, size, device, "bf16")
    speeds = {precision: measure_speed(case, size, device, precision) for precision in ("fp32", "bf16")}
    return {
        "losses_cpu_fp32": on_cpu,
        "losses_fp32": on_device,
        "losses_bf16": half,
        "difference_to_cpu": largest_difference(on_device, on_cpu),
        "difference_of_bf16": largest_difference(half[:1], on_device[:1]),
        **{f"{name}_{precision}": value for precision, speed in speeds.items() for name, value in speed.items()},
        "share_of_bf16_peak": speeds["bf16"]["flops_per_s"] / peak,
    }


def compared_losses(case: Case, size: Size, device: torch.device, precision: str) -> list[float]:
    """Losses of the first steps, with fresh noise; on every device of the same images, masks and noise."""
    images = {
        name: pixels.to(device) for name, pixels in case.images(2 * size.compared_images, torch.device("cpu")).items()
    }
    few = Case(**{**vars(case), "batch_size": size.compared_images})
    with exact_fp32():
        return Unlearning(few, images, cache_bytes=0, num_noise_draws=0).run(size.compared_steps, precision)


def measure_speed(case: Case, size: Size, device: torch.device, precision: str) -> dict[str, float]:
    """Images per second with targets as in a run; peak memory and floating-point operations per step."""
    loop = Unlearning(case, case.images(size.num_images, device), cache_bytes=2 * GIB, num_noise_draws=128)
    loop.run(2, precision)  # fills the cache, chooses kernels
    with FlopCounterMode(display=False) as counter:
        loop.run(1, precision)
    with PeakMemory(device) as memory:
        seconds = timed(lambda: loop.run(size.timed_steps, precision), device)
    return {
        "images_per_s": 2 * case.batch_size * size.timed_steps / seconds,
        "flops_per_image": counter.get_total_flops() / (2 * case.batch_size),
        "flops_per_s": counter.get_total_flops() * size.timed_steps / seconds,
        "peak_memory_bytes": memory.peak_bytes,
    }


def measure_protocol(size: Size, device: torch.device) -> dict[str, Any]:
    """The paper's protocol for MAE in bf16, from the first teacher pass on; images lie decoded on the device."""
    case = size.protocol
    images = case.images(size.protocol_images, device)
    loop = Unlearning(case, images, cache_bytes=16 * GIB, num_noise_draws=1024 if size is REAL else 8)
    num_steps = -(-size.protocol_epochs * size.protocol_images // case.batch_size)
    with PeakMemory(device) as memory:
        seconds = timed(lambda: loop.run(num_steps, "bf16"), device)
    return {
        "images": 2 * size.protocol_images,
        "epochs": size.protocol_epochs,
        "steps": num_steps,
        "seconds": seconds,
        "peak_memory_bytes": memory.peak_bytes,
    }


# --- measuring ---


def matmul_flops_per_s(side: int, device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Best rate of several square matrix products."""
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.mm(one, other)
    return max(2 * side**3 / timed(lambda: torch.mm(one, other), device) for _ in range(repeats))


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds, until the device has done its work."""
    wait(device)
    begun = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - begun


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class PeakMemory:
    """Most memory held inside the block: of tensors on a GPU, of the whole process on the CPU."""

    peak_bytes: int

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated()
        else:
            self.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class exact_fp32:  # noqa: N801  used like a function
    """float32 without TF32's shorter mantissa inside the block, in products and convolutions."""

    def __enter__(self) -> None:
        self._before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before


def largest_difference(found: list[float], expected: list[float]) -> float:
    """Relative."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def device_name(device: torch.device) -> str:
    """As the driver calls it."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({platform.machine()})"


# --- telling ---


def markdown(found: Mapping[str, Any]) -> str:
    """The figures as a page."""
    peak, protocol = found["matmul_tflops"], found["protocol"]
    lines = [
        f"# Unlearning on {found['device']}",
        "",
        *(["Tiny models: this run shows that the benchmark works and measures nothing.", ""] if found["small"] else []),
        f"torch {found['torch']}; measured peak of matrix products: {peak['bf16']:.1f} TFLOP/s in bf16, "
        f"{peak['fp32']:.1f} in fp32.",
        "",
        "| | " + " | ".join(case["name"] for case in found["cases"]) + " |",
        "| --- |" + " --- |" * len(found["cases"]),
        *(f"| {name} | " + " | ".join(tell(case) for case in found["cases"]) + " |" for name, tell in ROWS.items()),
        "",
        f"The paper's protocol for MAE ({protocol['images']} images, {protocol['epochs']} epochs, "
        f"{protocol['steps']} steps, bf16), images decoded before: {protocol['seconds']:.1f} s, "
        f"at most {protocol['peak_memory_bytes'] / GIB:.1f} GiB.",
    ]
    return "\n".join(lines) + "\n"


ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "loss against the CPU, fp32 (at most 0.001)": lambda case: f"{case['difference_to_cpu']:.1e}",
    "loss in bf16 against fp32 (at most 0.02)": lambda case: f"{case['difference_of_bf16']:.1e}",
    "images/s, fp32": lambda case: f"{case['images_per_s_fp32']:.0f}",
    "images/s, bf16": lambda case: f"{case['images_per_s_bf16']:.0f}",
    "GFLOP an image, teacher included": lambda case: f"{case['flops_per_image_bf16'] / 1e9:.1f}",
    "share of the bf16 peak": lambda case: f"{case['share_of_bf16_peak']:.0%}",
    "peak memory, fp32, MiB": lambda case: f"{case['peak_memory_bytes_fp32'] / MIB:.0f}",
    "peak memory, bf16, MiB": lambda case: f"{case['peak_memory_bytes_bf16'] / MIB:.0f}",
}


def faults(found: Mapping[str, Any]) -> list[str]:
    """Where losses do not agree."""
    told = []
    for case in found["cases"]:
        for name, limit in (("difference_to_cpu", AGREEMENT), ("difference_of_bf16", HALF_AGREEMENT)):
            if not case[name] <= limit:
                told.append(f"{case['name']}: {name} is {case[name]:.2e}, more than {limit:g}")
    return told


def main() -> None:
    """Measure, print and write; exit 1 where losses do not agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny models, in seconds; always so without a GPU")
    parser.add_argument("--out", type=Path, default=Path("artifacts/gpu-benchmark"), help="folder for gpu.md, gpu.json")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = measure(SMALL if arguments.small or device.type == "cpu" else REAL, device)
    page = markdown(found)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (arguments.out / "gpu.md").write_text(page, encoding="utf-8")
    print(page)
    if told := faults(found):
        raise SystemExit("\n".join(told))


if __name__ == "__main__":
    main()
