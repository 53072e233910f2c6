"""Where along the noise schedule the forget term is felt: its gradient per timestep, and what unlearning moves there.

    python -m benchmarks.timestep_gradients --model artifacts/original/model [--emphasis 0 1 3] [--out docs/results/...]

Two questions about a diffusion model (docs/method.md, "diffusion"):

1. Gradient. For every bin of timesteps: the norm, over E's weights, of the gradient of the forget term
   || E(T(x_f)) - E_0(T(n)) ||^2 at the start of unlearning, of a batch whose times all lie in the bin. Beside it the
   same with a condition that is blank, that is: the noisy image alone, noised everywhere. That is the case in which the
   gradient must vanish where the image's amplitude does.
2. Effect. After unlearning with each emphasis: how far the student's predicted clean image lies from the teacher's,
   inside the hole, per bin, on the forget set and on the retain set; and the hole error of sampled images.

Prints tables, writes gradients.csv and gradients.png. Reads data/images and params.yaml; the forget set is the
label that `--label` names.
Shape letters: B batch, C channels, H, W pixels.
"""

import argparse
import copy
import csv
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.config.sections import UnlearnConfig, load_params
from i2i_unlearn.data.images.holdout import training_part
from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.method.noise import Noise, fit_noise
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.training.engine import train
from i2i_unlearn.training.run import schedule_of
from i2i_unlearn.training.sampling import Sampler, single_pool

NUM_BINS = 10


@dataclass(frozen=True)
class Batch:
    """Images x, the noise images n that stand for them in the target, and the mask."""

    images_BCHW: Tensor
    noise_BCHW: Tensor
    visible_BHW: Tensor


def draws_at(model: Any, low: float, high: float, num: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draws whose times lie evenly between the shares `low` and `high` of the schedule (1 = where sampling starts)."""
    _, *noises = model.draw(num, generator)
    num_times = len(model.levels_N)
    shares_B = low + (high - low) * (torch.arange(num, dtype=torch.float64) + 0.5) / num
    times_B = (shares_B * num_times + 1e-6).floor().clamp(max=num_times - 1)  # .53 x 100 is just below 53
    return (times_B.float(), *noises)


def gradient_norm(model: Any, batch: Batch, draws: tuple[Tensor, ...]) -> float:
    """Norm over E's weights of the gradient of the forget term, with the model as its own teacher."""
    with torch.no_grad():
        target = model.encode(batch.noise_BCHW, batch.visible_BHW, draws)
    parameters = [parameter for _, parameter in model.encoder_parameters()]
    distance = model.encode(batch.images_BCHW, batch.visible_BHW, draws).squared_distance(target).mean()
    gradients = torch.autograd.grad(distance, parameters)
    return math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))


def without_condition(batch: Batch) -> Batch:
    """The same images with everything hidden: E sees them through the noisy image alone."""
    return Batch(batch.images_BCHW, batch.noise_BCHW, torch.zeros_like(batch.visible_BHW))


def prediction_change(teacher: Any, student: Any, batch: Batch, draws: tuple[Tensor, ...]) -> float:
    """Root mean squared difference, inside the hole, of the clean images that both predict (pixels in [-1, 1])."""
    with torch.no_grad():
        one, other = (
            model.decode(model.encode(batch.images_BCHW, batch.visible_BHW, draws), batch.visible_BHW)
            for model in (teacher, student)
        )
    hidden = ~batch.visible_BHW.unsqueeze(1).expand_as(one)
    return float((one - other)[hidden].square().mean().sqrt())


def density(low: float, high: float, emphasis: float) -> float:
    """Share of the draws in a bin: the integral of (1 + k) s^k (models/diffusion_schedule.py)."""
    return high ** (1 + emphasis) - low ** (1 + emphasis)


def bins() -> list[tuple[float, float]]:
    """(low, high) shares of the schedule."""
    return [(number / NUM_BINS, (number + 1) / NUM_BINS) for number in range(NUM_BINS)]


def unlearned(
    teacher: Any, pools: dict[str, Tensor], operator: Operator, noise: Noise, config: UnlearnConfig
) -> tuple[Any, float]:
    """The student after the product's own loop, and its seconds."""
    student = copy.deepcopy(teacher).requires_grad_(True)

    def draw(name: str, num: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        draws: tuple[Tensor, ...] = teacher.draw(
            num, generator, emphasis=config.timestep_emphasis if name == "forget" else 0.0
        )
        return draws

    sampler = Sampler(
        {name: single_pool(images, config.batch_size) for name, images in pools.items()}, operator, config.seed, draw
    )
    targets = TeacherTargets(
        teacher, operator, noise, pools, seed=config.seed, num_noise_draws=0, cache_bytes=config.cache_bytes
    )
    begun = time.perf_counter()
    objective = make_objective(config.objective, Settings(alpha=config.alpha))
    train(student, objective, sampler, targets, schedule_of(config), _Nothing(), _Nothing())
    return student, time.perf_counter() - begun


class _Nothing:
    """No checkpoint, nobody watching."""

    def load(self) -> None: ...
    def save(self, checkpoint: Any) -> None: ...
    def begin(self, done: int, seconds: float) -> None: ...
    def step(self, total: float) -> None: ...
    def row(self, row: Any) -> None: ...


def sampled_error_db(model: Any, batch: Batch, seed: int) -> float:
    """PSNR of the set's mean squared error in the hole, of completed images."""
    with torch.no_grad():
        completed = model.complete(batch.images_BCHW, batch.visible_BHW, generator=generator_for(seed, "sampled"))
    hidden = ~batch.visible_BHW.unsqueeze(1).expand_as(completed)
    squared = ((completed - batch.images_BCHW) / 2)[hidden].square().mean()
    return -10 * math.log10(float(squared))


def read_sets(model: Any, images: str, label: str, params: dict[str, Any]) -> dict[str, Tensor]:
    """uint8 pixels of the training images with that label (forget) and of the others (retain)."""
    index = read_index(images)
    part = training_part(index, holdout_fraction=params["holdout_fraction"], seed=params["seed"])
    rows = index[part == "train"]
    chosen = {"forget": rows[rows["label"] == label], "retain": rows[rows["label"] != label]}
    return {
        name: load_pixels(
            images,
            some.reset_index(drop=True),
            image_size=model.image_size,
            num_channels=model.num_channels,
            description=f"reading {name}",
        )
        for name, some in chosen.items()
    }


def gradient_rows(model: Any, batch: Batch, seed: int) -> list[dict[str, float]]:
    """One row a bin: times, amplitude of the image, gradient with and without the condition."""
    rows = []
    for low, high in bins():
        draws = draws_at(model, low, high, len(batch.images_BCHW), generator_for(seed, "bin", round(low * NUM_BINS)))
        level = model.levels_N[draws[0].long()].mean()
        rows.append(
            {
                "from": low,
                "to": high,
                "amplitude": math.sqrt(float(level)),
                "gradient": gradient_norm(model, batch, draws),
                "gradient_without_condition": gradient_norm(model, without_condition(batch), draws),
            }
        )
    return rows


def plot(rows: Sequence[dict[str, float]], emphases: Sequence[float], path: Path) -> None:
    """Gradient per bin, and the share of the whole gradient that comes from each bin with each emphasis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    middle = [(row["from"] + row["to"]) / 2 for row in rows]
    left.plot(middle, [row["gradient"] for row in rows], "o-", label="with T(x) as condition")
    left.plot(middle, [row["gradient_without_condition"] for row in rows], "s--", label="noisy image alone")
    left.plot(middle, [row["amplitude"] for row in rows], ":", color="grey", label="amplitude of the image")
    left.set(title="gradient of the forget term", ylabel="norm over E's weights", ylim=(0, None))
    for emphasis in emphases:
        shares = [row["gradient"] * density(row["from"], row["to"], emphasis) for row in rows]
        right.plot(middle, [share / sum(shares) for share in shares], "o-", label=f"emphasis {emphasis:g}")
    right.set(title="share of the gradient by bin", ylim=(0, None))
    for axes in (left, right):
        axes.set_xlabel("timestep / number of timesteps (1: sampling starts)")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="artifacts/original/model", help="model directory of the family diffusion")
    parser.add_argument("--images", default="data/images")
    parser.add_argument("--label", default="3", help="the label to forget")
    parser.add_argument("--emphasis", type=float, nargs="*", default=[0.0, 1.0, 3.0])
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=100, help="of unlearning; 0 = gradients alone")
    parser.add_argument("--num", type=int, default=128, help="images of each set that are measured on")
    parser.add_argument("--out", default="docs/results/timestep_gradients")
    arguments = parser.parse_args()
    params = load_params()
    torch.set_num_threads(params["num_threads"])
    teacher = load_model(arguments.model)
    teacher.requires_grad_(True)
    pools = read_sets(teacher, arguments.images, arguments.label, params)
    operator = make_operator(params["operator"], params["keep_fraction"], params["operator_patch_size"])
    noise = fit_noise(to_float(pools["forget"]), covariance="identity", mean="zero", patch_size=0)
    batches = {name: _batch(images, arguments.num, operator, noise) for name, images in pools.items()}
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = gradient_rows(teacher, batches["forget"], params["seed"])
    with open(out / "gradients.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{key: f"{value:.6g}" for key, value in row.items()} for row in rows])
    plot(rows, arguments.emphasis, out / "gradients.png")
    parts = ["Gradient of the forget term", gradient_table(rows, arguments.emphasis)]
    if arguments.steps:
        teacher.requires_grad_(False)
        parts += effect_tables(teacher, pools, batches, operator, noise, arguments, params)
    print("\n\n".join(parts))


def _batch(images: Tensor, num: int, operator: Operator, noise: Noise) -> Batch:
    chosen = to_float(images[torch.randperm(len(images), generator=generator_for(0, "measured"))[:num]])
    visible_BHW = operator.draw(len(chosen), *chosen.shape[-2:], generator_for(0, "masks"))
    return Batch(chosen, noise.draw(len(chosen), generator_for(0, "noise")), visible_BHW)


def gradient_table(rows: Sequence[dict[str, float]], emphases: Sequence[float]) -> str:
    """One line a bin."""
    totals = {k: sum(row["gradient"] * density(row["from"], row["to"], k) for row in rows) for k in emphases}
    lines = [
        [
            f"{row['from']:.1f}-{row['to']:.1f}",
            f"{row['amplitude']:.3f}",
            f"{row['gradient']:.4f}",
            f"{row['gradient_without_condition']:.4f}",
            *(f"{row['gradient'] * density(row['from'], row['to'], k) / totals[k]:.0%}" for k in emphases),
        ]
        for row in rows
    ]
    header = ["timesteps", "amplitude", "gradient", "noisy image alone", *(f"share, emphasis {k:g}" for k in emphases)]
    return table(header, lines)


def effect_tables(
    teacher: Any,
    pools: dict[str, Tensor],
    batches: dict[str, Batch],
    operator: Operator,
    noise: Noise,
    arguments: argparse.Namespace,
    params: dict[str, Any],
) -> list[str]:
    """Unlearn with each emphasis; what changed by bin, and in sampled images."""
    changes: list[list[str]] = []
    errors = [["original", "", *(f"{sampled_error_db(teacher, batch, 0):.2f}" for batch in batches.values()), ""]]
    for emphasis in arguments.emphasis:
        own = {"timestep_emphasis": emphasis, "alpha": arguments.alpha, "num_steps": arguments.steps}
        config = UnlearnConfig.from_params({**params, "unlearn": {**params["unlearn"], **own}})
        with num_threads(config.num_threads):
            student, seconds = unlearned(teacher, pools, operator, noise, config)
        for name, batch in batches.items():
            draws = [
                draws_at(teacher, low, high, len(batch.images_BCHW), generator_for(1, "bin", round(low * NUM_BINS)))
                for low, high in bins()
            ]
            found = [prediction_change(teacher, student, batch, drawn) for drawn in draws]
            changes.append([f"{emphasis:g}", name, *(f"{value:.3f}" for value in found)])
        scores = [f"{sampled_error_db(student, batch, 0):.2f}" for batch in batches.values()]
        distance = [f"{_sampled_change(teacher, student, batch):.3f}" for batch in batches.values()]
        errors.append([f"{emphasis:g}", f"{seconds:.0f}", *scores, " / ".join(distance)])
    header = ["emphasis", "set", *(f"{low:.1f}-{high:.1f}" for low, high in bins())]
    return [
        "Change of the predicted clean image inside the hole",
        table(header, changes),
        "Sampled images",
        table(["emphasis", "seconds", "forget, dB", "retain, dB", "change on forget / retain"], errors),
    ]


def _sampled_change(teacher: Any, student: Any, batch: Batch) -> float:
    """Root mean squared difference in the hole between what both sample from the same noise."""
    with torch.no_grad():
        one, other = (
            model.complete(batch.images_BCHW, batch.visible_BHW, generator=generator_for(0, "sampled"))
            for model in (teacher, student)
        )
    hidden = ~batch.visible_BHW.unsqueeze(1).expand_as(one)
    return float((one - other)[hidden].square().mean().sqrt())


if __name__ == "__main__":
    main()
