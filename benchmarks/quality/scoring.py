"""Scores one model on every set of a split, with the product's observer and metrics.

What is compared between models later is kept as arrays, a row an image: the completed hole, the hole's error, the
family's own loss. Originals are embedded once and kept. Every model is given the same random numbers.

scores.json: {set: {metric: value}}; outputs.npz: SET/hole (N, P) in [0, 1], SET/error (N,), SET/loss (N,).
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.quality.feature_scores import frechet
from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.data.split.manifest import SplitManifest, read_manifest
from i2i_unlearn.evaluation.findings import SETS
from i2i_unlearn.evaluation.metrics import feature_cosine, hole_psnr, kernel_distance, output_spread, own_loss
from i2i_unlearn.evaluation.metrics.observations import Observations
from i2i_unlearn.evaluation.metrics.observe import SetObserver, masks_of
from i2i_unlearn.models import load_model
from i2i_unlearn.models.extractors import load_extractor
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file, atomic_folder, write_json

SEED = 0  # of the choice of images and of what sampling draws: the same for every model
BATCH = 100
_ONE_STATISTIC = {
    "hole_psnr_db": hole_psnr.statistic,
    "feature_cosine": feature_cosine.statistic,
    "own_loss": own_loss.statistic,
    "output_spread": output_spread.statistic,
}


def score(
    images: str, splits: Path, model_folder: Path, out: Path, content: Mapping[str, Any], cache: Path
) -> dict[str, Any]:
    """Write scores.json and outputs.npz under `out`; return the number of images scored.

    Raises:
        UserError: the operator hides other pixels in other images, so that outputs cannot be compared row by row.
    """
    drawn = content["operator"]
    operator = make_operator(drawn["operator"], drawn["keep_fraction"], content["operator_patch_size"])
    if not operator.fixed:
        raise UserError(f"operator={operator.name!r} cannot be scored here: it hides other pixels in every image")
    device = pick_device(content["device"])
    model = load_model(model_folder).to(device).requires_grad_(False)
    manifest = read_manifest(splits / "manifest.parquet", images)
    extractor = _KnownOriginals(load_extractor(content["extractor"], device), cache / "features")
    scores: dict[str, dict[str, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    with num_threads(1), atomic_folder(out) as aside:
        for set_name in SETS:
            rows = _chosen(manifest, set_name, content["scored_images"])
            if not len(rows):
                continue
            pixels_NCHW = _pixels(images, rows, model)
            seen, holes_NP, loss_N = _observe(model, pixels_NCHW, rows, operator, extractor, set_name, content, device)
            scores[set_name] = _scores(seen, *extractor.take_features())
            if content["label_classifier"]:
                completed = _pasted(pixels_NCHW, holes_NP, operator)
                scores[set_name]["label_agreement"] = _agreement(images, manifest, rows, completed)
            arrays |= {
                f"{set_name}/hole": holes_NP,
                f"{set_name}/error": seen.hole_error_N,
                f"{set_name}/loss": loss_N,
            }
        write_json(aside / "scores.json", scores)
        np.savez(aside / "outputs.npz", **arrays)  # type: ignore[arg-type]
    return {f"num_{name}": int(values["num_images"]) for name, values in scores.items()}


def _chosen(manifest: SplitManifest, set_name: str, most: int) -> pd.DataFrame:
    """A random subset in manifest order, the same for every model."""
    rows = manifest.of(set_name)
    if len(rows) > most:
        rng = np.random.default_rng(derive_seed(SEED, "benchmark", "subset", set_name))
        rows = rows.iloc[np.sort(rng.choice(len(rows), most, replace=False))]
    return rows.reset_index(drop=True)


def _pixels(images: str, rows: pd.DataFrame, model: Any) -> Tensor:
    return load_pixels(
        images, rows, image_size=model.image_size, num_channels=model.num_channels, description="reading"
    )


def _observe(
    model: Any,
    pixels_NCHW: Tensor,
    rows: pd.DataFrame,
    operator: Operator,
    extractor: "_KnownOriginals",
    set_name: str,
    content: Mapping[str, Any],
    device: torch.device,
) -> tuple[Observations, np.ndarray, np.ndarray]:
    """What the product notes, the completed holes (N, P) as float16 in [0, 1], and the own loss over more draws."""
    observer = SetObserver(
        {"model": model}, extractor, set_name=set_name, num_images=len(rows), seed=SEED, device=device
    )
    places = list(zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True))
    holes, losses = [], []
    for start in range(0, len(rows), BATCH):
        images_BCHW = to_float(pixels_NCHW[start : start + BATCH])
        visible_BHW = masks_of(places[start : start + BATCH], operator, *model.image_size, seed=SEED)
        extractor.next_original(images_BCHW)
        seen = observer.see(images_BCHW, visible_BHW)
        holes.append(_hidden(seen.completed["model"], visible_BHW))
        losses.append(_more_losses(model, images_BCHW.to(device), visible_BHW, content["loss_draws"], set_name, start))
    observed = observer.observations()["model"]
    more = torch.cat(losses).numpy()
    draws = content["loss_draws"]
    loss_N = observed.own_loss_N if draws == 1 else (observed.own_loss_N + more * (draws - 1)) / draws
    return observed, torch.cat(holes).numpy(), loss_N


@torch.inference_mode()
def _more_losses(model: Any, images_BCHW: Tensor, visible_BHW: Tensor, draws: int, set_name: str, start: int) -> Tensor:
    """Mean own loss over the draws beyond the observer's one, (B,); zeros where there are none."""
    visible_BHW = visible_BHW[:1].to(images_BCHW.device).expand(len(visible_BHW), -1, -1)
    total = torch.zeros(len(images_BCHW))
    for number in range(1, draws):
        generator = generator_for(SEED, "benchmark loss", set_name, start, number)
        total += model.training_loss(images_BCHW, visible_BHW, generator=generator).float().cpu() / (draws - 1)
    return total


def _hidden(images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
    hidden_HW = ~visible_BHW[0]
    return ((images_BCHW[:, :, hidden_HW].flatten(1) + 1) / 2).to(torch.float16)


def _scores(seen: Observations, original_ND: np.ndarray, completed_ND: np.ndarray) -> dict[str, float]:
    num_images = len(seen.hole_error_N)
    ones = np.ones((1, num_images))
    kernel = kernel_distance.of_kernel(kernel_distance.paired_kernel(original_ND, completed_ND))
    return {
        "num_images": num_images,
        **{name: float(statistic(seen).of(ones)[0]) for name, statistic in _ONE_STATISTIC.items()},
        "fd": frechet(original_ND, completed_ND),
        "kid": float(kernel.of(ones)[0]),
        "classifier_score": seen.classes.score() if seen.classes else float("nan"),
    }


class _KnownOriginals:
    """An extractor that has embedded the originals before: the same images come back for every model.

    It also keeps the features of a set, because FD and KID are both wanted here, however few or many images there are.
    """

    num_parts = 1

    def __init__(self, extractor: Any, folder: Path) -> None:
        self.num_features = extractor.num_features
        self.logits = extractor.logits
        self._extractor = extractor
        self._folder = folder
        self._original: Tensor | None = None
        self._originals: list[Tensor] = []
        self._completed: list[Tensor] = []

    def take_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of the originals and of the completed images since the last call."""
        taken = tuple(torch.cat(parts).numpy() for parts in (self._originals, self._completed))
        self._originals, self._completed = [], []
        return taken[0], taken[1]

    def next_original(self, images_BCHW: Tensor) -> None:
        """Say which tensor is the next batch of originals."""
        self._original = images_BCHW

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """As `Extractor`."""
        is_original = images_BCHW is self._original
        features_BD: Tensor = self._known(images_BCHW) if is_original else self._extractor(images_BCHW)
        (self._originals if is_original else self._completed).append(features_BD)
        return features_BD

    def _known(self, images_BCHW: Tensor) -> Tensor:
        digest = hashlib.sha256(images_BCHW.contiguous().numpy().tobytes()).hexdigest()[:24]
        path = self._folder / f"{type(self._extractor).__name__}-{digest}.npy"
        if not path.exists():
            with atomic_file(path) as aside, aside.open("wb") as file:
                np.save(file, self._extractor(images_BCHW).numpy())
        return torch.from_numpy(np.load(path))


def _pasted(pixels_NCHW: Tensor, holes_NP: np.ndarray, operator: Operator) -> np.ndarray:
    """Completed images (N, pixels) in [0, 1]."""
    completed = pixels_NCHW.float() / 255
    hidden_HW = ~operator.draw(1, *pixels_NCHW.shape[-2:], generator_for(SEED))[0]
    completed[:, :, hidden_HW] = torch.from_numpy(holes_NP.astype(np.float32)).view(
        len(completed), completed.shape[1], -1
    )
    return completed.flatten(1).numpy()


def _agreement(images: str, manifest: SplitManifest, rows: pd.DataFrame, completed: np.ndarray) -> float:
    """Share of completions that a classifier trained on real images gives the label of the original.

    Two classifiers know one half of the images each; an image is judged by the one that has not seen it.
    """
    index, classifiers = _classifiers(images, manifest.image_digest, completed.shape[1])
    numbers = {place: number for number, place in enumerate(zip(index["shard"], index["row"], strict=True))}
    number_N = np.array([numbers[place] for place in zip(rows["shard"], rows["row"], strict=True)])
    wanted_N = index["label"].to_numpy()[number_N]
    right = 0
    for half, classifier in enumerate(classifiers):
        unseen = number_N % 2 != half
        if unseen.any():
            right += int((classifier.predict(completed[unseen]) == wanted_N[unseen]).sum())
    return right / len(rows)


@lru_cache(maxsize=2)
def _classifiers(images: str, image_digest: str, num_pixels: int) -> tuple[pd.DataFrame, tuple[Any, Any]]:
    """The index, and support vector machines with a Gaussian kernel that know its even and its odd rows."""
    from sklearn.svm import SVC

    index = read_index(images)
    side = round(num_pixels**0.5)
    pixels = load_pixels(images, index, image_size=(side, side), num_channels=1, description="classifier")
    known_ND, label_N = pixels.flatten(1).numpy() / 255, index["label"].to_numpy()
    even, odd = (SVC(C=10.0).fit(known_ND[half::2], label_N[half::2]) for half in (0, 1))
    return index, (even, odd)
