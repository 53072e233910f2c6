"""Checks a saved model: every tensor that was to change has changed, and all others are untouched.

The released code of the paper saves the whole teacher inside the "unlearned" checkpoint; this guards against that.
"""

from pathlib import Path

from safetensors import safe_open

from i2i_unlearn.models import load_model
from i2i_unlearn.support.errors import UserError


def check_export(unlearned: Path, teacher: Path, changing: set[str], own: str = "") -> None:
    """Read both model directories back and compare them tensor by tensor.

    `changing` holds the names, as in the loaded model's `state_dict`, of the tensors that were to change; `own` is the
    user's class, if it is one.

    Raises:
        UserError: a tensor that was to change equals the teacher's, another one differs from it, or names differ.
    """
    extra = sorted(_names(unlearned) ^ _names(teacher))
    if extra:
        raise UserError(f"{unlearned}: tensor names differ from the teacher's, first {extra[0]}; not exported")
    new, old = load_model(unlearned, own).state_dict(), load_model(teacher, own).state_dict()
    same = {name for name in new if new[name].equal(old[name])}
    left = sorted(changing & same)
    if left:
        raise UserError(
            f"tensors still equal the teacher's after unlearning: {len(left)} of {len(changing)}, first {left[0]}; "
            "raise num_steps, learning_rate or alpha"
        )
    moved = sorted(set(new) - changing - same)
    if moved:
        raise UserError(f"tensors changed that were to stay: {len(moved)}, first {moved[0]}; not exported")


def _names(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= {f"{path.relative_to(folder)}: {name}" for name in file.keys()}  # noqa: SIM118  not a dict
    return names
