import shutil
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config import load_params
from i2i_unlearn.errors import UserError
from i2i_unlearn.presets import Change, find_preset, overlaid, read_presets, use_preset

ROOT = Path(__file__).parent.parent


@pytest.fixture
def params(tmp_path):
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


@pytest.fixture
def made(tmp_path):
    def make(text, name="mine"):
        folder = tmp_path / "presets"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
        return find_preset(folder, name)

    return make


@pytest.mark.parametrize("preset", read_presets(ROOT / "presets"), ids=lambda preset: preset.name)
def test_every_preset_of_the_project_fits_its_params(preset, params):
    use_preset(preset, params)
    assert use_preset(preset, params) == []  # laid over again it changes nothing


def test_values_are_replaced_and_all_else_stays(made, params):
    before = params.read_text()
    changes = use_preset(made("description: d\nseed: 7\nunlearn: {alpha: 0.5}\n"), params)
    assert changes == [Change("seed", 0, 7), Change("unlearn.alpha", load_text(before)["unlearn"]["alpha"], 0.5)]
    different = [(a, b) for a, b in zip(before.splitlines(), params.read_text().splitlines(), strict=True) if a != b]
    assert [line for _, line in different] == ["seed: 7", "  alpha: 0.5"]  # comments and order as they were


def load_text(text):
    return yaml.safe_load(text)


def test_an_architecture_is_replaced_as_a_whole(made, params):
    use_preset(made("description: d\npretrain: {architecture: {patch_size: 14}}\n"), params)
    assert load_params(params)["pretrain"]["architecture"] == {"patch_size": 14}


def test_settings_are_laid_over_without_a_file_and_the_argument_stays():
    params = {"seed": 0, "unlearn": {"alpha": 1.0, "objective": "a"}}
    assert overlaid(params, {"unlearn": {"alpha": 2.0}}) == {"seed": 0, "unlearn": {"alpha": 2.0, "objective": "a"}}
    assert params["unlearn"]["alpha"] == 1.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("description: d\nunlearn: {alpha: -1}\n", "section unlearn.*unlearn.alpha=-1"),
        ("description: d\nunlearn: {alfa: 1}\n", "unlearn.alfa is not a known key"),
    ],
)
def test_settings_that_are_not_valid_leave_the_file_as_it_was(made, params, text, fault):
    before = params.read_bytes()
    with pytest.raises(UserError, match=fault):
        use_preset(made(text), params)
    assert params.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("seed: 1\n", "a preset holds a line `description`"),
        ("description: d\nunlern: {}\n", "unknown keys unlern"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(made, text, fault):
    with pytest.raises(UserError, match=fault):
        made(text)


def test_an_unknown_name_is_told_with_the_known_ones(made, tmp_path):
    made("description: d\n", "one")
    with pytest.raises(UserError, match="preset 'two' is not known; choose one of: one"):
        find_preset(tmp_path / "presets", "two")


def test_commands_list_show_and_use_presets(command_line, made, params, tmp_path):
    made("description: twice the noise\nseed: 7\n", "loud")
    listed = command_line(tmp_path, "preset", "list")
    assert (listed.code, "loud" in listed.out, "twice the noise" in listed.out) == (0, True, True)
    assert yaml.safe_load(command_line(tmp_path, "preset", "show", "loud").out)["seed"] == 7
    used = command_line(tmp_path, "preset", "use", "loud")
    assert (used.code, load_params(params)["seed"]) == (0, 7)
    assert "seed" in used.out
    assert "has these settings already" in command_line(tmp_path, "preset", "use", "loud").out
