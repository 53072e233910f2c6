"""One cell from data to metrics.json, by the product's own stages. What is finished is not computed again.

Which images are the most memorised: candidates are single training images drawn by their bytes. One model is retrained
without them; an image's gap is log error in the hole under that model less log error under the original. Half of a
request of single images has the largest gaps, the other half the smallest. That model is none of the references.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.cells import Cell, Store
from benchmarks.quality.code_digest import code_digest, file_of
from benchmarks.quality.settings import Settings, Values, Wanted, laid_over
from benchmarks.quality.sources import DUE, RECEIVED, Source, prepare
from i2i_unlearn.config.base import StageConfig
from i2i_unlearn.config.sections import (
    EvaluateConfig,
    PretrainConfig,
    ReferenceConfig,
    SplitConfig,
    UnlearnConfig,
    load_params,
)
from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.data.request import ForgetRequest, Selector, write_request
from i2i_unlearn.data.split.manifest import FORGET, read_manifest
from i2i_unlearn.evaluation.metrics.bootstrap import Floats
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR, hole_error
from i2i_unlearn.evaluation.metrics.observe import masks_of
from i2i_unlearn.models import FAMILIES, load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.stages import evaluate, pretrain, reference, split, unlearn
from i2i_unlearn.support.files import read_json, write_json

CANDIDATES_OFFSET = 500_000
"""Seed of the model that finds the memorised ones, away from those of references."""
NUM_CANDIDATES = 200
BATCH = 100
AUDITS = ["rank_shift", "membership"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a cell is made of."""

    data: str
    family: str
    singles: int
    """How many single images are withdrawn; 0 = the class that the quality benchmark develops on."""
    seed: int
    num_references: int
    candidates: int = NUM_CANDIDATES

    @property
    def request(self) -> str:
        """Name of the request, unique in the folder of a data set."""
        return f"singles-{self.singles}-seed-{self.seed}" if self.singles else "class"


def arms(paper: Values) -> dict[str, Values]:
    """Section unlearn of every arm. All share one split, so that their never-seen images are the same."""
    return {
        "paper, alpha 0.25": {**paper["unlearn"], "alpha": 0.25},
        "paper, alpha 1": {**paper["unlearn"], "alpha": 1.0},
        "default": dict(load_params("params.yaml")["unlearn"]),
    }


def run_cell(
    wish: Wish, settings: Settings, paper: Values, policies: Mapping[str, Any], out: Path, cifar10: Path
) -> Path:
    """Compute what is missing of a cell under `out`; return the file of what was found."""
    return _Chain(wish, settings, paper, policies, out, cifar10).run()


class _Chain:
    def __init__(
        self, wish: Wish, settings: Settings, paper: Values, policies: Mapping[str, Any], out: Path, cifar10: Path
    ) -> None:
        self._wish, self._paper, self._policies, self._out = wish, paper, policies, out
        own = settings.data[wish.data]
        self._candidates = f"candidates-{wish.seed}"
        requests = {"class": own.requests[own.develop], self._candidates: Wanted(num_singles=wish.candidates)}
        self._settings = settings.model_copy(
            update={"data": {**settings.data, wish.data: own.model_copy(update={"requests": requests})}}
        )
        self._source: Source = prepare(
            wish.data,
            self._settings.data[wish.data],
            out,
            cifar10=cifar10,
            seed=wish.seed,
            holdout_fraction=settings.params["holdout_fraction"],
        )
        shared = {**settings.operators[settings.main_operator], "seed": wish.seed}
        self._params = settings.sections(wish.family, wish.data, shared, checkpoint_uri=str(out / "checkpoints"))
        self._store = Store(out)

    def run(self) -> Path:
        original = self._original()
        request = self._request(original)
        splits = self._split(request)
        references = self._references(splits, original, self._wish.num_references)
        found: dict[str, Any] = {}
        for name, section in arms(self._paper).items():
            unlearned = self._unlearned(name, section, splits, original)
            evaluated = self._store.path(self._evaluation(name, splits, original, unlearned, references))
            found[name] = {
                "metrics": read_json(evaluated / "metrics.json"),
                "verdict": read_json(evaluated / "verdicts.json")["verdicts"]["as_unseen"],
                "seconds": self._store.facts(unlearned)["seconds"],
            }
        path = self._out / "cells" / f"{self._wish.data}-{self._wish.family}-{self._wish.request}.json"
        if not self._wish.singles:
            path = path.with_name(f"{path.stem}-seed-{self._wish.seed}.json")
        pretraining = self._params["pretrain"]
        seconds = self._store.facts(references)["seconds"]
        write_json(
            path,
            {
                "wish": {**vars(self._wish), "request": self._wish.request},
                "seconds_per_step": seconds / self._wish.num_references / pretraining["num_steps"],
                "retraining_steps": pretraining["num_steps"],
                "arms": found,
            },
        )
        return path

    def _original(self) -> Cell:
        config = PretrainConfig.from_params(self._params)
        cell = self._cell("original", config, "stages/pretrain.py", {})
        return self._made(cell, lambda out: pretrain.run(self._source.images, out, config))

    def _split(self, request: str) -> Cell:
        params = laid_over(self._params, {"split": {"requests": [request]}})
        config = SplitConfig.from_params(params)
        written = (Path(self._source.requests) / f"{request}.yaml").read_text(encoding="utf-8")
        cell = self._cell("split", config, "stages/split.py", {}, request=written)
        source = self._source
        return self._made(
            cell, lambda out: split.run(source.images, source.requests, out, config, hmac_key_file=source.hmac_key)
        )

    def _references(self, splits: Cell, original: Cell, count: int, **more: Any) -> Cell:
        params = laid_over(self._params, {"reference": {"count": count, "models": [], **more}})
        config = ReferenceConfig.from_params(params)
        inputs = {"splits": splits, "original": original}
        cell = self._cell("references", config, "stages/reference.py", inputs, count=count)
        return self._made(
            cell,
            lambda out: reference.run(
                self._source.images, self._store.path(splits), self._model(original), out, config
            ),
        )

    def _unlearned(self, name: str, section: Values, splits: Cell, original: Cell) -> Cell:
        config = UnlearnConfig.from_params(laid_over(self._params, {"unlearn": section}))
        cell = self._cell(
            "unlearned", config, "stages/unlearn.py", {"splits": splits, "original": original}, label=name
        )
        return self._made(
            cell,
            lambda out: unlearn.run(self._source.images, self._store.path(splits), self._model(original), out, config),
        )

    def _evaluation(self, name: str, splits: Cell, original: Cell, unlearned: Cell, references: Cell) -> Cell:
        own = {
            "policy": "as_unseen",
            "audits": {"run": AUDITS},
            "max_images": self._settings.params["evaluate"]["max_images"],
        }
        config = EvaluateConfig.from_params(laid_over(self._params, {"evaluate": own}), policies=dict(self._policies))
        inputs = {"splits": splits, "original": original, "unlearned": unlearned, "references": references}
        cell = self._cell("evaluation", config, "stages/evaluate.py", inputs, label=name)
        return self._made(
            cell,
            lambda out: evaluate.run(
                self._source.images,
                self._store.path(splits),
                self._model(original),
                self._store.path(unlearned),
                self._store.path(references),
                out,
                config,
            ),
        )

    def _request(self, original: Cell) -> str:
        """Name of the request; written first where its images are chosen by how well they are memorised."""
        if not self._wish.singles:
            return "class"
        splits = self._split(self._candidates)
        other = self._references(splits, original, 1, seed_offset=CANDIDATES_OFFSET)
        path = Path(self._source.requests) / f"{self._wish.request}.yaml"
        if path.exists():
            return self._wish.request
        ids, gaps = self._gaps(splits, self._model(original), self._store.path(other) / "1" / "model")
        chosen = tuple(sorted(ids[place] for place in extremes(gaps, self._wish.singles)))
        selector = Selector(sample_ids=chosen)
        write_request(
            ForgetRequest(id=self._wish.request, received=RECEIVED, due=DUE, basis="benchmark", selector=selector), path
        )
        return self._wish.request

    def _gaps(self, splits: Cell, original: Path, other: Path) -> tuple[list[str], Floats]:
        """Candidates and, of each, log error under the model without it less that under the original."""
        manifest = read_manifest(self._store.path(splits) / "manifest.parquet", self._source.images)
        rows = manifest.of(FORGET)
        index = read_index(self._source.images).set_index(["shard", "row"])["sample_id"]
        places = [(str(shard), int(row)) for shard, row in zip(rows["shard"], rows["row"], strict=True)]
        with_it, without = (self._log_errors(rows, places, folder) for folder in (original, other))
        return [str(index[place]) for place in places], without - with_it

    @torch.inference_mode()
    def _log_errors(self, rows: Any, places: list[tuple[str, int]], folder: Path) -> Floats:
        model, params = load_model(folder).eval(), self._params
        operator = make_operator(params["operator"], params["keep_fraction"], params["operator_patch_size"])
        size = {"image_size": model.image_size, "num_channels": model.num_channels}
        images = to_float(load_pixels(self._source.images, rows, **size, description="reading candidates"))
        visible = masks_of(places, operator, *images.shape[2:], seed=params["seed"])
        drawn = generator_for(params["seed"], "benchmark", "candidates")  # the same draws for both models
        errors = [
            hole_error(some, model.complete(some, shown, generator=drawn), shown)
            for some, shown in zip(images.split(BATCH), visible.split(BATCH), strict=True)
        ]
        return np.log(np.maximum(torch.cat(errors).numpy().astype(np.float64), SMALLEST_ERROR))

    def _model(self, cell: Cell) -> Path:
        return self._store.path(cell) / "model"

    def _cell(
        self, kind: str, config: StageConfig, stage: str, inputs: Mapping[str, Cell], *, label: str = "", **more: Any
    ) -> Cell:
        module = FAMILIES[self._wish.family].split(":")[0]
        content = {"config": config.model_dump(mode="json", exclude={"checkpoint_uri", "num_workers"}), **more}
        content["images"] = self._source.image_digest
        return Cell(kind, label or kind, content, code_digest(stage, file_of(module)), inputs, self._wish.family)

    def _made(self, cell: Cell, make: Callable[[Path], Mapping[str, Any]]) -> Cell:
        """The cell, finished."""
        if not self._store.is_done(cell):
            begun = time.monotonic()
            facts = make(self._store.path(cell))
            self._store.finish(cell, {"seconds": time.monotonic() - begun, **facts})
        return cell


def extremes(gaps_N: Floats, count: int) -> list[int]:
    """Places of the largest gaps, half of `count` rounded up, then of the smallest."""
    order = [int(place) for place in np.argsort(-gaps_N, kind="stable")]
    if count > len(order):
        raise ValueError(f"{count} of {len(order)} candidates")
    most = (count + 1) // 2
    return order[:most] + order[len(order) - (count - most) :]
