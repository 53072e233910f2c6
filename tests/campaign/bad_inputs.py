"""Inputs made from the real schemas, each valid but for one named fault: every one is refused, in one line that says
which file and which key.

A surface is a way in (settings, requests, policies, images, shards, manifests, model directories). It draws a `Case`:
what to call and which words the refusal must hold.
"""

import copy
import io
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from i2i_unlearn.config.sections import CONFIGS, load_params
from i2i_unlearn.data.images.decoding import open_image
from i2i_unlearn.data.images.reading import iter_encoded, read_index
from i2i_unlearn.data.request import read_request
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.policy import read_policies
from i2i_unlearn.models import load_model
from i2i_unlearn.support.errors import UserError
from tests.campaign.world import POLICY, SETTINGS, Chain, run
from tests.conftest import pixels_of, tiny_params

WORDS = st.from_regex(r"[b-hj-m][a-z]{1,9}", fullmatch=True).filter(lambda word: word not in ("false", "default"))
"""Words that are no number, no truth value and no name of ours."""
SCHEMA_OF = {name: config.model_json_schema() for name, config in CONFIGS.items()}


@dataclass(frozen=True)
class Case:
    """One input with one fault."""

    fault: str
    """Its name, for the report."""
    call: Callable[[], Any]
    words: Sequence[str]
    """What the refusal must hold: the file or place, and the key."""
    command: Sequence[str] = ()
    """The command line that meets it, where there is one."""


@dataclass(frozen=True)
class Found:
    """What came of one case."""

    surface: str
    fault: str
    words: Sequence[str]
    outcome: str
    """refused | accepted | traceback | unclear"""
    message: str


class World:
    """Valid inputs that faults are put into, in a folder."""

    def __init__(self, folder: Path, images: Path, model: Path, manifest: Path) -> None:
        self.folder, self.images, self.model, self.manifest = folder, images, model, manifest
        self.params = tiny_params(**SETTINGS)
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.tensors = load_file(model / "model.safetensors")
        self.table = pq.read_table(next(images.glob("*.parquet")))

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def world_of(chain: Chain) -> World:
    """The inputs of a project that lived."""
    artifacts = chain.after("evidence") / "artifacts"
    images = chain.after("evidence") / "data/images"
    manifest = artifacts / "splits/manifest.parquet"
    return World(chain.folder.parent / "bad-inputs", images, artifacts / "original/model", manifest)


def run_by_command(chain: Chain, number: int, start: int) -> list[Found]:
    """Settings and requests with one fault, by the command line: exit code 1 and one line."""
    found: list[Found] = []
    project = chain.put_back("evidence")
    world = world_of(chain)

    def meet(case: Case) -> None:
        if len(found) >= number or not case.command:
            return
        for name, place in (("params.yaml", "params.yaml"), ("w-1.yaml", "data/forget/w-1.yaml")):
            if (world.scratch / name).exists():
                shutil.copy(world.scratch / name, project / place)
        ended = run(project, *case.command)
        outcome = "accepted" if ended.code == 0 else "refused" if ended.is_one_line else "traceback"
        message = ended.err.strip()[-300:]
        if outcome == "refused" and not all(word in message for word in case.words):
            outcome = "unclear"
        found.append(Found("command line", case.fault, tuple(case.words), outcome, message))
        shutil.copy(chain.before("evidence") / "params.yaml", project)
        shutil.copy(chain.before("evidence") / "data/forget/w-1.yaml", project / "data/forget")
        for path in world.scratch.glob("*.yaml"):
            path.unlink()

    cases = st.one_of(settings_cases(world), request_cases(world))
    seed(start)(_options(4 * number)(given(cases)(meet)))()
    return found


def run_bad_inputs(world: World, number: int, start: int) -> list[Found]:
    """`number` cases over all surfaces, in one process."""
    found: list[Found] = []
    options = _options(math.ceil(number / len(SURFACES)))
    for name, surface in SURFACES.items():
        cases = surface(world)
        meet = given(cases)(_meeting(found, name))
        seed(start)(options(meet))()
    return found


def _meeting(found: list[Found], surface: str) -> Callable[[Case], None]:
    def meet(case: Case) -> None:
        found.append(judge(surface, case))

    return meet


def _options(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def judge(surface: str, case: Case) -> Found:
    """Call, and see whether it was refused as a user should be."""
    try:
        case.call()
    except UserError as error:
        message = str(error)
        clear = "\n" not in message and all(word in message for word in case.words)
        outcome = "refused" if clear else "unclear"
    except Exception as error:  # the kind does not matter: a user would see a traceback
        outcome, message = "traceback", f"{type(error).__name__}: {error}"
    else:
        outcome, message = "accepted", ""
    return Found(surface, case.fault, tuple(case.words), outcome, message)


# --- values of the wrong kind ---


def wrong_values(schema: dict[str, Any], definitions: dict[str, Any]) -> list[tuple[str, st.SearchStrategy[Any]]]:
    """Named strategies of values that this JSON schema does not allow."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema or "const" in schema:
        return [("not one of the choices", WORDS.map(lambda word: f"{word}-{word}")), ("a list", st.lists(WORDS))]
    kind = schema.get("type")
    nested: list[tuple[str, st.SearchStrategy[Any]]] = [("nothing", st.none()), ("keys", st.just({"a": 1}))]
    if kind in ("integer", "number"):
        found = [*nested, ("a word", WORDS), ("a list", st.lists(st.integers(), min_size=1))]
        found += [("not a finite number", st.sampled_from([math.nan, math.inf, -math.inf]))]
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        step = (st.integers(1, 10**6)) if kind == "integer" else st.floats(0.001, 1e6)
        if low is not None:
            found.append(("too small", step.map(lambda by: low - by)))
        if high is not None:
            found.append(("too large", step.map(lambda by: high + by)))
        if kind == "integer":
            found.append(("a fraction", st.integers(1, 1000).map(lambda whole: whole + 0.5)))
        return found
    if kind == "boolean":
        return [*nested, ("a word", WORDS), ("a number", st.integers(2, 10**6))]
    if kind == "string":
        return [*nested, ("a number", st.integers() | st.floats(allow_nan=False)), ("a list", st.lists(WORDS))]
    if kind == "array":
        return [*nested, ("a number", st.integers(10, 10**6))]
    if kind == "object":
        return [("nothing", st.none()), ("a number", st.integers()), ("a list", st.lists(st.integers(), min_size=1))]
    return []


# --- surfaces ---


@st.composite
def settings_cases(draw: st.DrawFn, world: World) -> Case:
    """params.yaml: one key of one section."""
    section = draw(st.sampled_from(sorted(set(CONFIGS) & set(world.params))))
    content = copy.deepcopy(world.params)
    keys = sorted(set(content[section]) & set(SCHEMA_OF[section]["properties"]))
    fault = draw(st.sampled_from(["unknown key", "missing key", "wrong value", "wrong value", "wrong value"]))
    key = draw(st.sampled_from(keys))
    if fault == "unknown key":
        key = draw(WORDS.filter(lambda word: word not in SCHEMA_OF[section]["properties"]))
        content[section][key] = draw(st.integers() | WORDS)
    elif fault == "missing key":
        del content[section][key]
    else:
        choices = wrong_values(SCHEMA_OF[section]["properties"][key], SCHEMA_OF[section].get("$defs", {}))
        if not choices:
            del content[section][key]
            fault = "missing key"
        else:
            fault, values = draw(st.sampled_from(choices))
            content[section][key] = draw(values)
    path = world.scratch / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    more = {"policies": {}} if section == "evaluate" else {}
    command = {"split": ("split",), "unlearn": ("unlearn",), "evaluate": ("evaluate",), "pretrain": ("pretrain",)}
    return Case(
        f"{section}: {fault}",
        lambda: CONFIGS[section].from_params(load_params(path), **more),
        (key,),
        command.get(section, ()),
    )


REQUEST = {
    "schema_version": 1,
    "id": "w-1",
    "received": "2026-01-01",
    "due": "2026-01-31",
    "basis": "test",
    "selector": {"labels": ["b"]},
}


@st.composite
def request_cases(draw: st.DrawFn, world: World) -> Case:
    """A request file: one entry."""
    content = copy.deepcopy(REQUEST)
    selector = content["selector"]
    word = draw(WORDS)
    faults: dict[str, tuple[Callable[[], Any], str]] = {
        "unknown key": (lambda: content.update({f"{word}x": 1}), f"{word}x"),
        "unknown key of the selector": (lambda: selector.update({f"{word}x": [1]}), f"{word}x"),
        "no date": (lambda: content.update(received=word), "received"),
        "a date that does not exist": (lambda: content.update(due=f"2026-02-{draw(st.integers(30, 99))}"), "due"),
        "due before it was received": (lambda: content.update(due=f"2025-{draw(st.integers(10, 12))}-01"), "due"),
        "nothing is selected": (lambda: content.update(selector={"labels": []}), "selector"),
        "a number for labels": (lambda: selector.update(labels=draw(st.integers())), "labels"),
        "an id with a space": (lambda: content.update(id=f"{word} {word}"), "id"),
        "an id in capitals": (lambda: content.update(id=word.upper()), "id"),
        "another id than the file's": (lambda: content.update(id=f"{word}-2"), f"{word}-2"),
        "a version that is not known": (
            lambda: content.update(schema_version=draw(st.integers(2, 99))),
            "schema_version",
        ),
        "keys for the basis": (lambda: content.update(basis={"a": 1}), "basis"),
        **{f"no {key}": (lambda key=key: content.pop(key), key) for key in ("id", "received", "selector")},
    }
    name = draw(st.sampled_from(sorted(faults)))
    change, key = faults[name]
    change()
    path = world.scratch / "w-1.yaml"
    path.write_text(yaml.safe_dump(content))
    return Case(name, lambda: read_request(path), ("w-1.yaml", key), ("request", "show", "w-1"))


@st.composite
def policy_cases(draw: st.DrawFn, world: World) -> Case:
    """A policy file: one key of it or of its line."""
    content = copy.deepcopy(POLICY)
    line = content["lines"][0]
    word = draw(WORDS)
    faults: dict[str, tuple[Callable[[], Any], str]] = {
        "unknown key": (lambda: content.update({f"{word}x": 1}), f"{word}x"),
        "unknown key of a line": (lambda: line.update({f"{word}x": 1}), f"{word}x"),
        "unknown metric": (lambda: line["measure"].update(metric=f"{word}x"), "metric"),
        "unknown set": (lambda: line["measure"].update(set=f"{word}x"), "set"),
        "unknown model": (lambda: line["measure"].update(model=f"{word}x"), "model"),
        "a word for a bound": (lambda: line.update(at_least=word), "at_least"),
        "not a finite bound": (lambda: line.update(at_least=draw(st.sampled_from([math.inf, math.nan]))), "at_least"),
        "no bound": (lambda: line.pop("at_least"), "at_least"),
        "no lines": (lambda: content.update(lines=[]), "lines"),
        "another name than the file's": (lambda: content.update(name=f"{word}x"), "name"),
        "a version that is not known": (
            lambda: content.update(schema_version=draw(st.integers(2, 99))),
            "schema_version",
        ),
        **{f"no {key}": (lambda key=key: content.pop(key), key) for key in ("asks", "if_passed", "lines", "name")},
        **{f"a line without {key}": (lambda key=key: line.pop(key), key) for key in ("name", "measure", "why")},
    }
    name = draw(st.sampled_from(sorted(faults)))
    change, key = faults[name]
    change()
    path = world.fresh("policies") / "easy.yaml"
    path.write_text(yaml.safe_dump(content))
    return Case(name, lambda: read_policies(path.parent), ("easy", key))


@st.composite
def image_cases(draw: st.DrawFn, world: World) -> Case:
    """An encoded image: cut off, or not one at all."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]))
    file = io.BytesIO()
    Image.fromarray(pixels_of("a", draw(st.integers(0, 99)))).save(file, kind)
    whole = file.getvalue()
    fault = draw(st.sampled_from(["cut off", "bytes of no format", "empty", "another header"]))
    content = {
        "cut off": lambda: whole[: draw(st.integers(1, len(whole) // 2))],
        "bytes of no format": lambda: draw(st.binary(min_size=1, max_size=200)),
        "empty": lambda: b"",
        "another header": lambda: draw(st.binary(min_size=16, max_size=16)) + whole[16:],
    }[fault]()
    return Case(f"{kind}: {fault}", lambda: np.asarray(open_image(content, name="shard row 7")), ("shard row 7",))


@st.composite
def shard_cases(draw: st.DrawFn, world: World) -> Case:
    """A shard of images."""
    table, path = world.table, world.fresh("shards") / "tiny.parquet"
    column = draw(st.sampled_from(table.column_names))
    position = table.schema.get_field_index(column)
    fault = draw(
        st.sampled_from(["a column is missing", "a column of numbers", "an id twice", "cut off", "no Parquet"])
    )
    words: tuple[str, ...] = ("tiny",)
    if fault == "a column is missing":
        pq.write_table(table.drop_columns(column), path)
        words = ("tiny.parquet", column)
    elif fault == "a column of numbers":
        numbers = pa.array(range(draw(st.integers(0, 99)), len(table) + 99)).slice(0, len(table))
        pq.write_table(table.set_column(position, pa.field(column, numbers.type), numbers), path)
        words = (column,)
    elif fault == "an id twice":
        row = draw(st.integers(1, len(table) - 1))
        ids = table["sample_id"].to_pylist()
        ids[row] = ids[0]
        field = table.schema.field("sample_id")
        pq.write_table(table.set_column(0, field, pa.array(ids, field.type)), path)
        words = ("tiny.parquet row 0", f"row {row}", "sample id")
    else:
        pq.write_table(table, path)
        whole = path.read_bytes()
        path.write_bytes(whole[: draw(st.integers(0, len(whole) - 1))] if fault == "cut off" else draw(st.binary()))

    def read() -> None:
        index = read_index(str(path.parent))
        list(iter_encoded(str(path.parent), index))

    return Case(fault, read, words, ("data", "show"))


@st.composite
def manifest_cases(draw: st.DrawFn, world: World) -> Case:
    """A split manifest."""
    table = pq.read_table(world.manifest)
    path = world.fresh("splits") / "manifest.parquet"
    faults = ["a column is missing", "another role", "another version", "no facts", "cut off", "of other images"]
    fault = draw(st.sampled_from(faults))
    images = None
    words: tuple[str, ...] = ("manifest.parquet",)
    if fault == "a column is missing":
        column = draw(st.sampled_from(["shard", "row", "part", "role"]))
        pq.write_table(table.drop_columns(column), path)
        words = ("manifest.parquet", column)
    elif fault == "another role":
        roles = table["role"].to_pylist()
        roles[draw(st.integers(0, len(roles) - 1))] = draw(WORDS)
        position = table.schema.get_field_index("role")
        pq.write_table(table.set_column(position, table.schema.field("role"), pa.array(roles)), path)
    elif fault in ("another version", "of other images"):
        key, facts = next((key, json.loads(value)) for key, value in table.schema.metadata.items() if b"i2i" in key)
        if fault == "another version":
            facts["schema_version"] = draw(st.integers(10, 10**6))
        else:
            digest = st.text("0123456789abcdef", min_size=64, max_size=64)
            facts["fingerprints"] = {shard: draw(digest) for shard in facts["fingerprints"]}
            images = str(world.images)
        pq.write_table(table.replace_schema_metadata({key: json.dumps(facts).encode()}), path)
    elif fault == "no facts":
        pq.write_table(table.replace_schema_metadata(None), path)
    else:
        whole = world.manifest.read_bytes()
        path.write_bytes(whole[: draw(st.integers(0, len(whole) - 1))])
    return Case(fault, lambda: read_manifest(path, images), words)


@st.composite
def model_cases(draw: st.DrawFn, world: World) -> Case:
    """A model directory: config.json or the weights."""
    folder = world.fresh("model")
    for path in world.model.iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    config = json.loads((world.model / "config.json").read_text())
    name = draw(st.sampled_from(sorted(world.tensors)))
    sizes = ["hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size", "num_channels"]
    key = draw(st.sampled_from(sizes))
    fault = draw(
        st.sampled_from(
            ["a word for a size", "a size below 1", "a fraction", "no family", "not JSON", "cut off", "no tensor"]
            + ["another shape", "not a finite number", "one tensor more"]
        )
    )
    tensors, words = dict(world.tensors), ("model",)
    if fault in ("a word for a size", "a size below 1", "a fraction"):
        values: dict[str, st.SearchStrategy[Any]] = {
            "a word for a size": WORDS,
            "a size below 1": st.integers(-99, 0),
            "a fraction": st.integers(1, 99).map(lambda whole: whole + 0.5),
        }
        config[key] = draw(values[fault])
        words = ("model", key)
    elif fault == "no family":
        config.pop("family", None), config.pop("model_type", None)
    elif fault == "no tensor":
        del tensors[name]
        words = ("model.safetensors",)
    elif fault == "another shape":
        tensors[name] = np.zeros((draw(st.integers(1, 9)), 7, 3), np.float32)
        words = ("model.safetensors",)
    elif fault == "not a finite number":
        tensors[name] = tensors[name].copy()
        tensors[name].reshape(-1)[draw(st.integers(0, tensors[name].size - 1))] = math.nan
        words = ("model", "not finite")
    elif fault == "one tensor more":
        tensors[f"{draw(WORDS)}.weight"] = np.zeros(3, np.float32)
    text = json.dumps(config)
    _replace(folder / "config.json", text[: draw(st.integers(1, 50))] if fault == "not JSON" else text)
    weights = folder / "model.safetensors"
    if tensors.keys() != world.tensors.keys() or fault in ("another shape", "not a finite number"):
        weights.unlink()
        save_file(tensors, weights, metadata={"format": "pt"})
    elif fault == "cut off":
        whole = (world.model / "model.safetensors").read_bytes()
        weights.unlink()
        weights.write_bytes(whole[: draw(st.integers(0, len(whole) - 1))])
    return Case(fault, lambda: load_model(folder), words)


def _replace(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


SURFACES: dict[str, Callable[[World], st.SearchStrategy[Case]]] = {
    "settings": settings_cases,
    "requests": request_cases,
    "policies": policy_cases,
    "images": image_cases,
    "shards": shard_cases,
    "manifests": manifest_cases,
    "models": model_cases,
}
