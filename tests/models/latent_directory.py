"""A latent inpainting directory as diffusers writes it, with tiny random networks."""

import json

import torch
from safetensors.torch import save_file

from i2i_unlearn.models.diffusion.latent import AutoencoderKL, UNet2DConditionModel
from i2i_unlearn.models.diffusion.schedule import DDIMScheduler


def write_latent_directory(folder):
    """32 x 32 pixels in colour, 16 x 16 cells of 4 channels; 100 times; the prompt has 5 tokens of size 12."""
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(folder / "vae")
    scheduler = DDIMScheduler(
        100,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.save_pretrained(folder / "scheduler")
    prompt = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(0))
    save_file({"prompt_embeds": prompt}, folder / "empty_prompt.safetensors")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionInpaintPipeline"}))
    return folder
