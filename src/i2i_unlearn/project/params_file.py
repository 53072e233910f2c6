"""The params.yaml of a new project: the demo's, in another order, with other values, each with where it comes from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

HEAD = """\
# Every number of this project, once. Change a value here or with `i2i-unlearn set KEY=VALUE`. Pages called docs/... are
# in the repository of i2i-unlearn. These ten are the ones that people change first:
#
#   operator                      what is hidden and filled in when your model is used ...
#   keep_fraction                 ... and how much stays visible
#   device                        cpu, or cuda on a GPU
#   snapshot.source               the model that is to forget; after a promotion, the promoted version
#   register.model_name           its name in the registry
#   evaluate.policy               what decides: a file of mlflow/policies/
#   evaluate.show_forget_images   true shows forget images in the report: only for images that are public anyway
#   unlearn.num_steps             how long the model is trained; more where too little is forgotten
#   unlearn.learning_rate         how far a step goes; less where other images suffer
#   reference.count               models retrained without the forget set, to compare with; needs section pretrain
"""
FIRST = ("", "snapshot", "register", "evaluate", "unlearn", "reference", "split")
"""Sections in their order; the others follow. The first one is of the shared keys."""
FIRST_KEYS = ("operator", "keep_fraction", "operator_patch_size", "device", "num_threads", "seed")


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from."""

    key: str
    """With its section: unlearn.alpha."""
    value: Any
    why: str


def params_text(template: str, settings: Iterable[Setting]) -> str:
    """The text of `template`, a params.yaml of sections with a blank line between them, with `settings` in it.

    Raises:
        KeyError: it has no such key.
    """
    _, shared, *sections = template.strip("\n").split("\n\n")
    blocks = {"": _sorted_keys(shared)} | {block.partition(":")[0]: block for block in sections}
    for setting in settings:
        section, _, key = setting.key.rpartition(".")
        blocks[section] = _with_value(blocks[section], key, setting)
    order = [*(name for name in FIRST if name in blocks), *(name for name in blocks if name not in FIRST)]
    return "\n".join([HEAD, *(f"{blocks[name]}\n" for name in order)])


def _sorted_keys(block: str) -> str:
    """The shared keys, each with the lines of its comment."""
    keys = {entry.partition(":")[0]: entry for entry in re.split(r"\n(?=\S)", block)}
    order = [*FIRST_KEYS, *(name for name in keys if name not in FIRST_KEYS)]
    return "\n".join(keys[name] for name in order)


def _with_value(block: str, key: str, setting: Setting) -> str:
    """Replace the line of `key`, and lines further to the right below it: its comment's, or what it holds."""
    # Of a mapping in braces, the braces go: what is in it stays on one line.
    line = yaml.safe_dump({key: setting.value}, default_flow_style=True, width=4096, sort_keys=False).strip()[1:-1]
    made, count = re.subn(
        rf"^(?P<indent> *){re.escape(key)}:.*(?:\n(?P=indent) +.*)*",
        lambda found: f"{found['indent']}{line}   # {setting.why}",
        block,
        count=1,
        flags=re.MULTILINE,
    )
    if not count:
        raise KeyError(setting.key)
    return made
