"""The end of the demo, from its numbers and the project's own policies."""

from pathlib import Path

import pytest
import yaml

from i2i_unlearn.cli.demo import last_screen
from i2i_unlearn.support.files import write_json

POLICIES = Path(__file__).parents[2] / "mlflow/policies"
VERSION = ["MLflow: digits-inpainter version 2, alias champion"]
SCORES = {  # value, low and high of the set in dB
    "teacher": {
        "forget": (11.06, 10.92, 11.20),
        "retain": (11.48, 11.36, 11.60),
        "retain_holdout": (10.63, 10.49, 10.77),
    },
    "unlearned": {
        "forget": (5.89, 5.78, 5.99),
        "retain": (11.19, 11.05, 11.32),
        "retain_holdout": (10.37, 10.22, 10.52),
    },
    "reference": {
        "forget": (8.57, 8.46, 8.68),
        "retain": (11.82, 11.69, 11.94),
        "retain_holdout": (10.66, 10.53, 10.82),
    },
}


def verdict(policy, outcome):
    lines = [{"name": line["name"], "outcome": outcome} for line in policy["lines"]]
    return {
        "outcome": outcome,
        "asks": policy["asks"],
        "preset": policy.get("preset", ""),
        "lines": lines,
        "left_out": [],
    }


@pytest.fixture
def screen(tmp_path):
    """`screen(outcome)`: lines of the last screen, where the deciding policy has that outcome."""

    def lines(outcome):
        write_json(
            tmp_path / "artifacts/splits/summary.json", {"num_forget": 403, "num_images": 5000, "requests": "digit-3"}
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
        verdicts = {name: verdict(one, outcome if name == "forgotten" else "fail") for name, one in policies.items()}
        write_json(tmp_path / "artifacts/evaluation/verdicts.json", {"deciding": "forgotten", "verdicts": verdicts})
        return list(last_screen(tmp_path, VERSION))

    return lines


@pytest.mark.parametrize("outcome", ["pass", "fail", "undecided"])
def test_the_last_screen_fits_a_terminal(screen, outcome):
    lines = screen(outcome)
    assert len(lines) < 24  # with the shell's own line below
    assert max(map(len, lines)) < 80


def test_it_tells_what_was_forgotten_the_verdict_the_version_and_the_report(screen):
    lines = screen("pass")
    assert lines[0] == "Forgotten: 403 of 5,000 images (request digit-3)"
    assert "to forget   11.06 (10.92 … 11.20)  5.89 (5.78 … 5.99)     8.57 (8.46 … 8.68)" in lines
    assert "PASSED forgotten (4 of 4 lines)." in lines
    assert sum(line.startswith(("PASSED", "FAILED", "UNDECIDED")) for line in lines) == 1
    text = " ".join(line.strip() for line in lines)
    assert "Other policies: as_unseen failed, as_unseen_audited failed. as_unseen asks that forget images" in text
    assert text.count("as if never seen; preset as-unseen trains for that.") == 1
    assert lines[-2:] == [*VERSION, "Report: artifacts/evaluation/report.html"]
