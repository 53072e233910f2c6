"""Reads what `evaluate` is given and checks that the parts belong together, before anything costly begins."""

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.data.images.canaries import CANARIES_FILE
from i2i_unlearn.data.images.reading import iter_pixels, read_index, wanted_by
from i2i_unlearn.data.split.manifest import SplitManifest, read_manifest
from i2i_unlearn.evaluation.audits.ranks import FEWEST_OF_CLASS
from i2i_unlearn.evaluation.evaluated_model import read_summary
from i2i_unlearn.evaluation.findings import NEVER_SEEN_SETS, ORIGINAL, SETS, SINGLE_IMAGES, TEACHER
from i2i_unlearn.evaluation.gate import Policy, parse_policy
from i2i_unlearn.evaluation.metrics.observe import masks_of
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import Operator, make_operator, read_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder

MOST_FURTHER = 0.05
"""Of the number of scored images: so much more may ranks cost."""
ENOUGH_OF_CLASS = 250
"""Never-seen images of a class: with more, ranks are hardly known better (METHOD section 13)."""
References = str | Path | Sequence[str | Path]
"""Output folders of the stage `reference`, one or several; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class ChosenSet:
    """The images of one set that are scored."""

    rows: pd.DataFrame
    """Columns shard, row, hmac_id and label (empty text where the data name no class), in manifest order."""
    num_images: int
    """Of the whole set."""
    copies: frozenset[int] = frozenset()
    """Places in `rows` of near-copies of forget images that the requests let stay where they are."""

    def facts(self) -> dict[str, Any]:
        """Entry of `sets` in metrics.json."""
        chosen = "none" if not len(self.rows) else "all" if len(self.rows) == self.num_images else "random"
        return {"num_images": self.num_images, "num_scored": len(self.rows), "chosen": chosen}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that is evaluated."""

    models: Mapping[str, Any]
    """teacher, unlearned, original where that is another model than the teacher, and the references: reference,
    reference_2, ...; `ImageToImage`, in evaluation mode."""
    digests: Mapping[str, str]
    """Of the model directories, by model."""
    manifest: SplitManifest
    manifest_sha256: str
    due: str
    """When the earliest active request is due (ISO date); empty where the split does not tell."""
    received_and_due: Mapping[str, tuple[str, str]]
    """Of each active request (ISO dates); empty where the split does not tell."""
    selected_by: str
    """By what the requests select their images: label, subject, sample_id, or several; empty where the split does not
    tell."""
    holdout_alike: bool
    """Whether images held out of those to keep show the same kinds of things as forget images
    (data/split/holdout_likeness.py)."""
    near_duplicates: Mapping[str, Any]
    """The split's counts of near-copies of forget images; empty where it does not tell."""
    sets: Mapping[str, ChosenSet]
    further: ChosenSet
    """Never-seen images of the forget images' classes beyond those of `sets`: to rank them, a class needs enough."""
    canaries: pd.DataFrame
    """Columns shard, row, included, tested, role; empty where none were trained in."""
    operator: Operator
    policies: Mapping[str, Policy]
    unlearn_summary: Mapping[str, Any]
    reference_summary: Mapping[str, Any]
    """Of the first reference; empty where there is none."""
    steps: list[dict[str, float]]

    @property
    def single_images(self) -> bool:
        """The requests name images one by one, of the same kinds as those held out."""
        return self.selected_by == SINGLE_IMAGES and self.holdout_alike

    def freeze(self, device: torch.device) -> None:
        """Move the models to `device` and keep them from being trained."""
        for model in self.models.values():
            model.to(device).requires_grad_(False)


def batches(
    model: Any, operator: Operator, images: str, chosen: ChosenSet, config: EvaluateConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in [-1, 1], of the model's size, and their masks, in manifest order: each row group is read once."""
    pixels = iter_pixels(images, chosen.rows, **wanted_by(model))
    places = list(zip(chosen.rows["shard"].tolist(), chosen.rows["row"].tolist(), strict=True))
    for start in range(0, len(places), config.batch_size):
        batch = places[start : start + config.batch_size]
        images_BCHW = torch.from_numpy(np.stack(list(itertools.islice(pixels, len(batch)))))
        visible_BHW = masks_of(batch, operator, *model.image_size, seed=config.seed)
        yield to_float(images_BCHW), visible_BHW


def read_inputs(
    images: str,
    splits: Path,
    teacher: Path,
    unlearned: Path,
    original: str | Path,
    reference: References,
    config: EvaluateConfig,
) -> Inputs:
    """Read and check everything; the cheap checks come first.

    `original` is empty where it is the teacher.

    Raises:
        UserError: a part is missing, damaged, or was made from other parts than the rest.
    """
    policies = _policies(config)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    manifest_path = splits / "manifest.parquet"
    manifest = read_manifest(manifest_path, images)
    sets, further = _choose_sets(images, manifest, config, _near_copies(splits))
    unlearn_summary = read_summary(unlearned, "unlearn")
    references = _references(reference)
    folders = {TEACHER: teacher, "unlearned": unlearned / "model"}
    if str(original) and digest_folder(Path(original)) != digest_folder(teacher):
        folders[ORIGINAL] = Path(original)
    folders |= {name: folder / "model" for name, (folder, _) in references.items()}
    models = {name: load_model(folder, config.model) for name, folder in folders.items()}
    _check_alike(models)
    digests = {name: digest_folder(folder) for name, folder in folders.items()}
    manifest_sha256 = digest_file(manifest_path)
    split_summary = _split_summary(splits, manifest_sha256)
    facts = {
        "teacher_sha256": digests["teacher"],
        "manifest_sha256": manifest_sha256,
        **config.model_dump(include={"operator", "keep_fraction", "operator_patch_size"}),
    }
    _check_made_from(unlearned, "unlearn", unlearn_summary, {**facts, "model_sha256": digests["unlearned"]})
    for name, (folder, summary) in references.items():
        _check_made_from(folder, "reference", summary, {**facts, "model_sha256": digests[name]})
    return Inputs(
        models=models,
        digests=digests,
        manifest=manifest,
        manifest_sha256=manifest_sha256,
        due=str(split_summary.get("due", "")),
        received_and_due=_dates(split_summary, manifest.requests),
        selected_by=str(split_summary.get("selected_by", "")),
        holdout_alike=bool(split_summary.get("holdout_alike", False)),
        near_duplicates={key: value for key, value in split_summary.items() if "near_duplicates" in key},
        sets=sets,
        further=further,
        canaries=_canaries(splits, manifest),
        operator=operator,
        policies=policies,
        unlearn_summary=unlearn_summary,
        reference_summary=references["reference"][1] if references else {},
        steps=_read_steps(unlearned / "steps.jsonl"),
    )


def operators_of(config: EvaluateConfig) -> list[Operator]:
    """The operators to judge: that of the training, then the others in order.

    Raises:
        UserError: a name is not known.
    """
    first = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    named = [read_operator(label, config.operator_patch_size) for label in config.operators]
    return [first, *(operator for operator in dict.fromkeys(named) if operator.label != first.label)]


def _policies(config: EvaluateConfig) -> dict[str, Policy]:
    """All policies, the deciding one first."""
    if config.policy not in config.policies:
        known = ", ".join(sorted(config.policies)) or "none"
        raise UserError(f"evaluate.policy={config.policy!r} is not known; policies given: {known}")
    names = [config.policy, *sorted(set(config.policies) - {config.policy})]
    return {name: parse_policy(name, config.policies[name]) for name in names}


def _near_copies(splits: Path) -> set[tuple[str, int]]:
    """Shard and row of every near-copy that the split lists; none where it was made without the search."""
    path = splits / "near_duplicates.csv"
    if not path.is_file():
        return set()
    listed = pd.read_csv(path)
    return set(zip(listed["shard"].astype(str), listed["row"].astype(int), strict=True))


def _canaries(splits: Path, manifest: SplitManifest) -> pd.DataFrame:
    """None where the split was made without them."""
    path = splits / CANARIES_FILE
    listed = pd.read_csv(path, dtype={"shard": str}) if path.is_file() else pd.DataFrame()
    if not len(listed):
        return pd.DataFrame({"shard": [], "row": [], "included": [], "tested": [], "role": []})
    return listed.merge(manifest.rows[["shard", "row", "role"]], how="left")


def _choose_sets(
    images: str, manifest: SplitManifest, config: EvaluateConfig, copies: set[tuple[str, int]]
) -> tuple[dict[str, ChosenSet], ChosenSet]:
    labels = read_labels(images)
    sets = {name: choose(manifest.of(name), name, config, labels, copies) for name in SETS}
    held_out = manifest.of(*NEVER_SEEN_SETS).merge(labels, how="left").fillna({"label": ""})
    return sets, ChosenSet(rows=further_never_seen(sets, held_out, config.seed), num_images=len(held_out))


def further_never_seen(sets: Mapping[str, ChosenSet], held_out: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows of `held_out` (all never-seen images) that are not scored, of the forget images' classes.

    At most `MOST_FURTHER` of the number of scored images. Classes with the most forget images come first; each gets as
    many as it lacks to be ranked among its own, or none, and what is left brings them up to `ENOUGH_OF_CLASS`.
    """
    scored = pd.concat([sets[name].rows for name in NEVER_SEEN_SETS])
    is_scored = held_out["hmac_id"].isin(scored["hmac_id"])
    left = held_out[~is_scored]
    num = scored["label"].value_counts()
    available = left["label"].value_counts()
    wanted = sets["forget"].rows["label"].value_counts()
    budget = int(MOST_FURTHER * sum(len(chosen.rows) for chosen in sets.values()))
    take: dict[str, int] = {}
    for target in (FEWEST_OF_CLASS, ENOUGH_OF_CLASS):
        for label in sorted(wanted.index, key=lambda one: (-wanted[one], one)):
            taken = take.get(label, 0)
            lacks = max(0, target - int(num.get(label, 0)) - taken)
            more = min(lacks, int(available.get(label, 0)) - taken, budget)
            if more == lacks or num.get(label, 0) + taken >= FEWEST_OF_CLASS:
                take[label] = taken + more
                budget -= more
    places: list[int] = []
    for label, count in take.items():
        of_class = left.index[left["label"] == label]
        rng = np.random.default_rng(derive_seed(seed, "evaluate", "further", label))
        places += of_class[rng.permutation(len(of_class))[:count]].tolist()
    return held_out.loc[sorted(places)].reset_index(drop=True)


def read_labels(images: str) -> pd.DataFrame:
    """Columns shard, row, label of all images."""
    return read_index(images)[["shard", "row", "label"]]


def choose(
    rows: pd.DataFrame,
    set_name: str,
    config: EvaluateConfig,
    labels: pd.DataFrame,
    copies: Collection[tuple[str, int]] = (),
) -> ChosenSet:
    """A random subset of at most `max_images` (shards are often sorted, so that a prefix would be a biased sample).

    `rows` has the columns shard, row and hmac_id; `copies` are shard and row of near-copies of forget images.
    """
    num_images = len(rows)
    if num_images > config.max_images:
        rng = np.random.default_rng(derive_seed(config.seed, "evaluate", "subset", set_name))
        rows = rows.iloc[np.sort(rng.choice(num_images, config.max_images, replace=False))]
    places = zip(rows["shard"].astype(str), rows["row"].astype(int), strict=True)
    return ChosenSet(
        rows=rows[["shard", "row", "hmac_id"]].merge(labels, how="left").fillna({"label": ""}),
        num_images=num_images,
        copies=frozenset(place for place, named in enumerate(places) if named in copies),
    )


def _references(outputs: References) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folder and summary of each reference by its name, in the order of the outputs."""
    found = []
    for output in [outputs] if isinstance(outputs, str | Path) else outputs:
        if not str(output):
            continue
        count = read_summary(Path(output), "reference").get("count")
        if not isinstance(count, int):
            raise UserError(f"{output}/summary.json: count={count!r}; run `i2i-unlearn reference` again")
        folders = [Path(output) / str(number) for number in range(1, count + 1)]
        found += [(folder, read_summary(folder, "reference")) for folder in folders]
    return {f"reference_{number}" if number > 1 else "reference": one for number, one in enumerate(found, 1)}


def _check_alike(models: Mapping[str, Any]) -> None:
    """All models complete the same images."""
    teacher = models["teacher"]
    for name, model in models.items():
        if (model.image_size, model.num_channels) != (teacher.image_size, teacher.num_channels):
            raise UserError(
                f"the {name} model takes images of {_size(model)}, the teacher of {_size(teacher)}; "
                "give models that were made from one another"
            )


def _size(model: Any) -> str:
    return f"{model.image_size[0]}x{model.image_size[1]} pixels and {model.num_channels} channels"


def _check_made_from(folder: Path, stage: str, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Every fact that the stage noted in its summary is what `evaluate` is given."""
    for key, given in facts.items():
        if key in summary and summary[key] != given:
            raise UserError(
                f"{folder}: made with {key}={_short(summary[key])}, but evaluate is given {_short(given)}; "
                f"run `i2i-unlearn {stage}` again, or give the parts it was made from"
            )


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _split_summary(splits: Path, manifest_sha256: str) -> dict[str, Any]:
    """Empty where there is none: a caller may hand on the manifest alone. One that is there belongs to the manifest."""
    if not (splits / "summary.json").is_file():
        return {}
    summary = read_summary(splits, "split")
    if summary["manifest_sha256"] != manifest_sha256:
        raise UserError(f"{splits}: summary.json is of another manifest.parquet; run `i2i-unlearn split` again")
    return summary


def _dates(summary: Mapping[str, Any], requests: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Received and due by request; empty where the split does not tell."""
    columns = [str(summary.get(key, "")).split(",") for key in ("requests_received", "requests_due")]
    if any(len(column) != len(requests) for column in columns):
        columns = [[""] * len(requests)] * 2
    return dict(zip(requests, zip(*columns, strict=True), strict=True))


def _read_steps(path: Path) -> list[dict[str, float]]:
    """Rows of the log; none where the unlearning wrote no log."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON lines ({error}); run `i2i-unlearn unlearn` again") from None
