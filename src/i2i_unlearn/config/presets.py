"""Presets: settings that go together, as a file that is laid over params.yaml.

A preset is presets/NAME.yaml: a line `description`, then shared keys and sections as in params.yaml; one that repeats a
published experiment also has `protocol`, what data it takes (data/importers/published_experiment.py). A value replaces
the one in params.yaml, a section's other keys stay; only `pretrain.architecture` is replaced as a whole, since the keys
of two families have nothing in common.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig, check_keys, load_params
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.yaml_file import in_quotes, read_mapping

PROTOCOL = "protocol"
WHOLE = frozenset({"architecture"})
"""Keys whose mapping is one value."""


@dataclass(frozen=True)
class Preset:
    """Settings with a name."""

    name: str
    description: str
    settings: Mapping[str, Any]
    """As in params.yaml, but only what the preset is about."""
    protocol: Mapping[str, Any] | None = None
    """What data it takes, where it repeats a published experiment."""


@dataclass(frozen=True)
class Change:
    """One setting that a preset changed."""

    key: str
    """With its section: unlearn.alpha."""
    before: Any
    """None where the key was not there."""
    after: Any


def read_presets(folder: str | Path) -> list[Preset]:
    """All presets of a folder, by name.

    Raises:
        UserError: there is none, or one is not a preset.
    """
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise UserError(f"{folder}: no preset (*.yaml) found; run the command from the folder that holds params.yaml")
    return [_read(path) for path in paths]


def find_preset(folder: str | Path, name: str) -> Preset:
    """The preset called `name`.

    Raises:
        UserError: there is none of that name.
    """
    presets = {preset.name: preset for preset in read_presets(folder)}
    if name not in presets:
        raise UserError(f"preset {name!r} is not known; choose one of: {', '.join(presets)}")
    return presets[name]


def use_preset(preset: Preset, params: str | Path) -> list[Change]:
    """Lay the preset over the file `params`; as `change_settings`."""
    return change_settings(preset.settings, params, what=f"preset {preset.name!r}")


def change_settings(settings: Mapping[str, Any], params: str | Path, *, what: str) -> list[Change]:
    """Lay `settings` over the file `params`; return what changed. Comments and order stay.

    `what`: what the settings are, for messages.

    Raises:
        UserError: the result would not be valid settings; the file is left as it was.
    """
    params = Path(params)
    load_params(params)  # its faults are told before ours
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096  # no line is wrapped
    content = editor.load(params.read_text(encoding="utf-8"))
    changes = list(_lay_over(content, in_quotes(dict(settings))))
    buffer = io.StringIO()
    editor.dump(content, buffer)
    try:
        check_keys(params, changed := yaml.safe_load(buffer.getvalue()))
        check_settings(changed)
    except UserError as error:
        raise UserError(f"{what} does not fit: {error}; change params.yaml or choose others") from None
    if changes:
        with atomic_file(params) as aside:
            aside.write_text(buffer.getvalue(), encoding="utf-8")
    return changes


def overlaid(params: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The content of params.yaml with `settings` laid over it; the argument stays as it was."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in params.items()}
    for _ in _lay_over(result, settings):
        pass
    return result


def _lay_over(content: Any, settings: Mapping[str, Any], section: str = "") -> Iterator[Change]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and key not in WHOLE and isinstance(content.get(key), Mapping):
            yield from _lay_over(content[key], value, f"{section}{key}.")
        elif content.get(key) != value:
            yield Change(f"{section}{key}", content.get(key), value)
            content[key] = dict(value) if isinstance(value, Mapping) else value


def _read(path: Path) -> Preset:
    missing = "no such preset; choose one that `i2i-unlearn preset list` shows"
    content = read_mapping(path, missing=missing, holds="a line `description` and settings")
    if not isinstance(content.get("description"), str):
        raise UserError(f"{path}: a preset holds a line `description` and settings as in params.yaml; add them")
    settings = {key: value for key, value in content.items() if key not in ("description", PROTOCOL)}
    check_keys(path, settings)
    return Preset(path.stem, content["description"], settings, content.get(PROTOCOL))


def check_settings(params: Mapping[str, Any]) -> None:
    """Build every section.

    Raises:
        UserError: one is not valid; the message begins with its name.
    """
    for section, config in CONFIGS.items():
        more: dict[str, Any] = {"policies": {}} if config is EvaluateConfig else {}
        try:
            config.from_params(params, **more)
        except UserError as error:
            raise UserError(f"section {section}: {error}") from None
