"""What comes after a command, in the order of the work: request, run, register, promote, evidence."""

from collections.abc import Mapping
from pathlib import Path

EVIDENCE_KEY = Path(".secrets/evidence/private.pem")
_ACCEPT = "i2i-unlearn registry promote --accept-undecided REASON --by NAME"
_EVIDENCE = "i2i-unlearn evidence create --version {version}"
_REGISTERED = {
    "pass": "i2i-unlearn registry promote",
    "fail": "change a setting (docs/tuning.md), then dvc repro",
    "undecided": f"{_ACCEPT}, or add what the report says is missing",
    "champion": _EVIDENCE,
    "original": "i2i-unlearn register",
}
NEXT: Mapping[str, Mapping[str, str]] = {
    "request add": {"filed": "dvc repro", "preview": "the same without --preview"},
    "guard make": {"": "dvc repro"},
    "evaluate": {
        "pass": "i2i-unlearn register",
        "fail": "read {report}, change a setting (docs/tuning.md), then dvc repro",
        "undecided": f"i2i-unlearn register; then a person can accept it ({_ACCEPT})",
    },
    "register": _REGISTERED,
    "pipeline run": {**_REGISTERED, "champion": ""},  # its step `evidence` has signed
    "registry promote": {
        "promoted": f"{_EVIDENCE}, before another run replaces artifacts/",
        "would be promoted": "the same without --dry-run",
    },
    "keys create": {"": "i2i-unlearn evidence create --key {private_key}"},
    "evidence create": {"": "i2i-unlearn evidence verify {evidence} --key {public_key}"},
}
"""By command and by how it ended."""


def next_step(command: str, ended: str = "", **names: object) -> str:
    """A line with the one thing to do after `command`; empty where nothing follows.

    `names` fill the braces. Where evidence comes next and no key can sign it, the key comes first.
    """
    text = NEXT[command].get(ended, "")
    if text.startswith(_EVIDENCE) and not EVIDENCE_KEY.is_file():
        text = f"i2i-unlearn keys create, then {text}"
    return f"Next: {text.format(**names)}" if text else ""


def after_register(facts: Mapping[str, object]) -> str:
    """How a registration ended, from its facts: original, champion, or the gate's outcome."""
    if not facts.get("gate"):
        return "original"
    return "champion" if facts.get("alias") == "champion" else str(facts["gate"])
