"""The table of a sweep: numbers by hand, the two fronts, and what is not comparable."""

import json

import pytest

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps import table as pareto
from tests.support.says import says
from tests.sweeps.point_folders import write_point


def tabulate(*folders):
    table = pareto.tabulate(list(folders))
    return {row["name"]: row for row in table["points"]}, table


@pytest.fixture
def five(tmp_path):
    """Two objectives. The reference loses 2 dB on the forget set."""
    return [
        write_point(tmp_path / "1", -0.5, -0.05, -0.02, alpha=0.1, outcome="fail"),
        write_point(tmp_path / "2", -1.9, -0.20, -0.30, alpha=0.25),
        write_point(tmp_path / "3", -5.0, -0.90, -0.80, alpha=1.0, outcome="fail"),
        write_point(tmp_path / "4", -0.5, -0.30, -0.10, objective="max_loss", alpha=0.1, outcome="undecided"),
        write_point(tmp_path / "5", -2.6, -0.25, -0.10, objective="max_loss", alpha=0.25),
    ]


def test_retention_is_the_worse_of_retain_and_unseen(five):
    rows, _ = tabulate(*five)
    assert rows["encoder_l2 alpha 0.1"]["retention"]["value"] == -0.05  # of retain
    assert rows["encoder_l2 alpha 0.25"]["retention"]["value"] == -0.30  # of unseen


def test_without_unseen_images_retention_is_that_of_the_retain_set(tmp_path):
    rows, table = tabulate(write_point(tmp_path / "p", -1.0, -0.1, None))
    assert rows["encoder_l2 alpha 0.25"]["retention"]["value"] == -0.1
    assert table["landmarks"]["reference"]["retention"]["value"] == 0.05


@pytest.mark.parametrize(
    ("front", "names"),
    [
        # (forgetting, retention): (-.5, -.05) (-1.9, -.3) (-5, -.9) (-.5, -.3) (-2.6, -.25): 5 beats 2.
        ("on_front", ["encoder_l2 alpha 0.1", "encoder_l2 alpha 1", "max_loss alpha 0.25"]),
        # (|gap|, retention): (1.5, -.05) (.1, -.3) (3, -.9) (1.5, -.3) (.6, -.25): forgetting too much is no merit.
        ("on_reference_front", ["encoder_l2 alpha 0.1", "encoder_l2 alpha 0.25", "max_loss alpha 0.25"]),
    ],
)
def test_both_fronts_by_hand(five, front, names):
    rows, _ = tabulate(*five)
    assert [name for name, row in rows.items() if row[front]] == names


def test_original_and_reference_are_landmarks(five):
    _, table = tabulate(*five)
    for name, expected in (("original", [0, 0, 2.0]), ("reference", [-2, 0.05, 0])):
        landmark = table["landmarks"][name]
        assert [landmark[key]["value"] for key in ("forgetting", "retention", "gap")] == expected
    assert table["landmarks"]["original"]["closeness"]["value"] == 14.0


def test_without_a_reference_there_is_no_second_front(tmp_path):
    rows, table = tabulate(write_point(tmp_path / "p", reference=None))
    assert table["landmarks"]["reference"] is None
    assert rows["encoder_l2 alpha 0.25"]["on_front"]
    assert not rows["encoder_l2 alpha 0.25"]["on_reference_front"]


def test_a_point_where_training_diverged_is_listed_and_beats_nobody(tmp_path, five):
    bad = write_point(tmp_path / "bad", alpha=99.0, diverged="step 3: the loss is not finite")
    rows, _ = tabulate(*five, bad)
    row = rows["encoder_l2 alpha 99"]
    assert (row["gate"], row["on_front"], row["on_reference_front"]) == ("diverged", False, False)
    assert row["forgetting"]["value"] is None
    assert sum(row["on_front"] for row in rows.values()) == 3


def test_points_are_also_named_by_other_settings_that_differ(tmp_path):
    folders = [write_point(tmp_path / str(steps), -steps / 10, num_steps=steps) for steps in (10, 20)]
    rows, table = tabulate(*folders)
    assert list(rows) == ["encoder_l2 alpha 0.25, num_steps 10", "encoder_l2 alpha 0.25, num_steps 20"]
    assert "num_steps" not in table["shared"]["settings"]
    assert table["shared"]["settings"]["operator"] == "center_hole"


def test_points_of_different_teachers_are_refused_by_name(tmp_path, five):
    other = write_point(tmp_path / "other", teacher="e" * 64, alpha=7.0)
    with says(
        UserError,
        "encoder_l2 alpha 0.1",
        "encoder_l2 alpha 7",
        "teacher_sha256 is aaaaaaaaaaaa",
        "eeeeeeeeeeee",
        "one split",
    ):
        pareto.tabulate([*five, other])


def test_no_points_no_folder_of_one_and_only_points_that_diverged_are_refused(tmp_path):
    with says(UserError, "i2i-unlearn sweep"):
        pareto.tabulate([])
    with says(UserError, "point.json: no such file"):
        pareto.tabulate([tmp_path])
    with says(UserError, "diverged at every point", "step 3: the loss is not finite"):
        pareto.tabulate([write_point(tmp_path / "bad", diverged="step 3: the loss is not finite")])


def test_run_writes_table_page_and_summary_and_the_same_points_give_the_same_bytes(tmp_path, five):
    facts = pareto.run(five, tmp_path / "out")
    assert (facts["num_points"], facts["num_passed"]) == (5, 2)
    assert facts["forgetting_most"] == "encoder_l2 alpha 0.1, encoder_l2 alpha 1, max_loss alpha 0.25"
    assert json.loads((tmp_path / "out/summary.json").read_text()) == facts
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["pareto.html", "points.json", "summary.json"]
    pareto.run(five, tmp_path / "again")
    for path in written:
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
