"""Withdrawing single images: which are chosen, what a tiny cell finds, and that it is computed once."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.singles.__main__ import main
from benchmarks.singles.chain import extremes

ROOT = Path(__file__).parents[2]


def test_half_of_the_request_has_the_largest_gaps_and_half_the_smallest():
    assert extremes(np.array([0.1, 3.0, -1.0, 2.0, 0.0]), 4) == [1, 3, 4, 2]
    assert extremes(np.array([0.1, 3.0, -1.0]), 1) == [1]


@pytest.mark.slow
def test_a_tiny_cell_is_computed_once_and_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cell = ["cell", "--tiny", "--singles", "6", "--references", "1", "--out", str(tmp_path)]
    assert main(cell) == 0
    models = {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*/*/model/*")}
    assert main(cell) == 0
    assert models == {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*/*/model/*")}
    assert main(["report", "--out", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "6 single images, seed 0" in page
    assert all(f"| {model} |" in page for model in ("original", "paper, alpha 0.25", "default", "reference"))
    assert "- cifar10, mae, 40, seed 2" in page
    assert "- digits, diffusion, class, seed 0" in page


def test_a_family_without_a_recipe_is_named(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["cell", "--family", "mage"]) == 1
    assert "--family mage" in capsys.readouterr().err
