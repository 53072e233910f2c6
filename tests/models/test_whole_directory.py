"""All of a model directory counts, or is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from i2i_unlearn.data.images.decoding import fitted
from i2i_unlearn.data.images.reading import wanted_by
from i2i_unlearn.models import load_architecture, load_model
from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.models.preprocessor import FILE, read_preprocessor
from i2i_unlearn.models.whole import notes_on
from i2i_unlearn.serving import complete
from i2i_unlearn.stages import snapshot
from i2i_unlearn.support.errors import UserError
from tests.models.latent_directory import write_latent_directory
from tests.models.samples import edit_json, edit_tensors, generator
from tests.support.says import says


@pytest.fixture
def folder(tmp_path, tiny_model):
    tiny_model(num_channels=3).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def latent(tmp_path):
    return write_latent_directory(tmp_path / "latent")


def says_of(folder, **content):
    """What a preprocessor_config.json of these keys alone means for a model of 16 x 16 pixels in colour."""
    (folder / FILE).write_text(json.dumps(content))
    return read_preprocessor(folder, num_channels=3, image_size=(16, 16))


# --- preprocessor_config.json ---

HALF = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.mark.parametrize(
    ("content", "mean", "deviation"),
    [
        (HALF, 0.5, 0.25),
        ({"image_mean": 0.5, "image_std": 0.25}, 0.5, 0.25),
        ({**HALF, "do_normalize": False}, 0, 1),
        # Bytes, not fractions: (255 x - 127.5) / 51 = (x - 0.5) / 0.2.
        ({"do_rescale": False, "image_mean": 127.5, "image_std": 51}, 0.5, 0.2),
        ({"do_rescale": False, "do_normalize": False}, 0, 1 / 255),
        # x * 255 / 127.5 = 2 x lies in [0, 2]: (2 x - 1) / 1 = (x - 0.5) / 0.5.
        ({"rescale_factor": 1 / 127.5, "image_mean": 1, "image_std": 1}, 0.5, 0.5),
    ],
)
def test_normalisation_by_hand(tmp_path, content, mean, deviation):
    found = says_of(tmp_path, **content)
    assert found.mean == pytest.approx([mean] * 3)
    assert found.deviation == pytest.approx([deviation] * 3)


@pytest.mark.parametrize("size", [(16, 48), (40, 17), (16, 16), (5, 7)])
@pytest.mark.parametrize("resample", [0, 2, 3])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("ViT", {"size": {"height": 16, "width": 16}}),
        ("ViT", {"size": 16}),
        ("CLIP", {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 16, "width": 16}}),
        ("CLIP", {"size": 16, "crop_size": 16}),
        ("DeiT", {"size": {"height": 24, "width": 18}, "do_center_crop": True, "crop_size": 16}),
    ],
)
def test_pictures_are_seen_as_by_the_librarys_own_processor(tmp_path, kind, how, resample, size):
    import transformers

    content = {"image_processor_type": f"{kind}ImageProcessor", **how, **HALF, "resample": resample}
    found = says_of(tmp_path, **content)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = fitted(Image.fromarray(pixels), image_size=(16, 16), num_channels=3, fit=found.fit)
    library = getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(tmp_path)
    theirs = library(Image.fromarray(pixels), return_tensors="np", do_normalize=False, do_rescale=False)
    assert np.array_equal(ours, theirs["pixel_values"][0])


def test_a_model_made_here_is_described_as_it_was_trained(folder):
    from transformers import CLIPImageProcessorPil

    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    seen = CLIPImageProcessorPil.from_pretrained(folder)(Image.fromarray(pixels), return_tensors="np")["pixel_values"]
    middle = Image.fromarray(pixels[:, 16:48]).resize((16, 16), Image.Resampling.BICUBIC)
    # At the cut, the library's filter still sees what it is going to cut off.
    assert np.abs(seen[0] - (np.asarray(middle).transpose(2, 0, 1) / 127.5 - 1))[:, :, 2:-2].max() < 0.01
    assert load_model(folder).preprocessor.fit is None


def test_a_squashing_model_is_given_the_whole_picture_by_every_reader(folder, taught, tmp_path):
    (folder / FILE).write_text(json.dumps({**HALF, "size": 16, "resample": 3}))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    squashed = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC))
    complete.run(str(folder), tmp_path / "in", tmp_path / "out", taught.config("complete", operator="center_hole"))
    kept = np.asarray(Image.open(tmp_path / "out/a.png")) == squashed
    assert kept[0].all()  # the hole is in the middle
    assert not kept[7:9, 7:9].all()
    found = fitted(Image.fromarray(pixels), **wanted_by(load_model(folder)))
    assert np.array_equal(found, squashed.transpose(2, 0, 1))


def test_pictures_of_another_size_are_refused_where_the_model_does_not_resize(tmp_path):
    fit = says_of(tmp_path, **HALF, do_resize=False).fit
    wanted = {"image_size": (16, 16), "num_channels": 3, "fit": fit, "name": "a.png"}
    assert fitted(Image.new("RGB", (16, 16)), **wanted).shape == (3, 16, 16)
    with says(UserError, "a.png", "16 x 48", "16 x 16", "do_resize: false", "scale the images"):
        fitted(Image.new("RGB", (48, 16)), **wanted)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"do_normalize": "no"}, ["do_normalize='no'", "true or false"]),
        ({"do_rescale": True, "rescale_factor": 0}, ["rescale_factor=0", "above 0"]),
        *(({"resample": value}, [f"resample={value!r}", "Pillow"]) for value in (9, [3], {}, 2.0, True)),
        ({"size": {"height": 224, "width": 224}}, ["size=", "224", "16 x 16"]),
        ({"size": {"shortest_edge": 16}}, ["shortest_edge", "do_center_crop"]),
        ({"size": {"longest_edge": 16}}, ["longest_edge", "height and width"]),
        ({"do_center_crop": True, "crop_size": 12}, ["crop_size=12", "16 x 16"]),
        ({"image_processor_type": "LevitImageProcessor"}, ["image_processor_type='LevitImageProcessor'", "ViT"]),
        ({"do_flip_channel_order": True}, ["do_flip_channel_order=True", "not supported"]),
        ({"image_std": [0.25]}, ["image_std has 1 values", "3 channels"]),
        ({"image_std": 0}, ["image_std above 0"]),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, content, words):
    with says(UserError, f"{tmp_path}/{FILE}", *words):
        says_of(tmp_path, **{**HALF, **content})


def test_the_file_is_kept_as_it_came(folder, tmp_path):
    content = {"image_mean": 0.5, "image_std": 0.5, "do_normalize": False, "size": 16, "note": "of the authors"}
    (folder / FILE).write_text(json.dumps(content))
    load_model(folder).save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / FILE).read_text()) == content
    assert load_architecture(folder, generator=generator(1)).deviation_C11.flatten().tolist() == [1, 1, 1]


def test_other_families_refuse_pixels_of_another_range(latent):
    (latent / FILE).write_text(json.dumps({"do_normalize": False, "size": 32}))
    with says(UserError, f"{latent}/{FILE}", "do_normalize", "0.5"):
        load_model(latent)
    (latent / FILE).write_text(json.dumps({"image_mean": 0.5, "image_std": 0.5, "size": 32}))
    assert load_model(latent).preprocessor.fit.size == (32, 32)


# --- adapters, tensors and parts that would be left out ---


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.bin"])
def test_an_adapter_next_to_the_weights_is_refused(folder, name):
    (folder / name).write_text("{}")
    with says(UserError, f"{folder}/{name}", "adapter", "merge"):
        load_model(folder)


def test_an_adapter_in_a_part_of_a_pipeline_is_refused(latent):
    (latent / "unet/pytorch_lora_weights.safetensors").write_bytes(b"")
    with says(UserError, "unet/pytorch_lora_weights.safetensors", "fuse_lora"):
        load_model(latent)


@pytest.mark.parametrize(
    ("part", "name"), [("", "model"), ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")]
)
def test_tensors_of_an_adapter_and_unknown_ones_are_refused(folder, latent, part, name):
    where = latent / part if part else folder
    weights = where / f"{name}.safetensors"
    edit_tensors(weights, lambda tensors: tensors.update({"more.weight": torch.zeros(2)}))
    with says(UserError, str(where), "more.weight"):
        load_model(where.parent if part else where)
    edit_tensors(weights, lambda tensors: tensors.update({"x.lora_A.weight": torch.zeros(2)}))
    with says(UserError, str(weights), "adapter", "x.lora_A.weight", "merge"):
        load_model(where.parent if part else where)


def test_parts_of_a_pipeline_that_are_not_run_are_refused(latent):
    edit_json(latent / "model_index.json", controlnet=["diffusers", "ControlNetModel"], safety_checker=[None, None])
    with says(UserError, "model_index.json", "controlnet"):
        load_model(latent)
    for damaged in (b'{"unet": [', b"\xff", b"[]"):
        (latent / "model_index.json").write_bytes(damaged)
        with says(UserError, f"{latent}/model_index.json", "fetch the directory again"):
            load_model(latent)


def test_a_rectangle_is_refused(folder):
    edit_json(folder / "config.json", image_size=[8, 32])
    with says(UserError, f"{folder}/config.json", "image_size=[8, 32]", "square"):
        load_model(folder)


def test_quantised_weights_are_refused(folder):
    edit_json(folder / "config.json", quantization_config={"bits": 8})
    with says(UserError, f"{folder}/config.json", "quantization_config"):
        load_model(folder)


@pytest.mark.parametrize("side", [None, [16], 0, "big"])
def test_a_unet_that_does_not_say_its_size_is_refused(latent, side):
    edit_json(latent / "unet/config.json", sample_size=side)
    with says(UserError, "unet/config.json", f"sample_size={side!r}", "height"):
        load_model(latent)


@pytest.mark.parametrize("channels", [2, 4, 10])
def test_other_numbers_of_channels_are_refused(tmp_path, tiny_model, channels):
    tiny_model(num_channels=channels).save(tmp_path / "model")
    with says(UserError, str(tmp_path), f"{channels} channels", "1 (grey) or 3"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta_schedule": "laplace"}, ["beta_schedule='laplace'", "linear"]),
        ({"beta_schedule": "sigmoid"}, ["beta_schedule='sigmoid'", "linear"]),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, ["_class_name=", "not known"]),
        ({"prediction_type": "sample"}, ["prediction_type='sample'", "epsilon"]),
    ],
)
def test_a_schedule_that_is_not_known_is_refused(latent, changes, words):
    edit_json(latent / "scheduler/scheduler_config.json", **changes)
    for read in (load_model, lambda folder: load_architecture(folder, generator=generator(0))):
        with says(UserError, "scheduler_config.json", *words):
            read(latent)


def test_latents_that_are_shifted_are_refused(latent):
    edit_json(latent / "vae/config.json", shift_factor=0.5)
    with says(UserError, "vae/config.json", "shift_factor=0.5", "scaling_factor"):
        load_model(latent)


def test_pickled_weights_in_a_directory_are_not_read_and_that_is_told(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with says(UserError, str(folder), "model.safetensors", "pytorch_model.bin", "safe_serialization=True"):
        load_model(folder)


# --- kinds of numbers and files ---


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_short_weights_are_read_as_float32_exactly_and_that_is_told(folder, kind):
    edit_tensors(folder / "model.safetensors", lambda t: t.update({n: v.to(kind) for n, v in t.items() if "vit" in n}))
    stored = load_file(folder / "model.safetensors")["vit.layernorm.weight"]
    model = load_model(folder)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert model.model.vit.layernorm.weight.equal(stored.float())
    assert "read as float32" in notes_on(folder)[0]


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_short_kind_in_config_json_rounds_nothing(folder, key, tmp_path):
    content = json.loads((folder / "config.json").read_text())
    content.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps({**content, key: "float16"}))
    before, model = load_file(folder / "model.safetensors"), load_model(folder)
    model.save(tmp_path / "again")
    after = load_file(tmp_path / "again/model.safetensors")
    assert all(tensor.equal(after[name]) for name, tensor in before.items())


def test_weights_of_eight_bits_are_refused(folder):
    edit_tensors(folder / "model.safetensors", lambda t: t.update({"vit.layernorm.weight": torch.ones(32).byte()}))
    with says(UserError, "model.safetensors", "vit.layernorm.weight", "U8", "float32"):
        load_model(folder)


def test_a_variant_alone_is_read_and_told_and_several_are_refused(folder, latent):
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    assert isinstance(load_model(folder), MaskedAutoencoder)
    assert "model.fp16.safetensors" in notes_on(folder)[-1]
    shutil.copy(folder / "model.fp16.safetensors", folder / "model.ema.safetensors")
    with says(UserError, str(folder), "ema, fp16", "model.safetensors"):
        load_model(folder)
    for part in ("unet", "vae"):
        weights = latent / part / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert load_model(latent).image_size == (32, 32)


def test_other_weights_next_to_the_model_are_told(folder, taught, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    summary = snapshot.run(tmp_path / "out", taught.config("snapshot", source=str(folder)))
    assert "not read: pytorch_model.bin" in summary["note"]


# --- what snapshot writes ---


@pytest.mark.parametrize("kind", ["latent", "folder"])
def test_the_copy_is_opened_and_completes(kind, request, taught, tmp_path):
    source = request.getfixturevalue(kind)
    summary = snapshot.run(tmp_path / "out", taught.config("snapshot", source=str(source)))
    assert summary["family"] in ("mae", "latent_diffusion")
    assert load_model(tmp_path / "out/model").num_channels == 3


def test_a_model_that_completes_no_numbers_is_no_teacher(folder, taught, tmp_path):
    edit_tensors(folder / "model.safetensors", lambda t: t["decoder.decoder_norm.bias"].fill_(torch.nan))
    with says(UserError, str(folder), "not finite"):
        snapshot.run(tmp_path / "out", taught.config("snapshot", source=str(folder)))
    assert not (tmp_path / "out").exists()


def test_missing_shards_are_named(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    weight_map = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {**weight_map, "vit.layernorm.bias": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with says(UserError, "model.safetensors.index.json", "model-00002-of-00002.safetensors"):
        load_model(folder)


def shards_of(folder, stem):
    """Two shards of the weights in `folder`, and the index that names them."""
    tensors = load_file(folder / f"{stem}.safetensors")
    names, weight_map = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return [folder / f"{stem}-{number:05}-of-00002.safetensors" for number in (1, 2)]


def test_two_sets_of_weights_are_refused_and_one_in_shards_is_read(folder, latent):
    for model, part, stem in ((folder, folder, "model"), (latent, latent / "unet", "diffusion_pytorch_model")):
        shards_of(part, stem)
        with says(UserError, str(part), f"{stem}.safetensors", f"{stem}.safetensors.index.json", "remove"):
            load_model(model)
        (part / f"{stem}.safetensors").unlink()
        assert load_model(model).num_channels == 3


def test_a_tensor_in_two_shards_is_refused(folder):
    first, second = shards_of(folder, "model")
    (folder / "model.safetensors").unlink()
    other = min(load_file(first))
    edit_tensors(second, lambda tensors: tensors.update({other: torch.ones(1)}))
    with says(UserError, second.name, other, first.name):
        load_model(folder)


def test_pickled_weights_of_one_part_are_told(latent):
    weights = latent / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.bin"))
    with says(UserError, f"{latent}/unet", "diffusion_pytorch_model-00001-of-00001.bin", "use_safetensors=False"):
        load_model(latent)
