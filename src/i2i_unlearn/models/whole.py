"""A model directory counts as a whole: what would be left out in silence is refused, what is left out rightly is told.

Read here are file names and the headers of weights files, never the weights.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from i2i_unlearn.models.directory import pickled_told, read_config
from i2i_unlearn.support.errors import UserError

_ADAPTER_FILES = re.compile(r"adapter_(config|model)\b.*|pytorch_lora_weights\b.*|.*lora.*\.(safetensors|bin|pt)", re.I)
_ADAPTER_TENSORS = re.compile(
    r"(^|[._])(lora|loha|lokr|hada|oft|boft|vera|ia3)_|\.base_layer\.|\.modules_to_save\.|_lora\."
)
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx")
_EXACT = {"F32", "F16", "BF16"}
_WHOLE = {"BOOL", "I64", "I32", "I16"}
"""Of counters and tables of places, not of weights."""
_NAMES = {"F16": "fp16", "BF16": "bf16", "F64": "float64"}
PARTS = {"mae": ("",), "vqgan": ("",), "diffusion": ("unet",), "latent_diffusion": ("unet", "vae")}
"""Folders of each family that hold weights."""
_NOT_READ = {"text_encoder", "tokenizer", "safety_checker", "feature_extractor"}
"""Parts of a latent directory in whose place the empty prompt's embedding is read, or that change no pixel."""


def check_whole(folder: str | Path) -> None:
    """Refuse a directory of which a part would be left out, or read as something else.

    Raises:
        UserError: it holds an adapter, quantised weights, weights of a kind of number that is not known, or parts of a
            pipeline that this program does not run.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.get("quantization_config"):
        raise UserError(
            f"{folder}/config.json: quantization_config is set, and quantised weights cannot be trained; give the "
            "directory before it was quantised"
        )
    for part in ("", *(entry.name for entry in sorted(folder.iterdir()) if entry.is_dir())):
        if not part.startswith((".", "checkpoint")):
            _check_files(folder / part)
    _check_pipeline(folder)
    _check_tensors(weights_read(folder, config.get("family", "")))


def notes_on(folder: str | Path) -> list[str]:
    """What is read as something else without loss, or left out rightly; for people, one line each."""
    folder, notes = Path(folder), []
    family = read_config(folder).get("family", "")
    read = weights_read(folder, family)
    if not read:
        return []
    kinds = {kind for place in read for _, kind in _header(place)} - {"F32", *_WHOLE}
    if kinds & {"F16", "BF16"}:
        names = " and ".join(sorted(_NAMES[kind] for kind in kinds & {"F16", "BF16"}))
        notes.append(f"weights stored as {names} are read as float32, each number exactly")
    if "F64" in kinds:
        notes.append("weights stored as float64 are rounded to float32")
    others = [path for path in _files(folder) if path.suffix in _WEIGHTS and path not in read]
    others = [path for path in others if path.name != "empty_prompt.safetensors"]
    if others:
        notes.append(f"not read: {', '.join(str(path.relative_to(folder)) for path in others)}")
    variants = [path.relative_to(folder) for path in read if _is_variant(path)]
    if variants:
        notes.append(f"read in place of the full weights, which are not there: {', '.join(map(str, variants))}")
    return notes


def weights_read(folder: Path, family: str) -> list[Path]:
    """The weights files of a directory of ours or of a library's layout; none for a user's own class."""
    found: list[Path] = []
    for part in PARTS.get(family, ()):
        paths, _ = weights_in(folder / part, "diffusion_pytorch_model" if part else "model")
        found += paths
    return found


def weights_in(folder: Path, stem: str) -> tuple[list[Path], str | None]:
    """The files of one set of weights, and the variant (`fp16`) where there is nothing else.

    Raises:
        UserError: there are two sets, or several variants and no full set; a file of the set is missing; or the only
            weights are pickles.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file() and index.is_file():  # transformers reads the first, diffusers the shards
        raise UserError(
            f"{folder}: holds two sets of weights, {single.name} and the shards that {index.name} names; remove the "
            "set that is not meant"
        )
    if single.is_file():
        return [single], None
    if index.is_file():
        return _shards(index), None
    variants = {}
    for path in sorted(folder.glob(f"{stem}.*.safetensors*")):
        if found := re.fullmatch(rf"{re.escape(stem)}\.(\w+)\.safetensors", path.name):
            variants[found[1]] = [path]
    for path in sorted(folder.glob(f"{stem}.safetensors.index.*.json")):
        variants[path.name.split(".")[-2]] = _shards(path)
    if len(variants) > 1:
        raise UserError(
            f"{folder}: holds the variants {', '.join(sorted(variants))} and no {single.name}; remove all but the one "
            "that is meant"
        )
    for variant, paths in variants.items():
        return paths, variant
    shards = sorted(folder.glob(f"{stem}-*.safetensors"))
    if not shards and (pickled := sorted(folder.glob("*.bin"))):
        raise UserError(f"{folder}: no {single.name} in it; {pickled_told(pickled[0].name)}")
    return shards, None


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: has no weight_map; fetch the directory again") from None
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise UserError(f"{index}: names {missing[0]}, which is not there; fetch the directory again")
    return [index.parent / name for name in names]


def _is_variant(path: Path) -> bool:
    return not re.fullmatch(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors", path.name)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in inside):
            yield path


def _check_files(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_file() and _ADAPTER_FILES.fullmatch(path.name):
            raise UserError(f"{path}: is an adapter (LoRA), which would be left out; {_how_to_merge(path)}")


def _how_to_merge(path: Path) -> str:
    if path.name.startswith("adapter_"):
        return (
            "merge it into the weights and give that directory: PeftModel.from_pretrained("
            "ViTMAEForPreTraining.from_pretrained(BASE), ADAPTER).merge_and_unload().save_pretrained(MERGED) "
            "(peft, transformers), then copy preprocessor_config.json into it; or move the adapter away if the model "
            "is used without it"
        )
    return (
        "merge it into the weights and give that directory: pipe.load_lora_weights(ADAPTER); pipe.fuse_lora(); "
        "pipe.unload_lora_weights(); pipe.save_pretrained(MERGED) (diffusers); or move it away if the model is used "
        "without it"
    )


def _check_tensors(paths: Iterable[Path]) -> None:
    first_in: dict[str, Path] = {}
    for path, name, kind in ((one, *found) for one in paths for found in _header(one)):
        if first_in.setdefault(name, path) != path:
            raise UserError(f"{path}: holds {name}, and so does {first_in[name].name}; fetch the directory again")
        if _ADAPTER_TENSORS.search(name):
            raise UserError(
                f"{path}: holds tensors of an adapter (LoRA), first {name}, which would be left out; merge it into the "
                "weights (peft: merge_and_unload, diffusers: fuse_lora) and save the model again"
            )
        if kind not in {*_EXACT, *_WHOLE, "F64"}:
            raise UserError(f"{path}: {name} is stored as {kind}; give weights of float32, fp16 or bf16")


def _header(path: Path) -> list[tuple[str, str]]:
    """Name and kind of number of each tensor."""
    with safe_open(path, "pt") as file:
        return [(name, file.get_slice(name).get_dtype()) for name in file.keys()]  # noqa: SIM118  no dict


def _check_pipeline(folder: Path) -> None:
    """Parts of a diffusers pipeline that this program does not run and that change what it makes."""
    path = folder / "model_index.json"
    if not path.is_file():
        return
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, not UTF-8
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: cannot be read, it holds no keys; fetch the directory again")
    known = {"unet", "vae", "scheduler", *_NOT_READ}
    for name, value in content.items():
        present = isinstance(value, list) and any(item is not None for item in value)
        if present and name not in known:
            raise UserError(f"{path}: the part {name} is not run here; give an inpainting pipeline without it")
