import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from i2i_unlearn.models import load_architecture, load_model
from i2i_unlearn.models.diffusion.latent import AutoencoderKL, LatentInpainter, UNet2DConditionModel
from i2i_unlearn.models.diffusion.schedule import DDIMScheduler
from i2i_unlearn.support.errors import UserError
from tests.models.latent_directory import write_latent_directory
from tests.models.samples import edit_json, edit_tensors, generator, masks, some_images


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A plain diffusers directory, and the prompt beside it."""
    return write_latent_directory(tmp_path_factory.mktemp("latent"))


@pytest.fixture(scope="module")
def model(directory):
    return load_model(directory)


@pytest.fixture
def copied(directory, tmp_path):
    return shutil.copytree(directory, tmp_path / "copied")


def test_a_plain_diffusers_directory_is_recognised(model):
    assert isinstance(model, LatentInpainter)
    assert (model.image_size, model.num_channels) == ((32, 32), 3)


def test_a_completion_is_that_of_diffusers_own_pipeline(model, directory):
    from diffusers import StableDiffusionInpaintPipeline

    # The pipeline's scheduler starts at the last time, as ours does; its masked latents are the mean, not a draw.
    scheduler = DDIMScheduler.from_pretrained(directory / "scheduler", timestep_spacing="trailing")
    pipeline = StableDiffusionInpaintPipeline(
        model.vae, None, None, model.unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    images, visible = some_images(2, channels=3, size=32), masks("center_hole", 2, size=32)
    with torch.no_grad():
        ours = model.complete(images, visible, generator=generator(7))
        seeds = torch.randint(2**63 - 1, (2,), generator=generator(7)).tolist()
        noise = torch.cat([torch.randn(1, 4, 16, 16, generator=generator(seed)) for seed in seeds])
        theirs = pipeline(
            prompt_embeds=model.prompt_1LD.expand(2, -1, -1),
            image=(images + 1) / 2,
            mask_image=(~visible).float().unsqueeze(1),
            masked_image_latents=model._to_latents(images * visible.unsqueeze(1)),
            height=32,
            width=32,
            latents=noise,
            num_inference_steps=20,
            guidance_scale=1.0,
            output_type="pt",
        ).images
    hidden = ~visible.unsqueeze(1).expand_as(images)
    assert torch.allclose(ours[hidden], (theirs * 2 - 1)[hidden], atol=1e-4)
    assert ours[~hidden].equal(images[~hidden])


def test_both_halves_of_the_unet_make_the_whole(model):
    from i2i_unlearn.models.diffusion import unet

    given, time = torch.randn(2, 9, 16, 16, generator=generator()), torch.tensor([3.0, 70.0])
    prompt = model.prompt_1LD.expand(2, -1, -1)
    with torch.no_grad():
        maps = unet.encode(model.unet, given, time, prompt)
        ours = unet.decode(model.unet, maps, time, prompt)
        assert torch.allclose(ours, model.unet(given, time, prompt).sample, atol=1e-6)
    assert len(maps) == 5  # conv_in; a layer and a change of resolution; a layer; the middle


def test_the_loss_is_the_noise_error_over_the_cells_with_a_hidden_pixel(model):
    images, visible = some_images(2, channels=3, size=32), torch.ones(2, 32, 32, dtype=torch.bool)
    visible[0, 8:16, 8:12] = False  # 4 x 2 cells
    visible[1, 4, 5] = False  # one pixel: one cell
    time, noise = model.draw(2, generator(3))
    with torch.no_grad():
        loss = model.training_loss(images, visible, generator=generator(3))
        latents = model.vae.encode(images).latent_dist.mean * model.vae.config.scaling_factor
        masked = images * visible.unsqueeze(1)
        given = model.vae.encode(masked).latent_dist.mean * model.vae.config.scaling_factor
        noisy = DDIMScheduler.from_config(model.scheduler.config).add_noise(latents, noise, time.long())
        mask = (~visible).float().unsqueeze(1)[:, :, ::2, ::2]  # nearest: the first pixel of each cell
        predicted = model.unet(torch.cat((noisy, mask, given), 1), time, model.prompt_1LD.expand(2, -1, -1)).sample
    error = (predicted - noise).square().mean(1)
    assert float(loss[0]) == pytest.approx(float(error[0, 4:8, 4:6].mean()), rel=1e-4)
    assert float(loss[1]) == pytest.approx(float(error[1, 2, 2]), rel=1e-4)


def test_only_the_unets_first_half_is_trained_as_the_encoder(model):
    names = {name for name, _ in model.encoder_parameters()}
    assert all(name.startswith(("unet.conv_in", "unet.down_blocks", "unet.mid_block")) for name in names)
    assert not any(parameter.requires_grad for parameter in model.vae.parameters())


def test_what_is_saved_is_read_by_diffusers(model, tmp_path):
    model.save(tmp_path / "model")
    assert json.loads((tmp_path / "model/config.json").read_text()) == {
        "family": "latent_diffusion",
        "sampler": "ddim",
        "sampling_steps": 20,
        "schema_version": 1,
    }
    assert UNet2DConditionModel.from_pretrained(tmp_path / "model/unet").config.in_channels == 9
    assert AutoencoderKL.from_pretrained(tmp_path / "model/vae").config.latent_channels == 4


def test_the_reference_keeps_vae_and_prompt_and_nothing_of_the_unet(model, directory):
    fresh = load_architecture(directory, generator=generator(5)).state_dict()
    kept = {name for name, tensor in model.state_dict().items() if tensor.equal(fresh[name])}
    assert {name for name in kept if name.startswith("vae.")} == {n for n in fresh if n.startswith("vae.")}
    assert "prompt_1LD" in kept
    assert not fresh["unet.conv_in.weight"].equal(model.unet.conv_in.weight)


def four_channels(folder):
    edit_json(folder / "unet/config.json", in_channels=4)
    edit_tensors(folder / UNET, lambda tensors: tensors.update({"conv_in.weight": tensors["conv_in.weight"][:, :4]}))


UNET, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
PROMPT = "empty_prompt.safetensors"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / PROMPT).unlink(), r"no empty_prompt\.safetensors in it.*text_encoder\(tokenizer\(''"),
        (
            lambda folder: save_file({"prompt_embeds": torch.zeros(1, 5, 8)}, folder / PROMPT),
            r"size 8, but the U-Net's cross_attention_dim is 12",
        ),
        (four_channels, "in_channels=4, but latent inpainting needs 9"),
        (
            lambda folder: edit_tensors(folder / VAE, lambda tensors: tensors.pop("quant_conv.bias")),
            r"vae: missing tensors: 1, first quant_conv\.bias",
        ),
    ],
    ids=["no prompt", "prompt of another size", "not made for inpainting", "missing tensor"],
)
def test_a_directory_that_lacks_something_is_told(copied, damage, told):
    damage(copied)
    with pytest.raises(UserError, match=told):
        load_model(copied)


def test_unknown_settings_are_told(model, tmp_path):
    model.save(tmp_path / "model")
    path = tmp_path / "model/config.json"
    for change, message in (
        ({"steps": 3}, "steps"),
        ({"sampler": "euler"}, "sampler must be ddim or ancestral"),
        ({"sampling_steps": 7}, "sampling_steps=7 does not divide the schedule's 100 times"),
    ):
        path.write_text(json.dumps({"family": "latent_diffusion", **change}))
        with pytest.raises(UserError, match=message):
            load_model(tmp_path / "model")


def test_it_is_not_made_from_scratch():
    with pytest.raises(UserError, match="needs a trained VAE"):
        LatentInpainter.create({}, image_size=32, num_channels=3, generator=generator())
