import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from i2i_unlearn.models import family_named, load_architecture, load_model, own
from i2i_unlearn.models.laws import check_laws
from i2i_unlearn.models.own_weights import load_weights, save_weights, seeded
from i2i_unlearn.support.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
NAMES = {
    "conv_inpainter": "conv_inpainter:ConvInpainter",
    "coordinate_network": "coordinate_network:CoordinateNetwork",
}
MARKER = "ran.txt"


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch):
    """Each test sees the modules of its own folder alone."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("torch", "transformers", "i2i_unlearn")):
            del sys.modules[name]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with the examples in it."""
    for example in EXAMPLES.glob("*.py"):
        (tmp_path / example.name).write_text(example.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(here, name, *changes):
    """A copy of the convolutional example under another name, with replacements."""
    text = (here / "conv_inpainter.py").read_text().replace("conv_inpainter:", f"{name}:")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (here / f"{name}.py").write_text(text)
    return f"{name}:ConvInpainter"


def made(name, seed=0, **architecture):
    generator = torch.Generator().manual_seed(seed)
    return family_named("own", name).create(
        {"width": 8, **architecture}, image_size=16, num_channels=1, generator=generator
    )


def told(call, *arguments, **named):
    with pytest.raises(UserError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- importing ---


@pytest.mark.parametrize("name", NAMES.values())
def test_a_class_in_the_working_directory_is_found(here, name):
    found = own.import_own(name)
    assert issubclass(found, nn.Module)
    assert f"{found.__module__}:{found.__name__}" == name == found.family


def test_the_working_directory_hides_no_installed_package(here):
    (here / "safetensors.py").write_text("raise RuntimeError('hidden')")
    del sys.modules["safetensors"]
    own.import_own(NAMES["conv_inpainter"])
    import safetensors

    assert Path(safetensors.__file__).parent != here


@pytest.mark.parametrize("name", ["", "conv_inpainter", "conv_inpainter.ConvInpainter", "a/b:C", "a:b:c", ":C", "m:"])
def test_what_is_no_name_of_a_class_is_told(here, name):
    assert "write it as my_package.my_module:MyGenerator" in told(own.import_own, name)


def test_a_missing_module_a_missing_class_and_a_missing_package_are_told_apart(here):
    assert "there is no module nowhere" in told(own.import_own, "nowhere.inside:Model")
    assert str(here) in told(own.import_own, "nowhere:Model")
    assert "the module conv_inpainter has no class Other" in told(own.import_own, "conv_inpainter:Other")
    (here / "needy.py").write_text("import not_installed_at_all")
    assert "it needs the package not_installed_at_all; install it" in told(own.import_own, "needy:Model")
    (here / "broken.py").write_text("x = (")
    assert "importing it failed (SyntaxError" in told(own.import_own, "broken:Model")


def test_all_that_a_class_lacks_is_told_in_one_line(here):
    (here / "bare.py").write_text(
        "class Model:\n"
        "    def encode(self, images): ...\n"
        "    def create(self, architecture, *, image_size, num_channels, generator): ...\n"
        "    def complete(self, images, visible): ...\n"
    )
    message = told(own.import_own, "bare:Model")
    for fault in (
        "not a torch.nn.Module",
        "family is None, it must be 'bare:Model'",
        "encode does not take (images_BCHW, visible_BHW, draws)",
        "complete does not take (images_BCHW, visible_BHW, generator=...)",
        "create is not a classmethod",
        *(f"{name} is missing" for name in ("draw", "decode", "training_loss", "encoder_parameters", "load", "save")),
        "load_architecture is missing",
    ):
        assert fault in message


# --- trust ---


def test_a_directory_that_names_a_class_runs_nothing_unless_the_user_names_it_too(here):
    name = changed(here, "spy", ("import torch\n", f"open({MARKER!r}, 'w').close()\nimport torch\n"))
    model = made(name)
    model.save(here / "model")
    (here / MARKER).unlink()
    del sys.modules["spy"]
    for other in ("", NAMES["conv_inpainter"]):
        message = told(load_model, here / "model", other)
        assert "loading it would run that code" in message
        assert f"write model: {name}" in message
        told(load_architecture, here / "model", other, generator=torch.Generator())
    assert not (here / MARKER).exists()
    load_model(here / "model", name)
    assert (here / MARKER).exists()


def test_naming_a_class_leaves_the_familys_own_directories_readable(here, tiny_model):
    tiny_model().save(here / "model")
    assert load_model(here / "model", NAMES["conv_inpainter"]).family == "mae"


@pytest.mark.parametrize(("family", "name"), [("own", ""), ("mae", NAMES["conv_inpainter"])])
def test_family_and_class_must_fit(here, family, name):
    assert "write family: own and model: my_package" in told(family_named, family, name)


# --- laws ---


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("images_BCHW * visible_B1HW, ", "images_BCHW, ", "encode sees hidden pixels"),
        ("return Embedding((self.encoder", "return ((self.encoder", "encode does not give an Embedding"),
        ("return self.decoder(embedding.maps[0])", "return self.decoder(embedding.maps[0])[..., 1:]", "decode gives"),
        ("visible_BHW).clamp(-1, 1)", "visible_BHW) * 1e4", "complete leaves [-1, 1]"),
        ("images_BCHW, filled_BCHW)\n", "-images_BCHW, filled_BCHW)\n", "complete changes visible pixels"),
        (".flatten(1).mean(1)", ".mean()", "training_loss does not give a finite loss"),
        ("(images_BCHW if truth_BCHW is None else truth_BCHW)", "images_BCHW", "ignores truth_BCHW"),
        ('(prefix="encoder")', "()", "encoder_parameters gives 0.weight, which named_parameters does not give so"),
        ("self.encoder.named_parameters(prefix=\"encoder\")", "self.named_parameters()", "what decode uses as well"),
        ("self.encoder.named_parameters(prefix=\"encoder\")", "iter(())", "encoder_parameters gives nothing"),
        ("return load_weights(cls(**read_sizes(folder)), folder)", "return cls(**read_sizes(folder))", "other tensors"),
        ("return ()", "return (torch.zeros(7),)", "draw does not give a tuple"),
        ("(image_size, image_size), num", "image_size, num", "image_size is 16"),
    ],
)  # fmt: skip
def test_a_broken_law_is_told(here, old, new, fault):
    assert fault in told(check_laws, made(changed(here, "broken_law", (old, new))))


def test_all_broken_laws_are_told_together(here):
    name = changed(here, "two", ("visible_BHW).clamp(-1, 1)", "visible_BHW) * 1e4"), ("return ()", "return [1]"))
    assert told(check_laws, made(name)).count("; ") == 1


# --- files ---


@pytest.mark.parametrize("name", NAMES.values())
def test_the_directory_names_the_class(here, name):
    made(name).save(here / "model")
    assert json.loads((here / "model/config.json").read_text())["family"] == name
    assert sorted(path.name for path in (here / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_weights_that_do_not_fit_are_told_in_one_line(here):
    made(NAMES["conv_inpainter"]).save(here / "model")
    config = json.loads((here / "model/config.json").read_text())
    config["sizes"]["width"] = 4
    (here / "model/config.json").write_text(json.dumps(config))
    assert "fetch the directory again" in told(load_model, here / "model", NAMES["conv_inpainter"])
    del config["sizes"]
    (here / "model/config.json").write_text(json.dumps(config))
    assert "has no key 'sizes'" in told(load_model, here / "model", NAMES["conv_inpainter"])


def test_tied_tensors_come_back_tied(tmp_path):
    class Tied(nn.Module):
        family = "tied:Tied"

        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.other.weight = self.one.weight

    model = Tied()
    save_weights(model, tmp_path, {})
    loaded = load_weights(Tied(), tmp_path)
    assert loaded.other.weight.equal(model.one.weight)
    assert loaded.other.weight is loaded.one.weight


def test_the_first_weights_come_from_the_generator_and_leave_the_global_stream_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    weights = []
    for seed in (1, 1, 2):
        with seeded(torch.Generator().manual_seed(seed)):
            weights.append(nn.Linear(2, 2).weight)
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    assert torch.get_rng_state().equal(before)


def test_the_code_that_goes_along_is_the_file_or_the_whole_package(here):
    assert own.code_of(NAMES["conv_inpainter"]) == here / "conv_inpainter.py"
    (here / "bundle/deep").mkdir(parents=True)
    (here / "bundle/__init__.py").write_text("")
    text = (here / "conv_inpainter.py").read_text().replace("conv_inpainter:", "bundle.deep.mine:")
    (here / "bundle/deep/mine.py").write_text(text)
    name = "bundle.deep.mine:ConvInpainter"
    assert own.code_of(name) == here / "bundle"
    before = own.code_digest(name)
    (here / "bundle/__init__.py").write_text("# another")
    assert own.code_digest(name) != before
