"""What each reader of the report does now. Commands stand between backticks."""

from collections.abc import Mapping

ANSWERS = {
    "pass": "Passed: you may register this model and promote it. The request is fulfilled once it is promoted; earlier "
    "versions, backups and the images themselves are not part of this report.",
    "fail": "Failed: the request is not fulfilled. Keep it open, keep the present model, and have the unlearning run "
    "again.",
    "undecided": "Undecided: neither yes nor no can be answered. Keep the request open until the missing evidence is "
    "there.",
}
"""What one may do now, by outcome."""

_OWNER, _OFFICER, _CHECKER = "If you run the model", "If you answer for the request", "If you check the result"
_CHECK = (
    "Every number with its interval is in the sections below. `i2i-unlearn review make` shows the images to forget to "
    "those who may see them."
)
_STEPS: Mapping[str, Mapping[str, str]] = {
    "pass": {
        _OWNER: "Give it a version with `i2i-unlearn register`, then put it into use with `i2i-unlearn registry "
        "promote`. Both refuse if anything has changed since this page was written.",
        _OFFICER: "Once it is promoted, `i2i-unlearn evidence create` makes the signed record to keep, and "
        "`i2i-unlearn registry lineage` names the versions that still know the images. Then answer the person{due}.",
        _CHECKER: f"{_CHECK} This page is not signed; the record is, and `i2i-unlearn evidence verify` checks it.",
    },
    "fail": {
        _OWNER: "Do not promote it; the command refuses. The failed checks say what is wrong, docs/tuning.md which "
        "setting to change. Then run `dvc repro`.",
        _OFFICER: "The request stays open{due}. If the last day cannot be kept, tell the person why before that day.",
        _CHECKER: _CHECK,
    },
    "undecided": {
        _OWNER: "The undecided checks say what is missing, often never-seen images or retrained models "
        "(`reference.count`). Add it and run `dvc repro`. Or a person takes the decision: `i2i-unlearn registry "
        "promote --accept-undecided REASON --by NAME`.",
        _OFFICER: "The request stays open{due}. If the last day cannot be kept, tell the person why before that day.",
        _CHECKER: _CHECK,
    },
}


def next_steps(outcome: str, due: str) -> list[tuple[str, str]]:
    """Reader and what to do; `due` is the last day (ISO date), empty where it is not known."""
    last_day = f"; the last day is {due}" if due else ""
    return [(reader, step.replace("{due}", last_day)) for reader, step in _STEPS[outcome].items()]
