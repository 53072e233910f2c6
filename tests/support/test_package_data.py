from pathlib import Path

import pytest

import i2i_unlearn
from i2i_unlearn.support.package_data import package_data

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["policies", "presets", "model_card.md.j2", "params.yaml", "kubeflow"])
def test_a_checkout_has_its_own_and_a_wheel_what_was_packed(name, tmp_path, monkeypatch):
    assert package_data(name).is_relative_to(ROOT)

    package = tmp_path / "i2i_unlearn"
    (package / "package_data" / name).mkdir(parents=True)
    monkeypatch.setattr(i2i_unlearn, "__file__", str(package / "__init__.py"))
    assert package_data(name) == package / "package_data" / name
