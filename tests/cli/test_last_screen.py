"""The end of the demo, from its numbers and the project's own policies."""

from pathlib import Path

import pytest
import yaml

from i2i_unlearn.cli.forget import last_screen
from i2i_unlearn.registry import refusals, tracking
from i2i_unlearn.support.errors import GateRefused
from i2i_unlearn.support.files import write_json

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "mlflow/policies"
PROMOTED = ["MLflow: digits-inpainter version 2, alias champion"]
SCORES = {  # value, low and high of the set in dB
    "teacher": {
        "forget": (11.06, 10.92, 11.20),
        "retain": (11.48, 11.36, 11.60),
        "retain_holdout": (10.65, 10.47, 10.86),
    },
    "unlearned": {
        "forget": (8.55, 8.45, 8.64),
        "retain": (11.46, 11.34, 11.58),
        "retain_holdout": (10.63, 10.45, 10.84),
    },
    "reference": {
        "forget": (8.57, 8.46, 8.68),
        "retain": (11.82, 11.69, 11.94),
        "retain_holdout": (10.64, 10.42, 10.84),
    },
}


def verdict(policy, outcome):
    lines = []
    for line in policy["lines"]:
        # the demo has one reference, and no request before it
        judged = not {"relative", "earlier"} & set(line["measure"])
        decides = line.get("decides", True) and "earlier" not in line["measure"]
        told = {"outcome": outcome if judged else "n/a", "decides": decides, "by_rehearsal": False}
        lines.append({"name": line["name"], **told})
    return {
        "outcome": outcome,
        "asks": policy["asks"],
        "preset": policy.get("preset", ""),
        "lines": lines,
    }


def version_lines(outcome):
    """What the demo says of the version: its alias, or every reason that speaks against it."""
    tags = {"gate": outcome, "gate_policy": "as_unseen", "evaluation_run_id": "1", "teacher_version": "1"}
    name = "digits-inpainter"
    logged = tracking.Logged(id="", saved_sha256="")
    chosen = tracking.Version(name, "2", tags, (), logged)
    champion = tracking.Version(name, "3", {"model_sha256": "a" * 64, "requests": "digit-5"}, ("champion",), logged)
    against = [*refusals._gate(chosen, False), *refusals._lineage(chosen, champion, "")]
    refused = f"Not promoted: {GateRefused(*against)}"
    return PROMOTED if outcome == "pass" else ["MLflow: digits-inpainter version 2, no alias", refused]


@pytest.fixture
def screen(tmp_path):
    """`screen(outcome)`: lines of the last screen, where the deciding policy has that outcome."""

    def lines(outcome):
        write_json(
            tmp_path / "artifacts/splits/summary.json",
            {"num_forget": 403, "num_images": 5000, "requests": "digit-3", "manifest_sha256": "a" * 64},
        )
        scores = {
            model: {
                name: {"hole_psnr_db": dict(zip(("value", "low", "high"), found, strict=True))}
                for name, found in sets.items()
            }
            for model, sets in SCORES.items()
        }
        write_json(tmp_path / "artifacts/evaluation/metrics.json", {"scores": scores})
        policies = {path.stem: yaml.safe_load(path.read_text()) for path in POLICIES.glob("*.yaml")}
        verdicts = {
            name: verdict(one, outcome if name == "as_unseen" or outcome == "pass" else "fail")
            for name, one in policies.items()
        }
        write_json(tmp_path / "artifacts/evaluation/verdicts.json", {"deciding": "as_unseen", "verdicts": verdicts})
        return list(last_screen(tmp_path, version_lines(outcome)))

    return lines


@pytest.mark.parametrize("outcome", ["pass", "fail", "undecided"])
def test_the_last_screen_fits_a_terminal(screen, outcome):
    lines = screen(outcome)
    assert len(lines) < 24  # with the shell's own line below
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("outcome", ["fail", "undecided"])
def test_a_refusal_is_told_whole_with_its_remedy(screen, outcome):
    text = " ".join(line.strip() for line in screen(outcome))
    assert all(line in text for line in version_lines(outcome))


def test_the_readme_shows_what_is_printed_but_for_empty_lines(screen):
    assert "\n".join(filter(None, screen("pass"))) in (ROOT / "README.md").read_text()
