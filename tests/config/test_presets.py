import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from i2i_unlearn.config.presets import Change, find_preset, overlaid, read_presets, use_preset
from i2i_unlearn.config.sections import load_params
from i2i_unlearn.data.importers.published_experiment import Protocol
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

ROOT = Path(__file__).parents[2]


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
    alpha = load_params(params)["unlearn"]["alpha"]
    changes = use_preset(made("description: d\nseed: 7\nunlearn: {alpha: 0.5}\n"), params)
    assert changes == [Change("seed", 0, 7), Change("unlearn.alpha", alpha, 0.5)]
    different = [(a, b) for a, b in zip(before.splitlines(), params.read_text().splitlines(), strict=True) if a != b]
    assert [line for _, line in different] == ["seed: 7", "  alpha: 0.5"]  # comments and order as they were


def test_text_that_yaml_takes_for_something_else_stays_text(made, params):
    use_preset(made("description: d\nregister: {experiment: 'on'}\nsplit: {requests: ['12']}\n"), params)
    content = load_params(params)
    assert (content["register"]["experiment"], content["split"]["requests"]) == ("on", ["12"])


def test_every_preset_that_help_or_docs_name_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    told = "".join(page.read_text() for page in pages)
    named = set(re.findall(r"i2i-unlearn preset (?:use|show) ([a-z][\w-]*)", told))
    assert "paper" in named
    assert named <= {path.stem for path in (ROOT / "presets").glob("*.yaml")}


def test_an_architecture_is_replaced_as_a_whole(made, params):
    use_preset(made("description: d\npretrain: {architecture: {patch_size: 14}}\n"), params)
    assert load_params(params)["pretrain"]["architecture"] == {"patch_size": 14}


def test_settings_are_laid_over_without_a_file_and_the_argument_stays():
    params = {"seed": 0, "unlearn": {"alpha": 1.0, "objective": "a"}}
    assert overlaid(params, {"unlearn": {"alpha": 2.0}}) == {"seed": 0, "unlearn": {"alpha": 2.0, "objective": "a"}}
    assert params["unlearn"]["alpha"] == 1.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [("{alpha: -1}", ("section unlearn", "unlearn.alpha=-1")), ("{alfa: 1}", ("unlearn.alfa is not a known key",))],
)
def test_settings_that_are_not_valid_leave_the_file_as_it_was(made, params, text, fault):
    before = params.read_bytes()
    with says(UserError, *fault):
        use_preset(made(f"description: d\nunlearn: {text}\n"), params)
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


PUBLISHED = {"imagenet1k-mae": (224, 6, 5), "imagenet1k-mage": (256, 6, 5), "places365-palette": (256, 2, 0)}
"""Image size in pixels, epochs, epochs of warm-up."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_protocol_has_its_epochs_and_its_hole(name):
    preset = find_preset(ROOT / "presets", name)
    size, epochs, warmup = PUBLISHED[name]
    unlearn, protocol = preset.settings["unlearn"], Protocol.model_validate(preset.protocol)
    assert protocol.forget_classes == protocol.retain_classes == (50 if "places" in name else 100)
    num_images = protocol.forget_classes * protocol.images_per_class
    assert unlearn["num_steps"] == math.ceil(epochs * num_images / unlearn["batch_size"])
    assert unlearn["warmup_steps"] == math.ceil(warmup * num_images / unlearn["batch_size"])
    assert preset.settings["evaluate"]["max_images"] == protocol.forget_classes * protocol.heldout_per_class
    operator = make_operator(preset.settings["operator"], preset.settings["keep_fraction"], 16)
    visible = operator.draw(1, size, size, torch.Generator())[0]
    patches = visible.unflatten(0, (-1, 16)).unflatten(2, (-1, 16)).permute(0, 2, 1, 3).flatten(2)
    hidden = ~patches.all(2)
    assert hidden.sum() == 64  # 8 x 8 patches of 16 pixels,
    assert patches.any(2).equal(~hidden)  # none of them visible in part


def test_a_published_protocol_says_what_it_takes(params):
    before = load_params(params)
    use_preset(find_preset(ROOT / "presets", "imagenet1k-mae"), params)
    after = load_params(params)
    assert "protocol" not in after
    assert after["split"]["requests"] == []  # the demo's request names no image of theirs
    assert before["split"]["requests"]
