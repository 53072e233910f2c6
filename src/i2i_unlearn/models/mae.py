"""Family `mae`: masked autoencoder on transformers' ViTMAE, for any operator T.

He, Chen, Xie, Li, Dollar, Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377.

    E  the ViT encoder; it sees the visible patches only (sec. 3, "MAE encoder")
    D  the decoder; it sees encoded patches and mask tokens at their positions (sec. 3, "MAE decoder")

A patch is visible only if all of its pixels are. transformers' own forward pass knows one number of kept patches for
all images and draws its own mask; here the mask is given, so encoder and decoder are run on its modules directly.
Shape letters: B batch, N patches, K kept patches, D embedding size, P pixels of a patch, C channels, H, W pixels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file
from torch import Tensor, nn

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.models.kept_tokens import KeptTokens
from i2i_unlearn.models.own_weights import seeded
from i2i_unlearn.models.preprocessor import FILE as PREPROCESSOR
from i2i_unlearn.models.preprocessor import Preprocessor, made_here, read_preprocessor
from i2i_unlearn.models.whole import weights_in
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before transformers, which imports it
from transformers import ViTMAEConfig, ViTMAEForPreTraining  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

transformers_logging.disable_progress_bar()  # a bar for reading one file of a few megabytes hides our own
transformers_logging.set_verbosity_error()  # it tells missing tensors by a table; we refuse them in one line


class MaskedAutoencoder(nn.Module):
    """ViTMAE with a given mask. Hidden pixels never enter the encoder."""

    family: ClassVar[str] = "mae"
    model_type: ClassVar[str] = "vit_mae"

    def __init__(
        self,
        model: ViTMAEForPreTraining,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        preprocessor: Preprocessor | None = None,
    ) -> None:
        """`mean` and `deviation` per channel turn pixels in [0, 1] into what the model was trained on.

        `model.decoder` may be None: such a model encodes images and completes none. `preprocessor`, where given, is
        what the directory said of them and more.
        """
        super().__init__()
        self.model = model
        # The sine tables are constants; the library forgets so when it loads weights.
        model.vit.embeddings.position_embeddings.requires_grad_(False)
        if model.decoder is not None:
            model.decoder.decoder_pos_embed.requires_grad_(False)
        config = model.config
        self.image_size = (config.image_size, config.image_size)
        self.num_channels: int = config.num_channels
        self.preprocessor = preprocessor or made_here(mean, deviation, self.image_size)
        self.mean_C11: Tensor
        self.deviation_C11: Tensor
        self.register_buffer("mean_C11", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation_C11", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    @property
    def has_decoder(self) -> bool:
        """False: it encodes images and completes none."""
        return self.model.decoder is not None

    # --- E, D and what is made of them ---

    def draw(self, num: int, generator: torch.Generator, *, emphasis: float = 0.0) -> tuple[Tensor, ...]:
        """The encoder sees nothing of chance."""
        return ()

    def encode(self, images_BCHW: Tensor, visible_BHW: Tensor, draws: tuple[Tensor, ...] = ()) -> Embedding:
        """E(T(x)): class token, then the visible patches in raster order: one map (B, 1 + K, D)."""
        kept = self._kept(visible_BHW)
        patches_BKP = kept.gather(self._patchify(self._to_model(images_BCHW)))
        attend = valid = None
        if kept.valid_BK is not None:
            # Padding holds hidden patches, which must not show in the output; the class token is always there.
            patches_BKP = patches_BKP.masked_fill(~kept.valid_BK.unsqueeze(-1), 0)
            valid = F.pad(kept.valid_BK, (1, 0), value=True)
            attend = valid[:, None, None, :]
        tokens = self._embed(patches_BKP, kept)
        for layer in self.model.vit.layers:
            tokens = _block(layer, tokens, attend)
        return Embedding((self.model.vit.layernorm(tokens),), valid)

    def decode(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """D(e): all patches, visible ones too, as the decoder predicts them. Images (B, C, H, W) in [-1, 1]."""
        return self._to_pixels(self._unpatchify(self._predict(embedding, visible_BHW)))

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """Keep visible pixels, fill the hidden ones by D(E(T(x))), clamped to [-1, 1]. Nothing is drawn at random."""
        predicted_BNP = self._predict(self.encode(images_BCHW, visible_BHW), visible_BHW)
        return self._completed(predicted_BNP, images_BCHW, visible_BHW)

    def complete_and_loss(self, images_BCHW: Tensor, visible_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """`complete` and `training_loss` from one prediction."""
        predicted_BNP = self._predict(self.encode(images_BCHW, visible_BHW), visible_BHW)
        completed_BCHW = self._completed(predicted_BNP, images_BCHW, visible_BHW)
        return completed_BCHW, self._loss(predicted_BNP, images_BCHW, visible_BHW)

    def training_loss(
        self,
        images_BCHW: Tensor,
        visible_BHW: Tensor,
        *,
        generator: torch.Generator,
        truth_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error over the hidden patches of each image, (B,); sec. 3, "Reconstruction target"."""
        predicted_BNP = self._predict(self.encode(images_BCHW, visible_BHW), visible_BHW)
        return self._loss(predicted_BNP, images_BCHW if truth_BCHW is None else truth_BCHW, visible_BHW)

    def _completed(self, predicted_BNP: Tensor, images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
        filled_BCHW = self._to_pixels(self._unpatchify(predicted_BNP)).clamp(-1, 1)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)

    def _loss(self, predicted_BNP: Tensor, truth_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
        target_BNP = self._patchify(self._to_model(truth_BCHW))
        if self.model.config.norm_pix_loss:
            mean, variance = target_BNP.mean(-1, keepdim=True), target_BNP.var(-1, keepdim=True)
            target_BNP = (target_BNP - mean) / (variance + 1e-6).sqrt()
        hidden_BN = ~self._patch_visible(visible_BHW)
        per_patch_BN = (predicted_BNP - target_BNP).square().mean(-1) * hidden_BN
        return per_patch_BN.sum(1) / hidden_BN.sum(1).clamp(min=1)

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All of the ViT encoder but its constants; the decoder shares nothing with it."""
        for name, parameter in self.model.vit.named_parameters(prefix="model.vit"):
            if "position_embeddings" not in name:
                yield name, parameter

    # --- patches and tokens ---

    def _to_model(self, images_BCHW: Tensor) -> Tensor:
        return ((images_BCHW + 1) / 2 - self.mean_C11) / self.deviation_C11

    def _to_pixels(self, images_BCHW: Tensor) -> Tensor:
        return (images_BCHW * self.deviation_C11 + self.mean_C11) * 2 - 1

    def _patchify(self, images_BCHW: Tensor) -> Tensor:
        return self.model.patchify(images_BCHW)

    def _unpatchify(self, patches_BNP: Tensor) -> Tensor:
        return self.model.unpatchify(patches_BNP)

    def _patch_visible(self, visible_BHW: Tensor) -> Tensor:
        """Boolean (B, N): True where all pixels of the patch are visible."""
        size = self.model.config.patch_size
        batch, height, width = visible_BHW.shape
        tiles = visible_BHW.reshape(batch, height // size, size, width // size, size)
        return tiles.all(4).all(2).flatten(1)

    def _kept(self, visible_BHW: Tensor) -> KeptTokens:
        """The patches that the encoder sees.

        Raises:
            UserError: there are none.
        """
        # Fixed operators give one mask expanded over the batch (stride 0): one row then serves all images.
        shared = visible_BHW.stride(0) == 0 or len(visible_BHW) == 1
        kept = KeptTokens.of(self._patch_visible(visible_BHW[:1] if shared else visible_BHW))
        if not kept.ids_BK.shape[1]:
            raise UserError(
                f"the operator leaves no patch of {self.model.config.patch_size} px wholly visible; "
                "choose another operator or a larger keep_fraction"
            )
        return kept

    def _embed(self, patches_BKP: Tensor, kept: KeptTokens) -> Tensor:
        """Linear projection of patches plus their positions, class token first."""
        embeddings = self.model.vit.embeddings
        kernel = embeddings.patch_embeddings.projection
        # The library stores the projection as a convolution (D, C, p, p); patches have the channel last.
        weight_DP = kernel.weight.permute(0, 2, 3, 1).flatten(1)
        position_1ND = embeddings.position_embeddings
        tokens = F.linear(patches_BKP, weight_DP, kernel.bias) + kept.gather(position_1ND[:, 1:])
        start = (embeddings.cls_token + position_1ND[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat((start, tokens), dim=1)

    def _predict(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """Patch vectors (B, N, P) as the decoder predicts them, in the model's own pixel scale.

        Raises:
            UserError: there is no decoder.
        """
        if self.model.decoder is None:
            raise UserError(
                "the model has no decoder (its file held the encoder alone), so it cannot complete images; "
                "take the file with the decoder, or an objective that looks at the encoder's output"
            )
        decoder, layout = self.model.decoder, self._kept(visible_BHW)
        tokens = decoder.decoder_embed(embedding.maps[0])
        num_patches = decoder.decoder_pos_embed.shape[1] - 1
        full = decoder.mask_token.to(tokens.dtype).expand(len(tokens), num_patches, -1)
        ids = layout.ids_BK.expand(len(tokens), -1)
        kept = tokens[:, 1:]
        if layout.valid_BK is not None:
            kept = torch.where(layout.valid_BK.unsqueeze(-1), kept, decoder.mask_token.to(kept.dtype))
        full = full.scatter(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]), kept)
        tokens = torch.cat((tokens[:, :1], full), dim=1) + decoder.decoder_pos_embed
        for layer in decoder.decoder_layers:
            tokens = _block(layer, tokens, None)
        return decoder.decoder_pred(decoder.decoder_norm(tokens))[:, 1:]

    # --- making, loading, saving ---

    @classmethod
    def create(
        cls, architecture: Mapping[str, Any], *, image_size: int, num_channels: int, generator: torch.Generator
    ) -> Self:
        """Random weights. `architecture` holds keys of ViTMAEConfig.

        Raises:
            UserError: an unknown key, or sizes that do not divide.
        """
        where = "pretrain.architecture"
        given = {"image_size": image_size, "num_channels": num_channels}
        known = {name for name in vars(ViTMAEConfig()) if not name.startswith("_") and name not in given}
        unknown = sorted(set(architecture) - known)
        if unknown:
            raise UserError(f"{where}: {', '.join(unknown)} is not known to the family mae; remove it")
        with _faults_in(where):
            config = ViTMAEConfig(**given, **architecture)
        _check_sizes(config, where)
        half = (0.5,) * num_channels
        return cls(_random_model(config, generator), half, half)

    @classmethod
    def load_architecture(cls, folder: str | Path, *, generator: torch.Generator) -> Self:
        """The architecture of a model directory with new random weights."""
        config = _config_of(folder)
        return cls(_random_model(config, generator), *_preprocessing(folder, config))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model directory.

        Raises:
            UserError: of another family, incomplete, or damaged.
        """
        config = read_config(folder)
        if config.get("model_type") != cls.model_type:
            raise UserError(
                f"{folder}: model_type={config.get('model_type')!r} is not of the family mae (vit_mae); give "
                "a directory of it, or choose the family of this one"
            )
        architecture = _config_of(folder)
        model, info = ViTMAEForPreTraining.from_pretrained(
            folder,
            config=architecture,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, in one line
            local_files_only=True,
            use_safetensors=True,
            variant=weights_in(Path(folder), "model")[1],
            dtype=torch.float32,  # else config.json decides, and float32 weights are rounded to what it names
        )
        misshaped = (name for name, *_ in info["mismatched_keys"])
        faults = sorted({*info["missing_keys"], *misshaped})
        if not getattr(architecture, "has_decoder", True):
            model.decoder = None
            faults = [name for name in faults if not name.startswith("decoder.")]
        if faults:
            raise UserError(
                f"{folder}: model.safetensors lacks or misshapes tensors: {len(faults)}, first {faults[0]}; "
                "fetch the directory again"
            )
        if unused := sorted(info["unexpected_keys"]):
            raise UserError(
                f"{folder}: holds tensors that a ViTMAE does not have and that would be left out: {len(unused)}, first "
                f"{unused[0]}; save the model without them, or merge them"
            )
        return cls(model, *_preprocessing(folder, model.config))

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json: plain transformers opens them.

        The tensors get the names of the public checkpoints, which every transformers reads. Its own `save_pretrained`
        has changed them: what 5.18 to 5.24 write gets a random decoder, without an error, in other versions.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        config.architectures, config.dtype = [type(self.model).__name__], self.model.dtype
        config.save_pretrained(folder)
        tensors = {published_name(name): one.contiguous() for name, one in self.model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        # As the library would: its own writer needs torchvision, which a GPU box may lack.
        write_json(Path(folder) / PREPROCESSOR, dict(self.preprocessor.content))


_PUBLISHED = {
    "vit.layers.": "vit.encoder.layer.",
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}
"""Parts of the library's names in memory -> those of facebook/vit-mae-*."""


def published_name(name: str) -> str:
    """The name under which the public checkpoints hold a tensor of ViTMAEForPreTraining."""
    for ours, theirs in _PUBLISHED.items():
        name = name.replace(ours, theirs)
    return name


def _block(layer: Any, tokens: Tensor, attend: Tensor | None) -> Tensor:
    """One transformer block of the library, with query, key and value in one matrix product."""
    tokens = tokens + layer.dropout(_attention(layer.attention, layer.layernorm_before(tokens), attend))
    return tokens + layer.dropout(layer.mlp(layer.layernorm_after(tokens)))


def _attention(attention: Any, tokens: Tensor, attend: Tensor | None) -> Tensor:
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    heads, size = attention.num_attention_heads, attention.head_dim
    batch, length, _ = tokens.shape
    query, key, value = F.linear(tokens, weight, bias).view(batch, length, 3, heads, size).permute(2, 0, 3, 1, 4)
    dropout = attention.attention_dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, attend, dropout, scale=attention.scaling)
    return attention.o_proj(mixed.transpose(1, 2).flatten(2))


@contextmanager
def _faults_in(where: str) -> Iterator[None]:
    """Tell what the library says of a setting in one line, with the place where the setting stands."""
    try:
        yield
    except StrictDataclassError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}; correct it") from None


def _config_of(folder: str | Path) -> ViTMAEConfig:
    where = f"{folder}/config.json"
    content = read_config(folder)
    for name, usual in vars(ViTMAEConfig()).items():
        if isinstance(usual, float) and type(content.get(name)) is int:
            content[name] = float(content[name])  # JSON writers shorten 1.0 to 1, and the library refuses that
    content.pop("family", None)
    with _faults_in(where):
        config = ViTMAEConfig.from_dict(content)
    _check_sizes(config, where)
    return config


_COUNTS = (
    *("image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "decoder_hidden_size", "decoder_num_attention_heads", "decoder_intermediate_size"),
)


def _check_sizes(config: ViTMAEConfig, where: str) -> None:
    for name in _COUNTS:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            side = "; images must be square here" if name in ("image_size", "patch_size") else ""
            raise UserError(f"{where}: {name}={value!r} must be a whole number above 0{side}; correct it")
    if config.image_size % config.patch_size:
        raise UserError(
            f"{where}: image_size={config.image_size} is not a multiple of patch_size={config.patch_size}; change one"
            " of them"
        )
    for width, heads in (
        ("hidden_size", "num_attention_heads"),
        ("decoder_hidden_size", "decoder_num_attention_heads"),
    ):
        if getattr(config, width) % getattr(config, heads) or getattr(config, width) % 4:
            raise UserError(
                f"{where}: {width}={getattr(config, width)} must be a multiple of 4 and of"
                f" {heads}={getattr(config, heads)}; change one of them"
            )


def _random_model(config: ViTMAEConfig, generator: torch.Generator) -> ViTMAEForPreTraining:
    with seeded(generator):
        model = ViTMAEForPreTraining(config)
        # Made from scratch, the library leaves both position tables (constants!) and the class token at zero: the
        # encoder's own initialisation returns at once when it sees that its projection was initialised before it.
        embeddings = model.vit.embeddings
        embeddings.patch_embeddings.projection._is_hf_initialized = False
        embeddings.initialize_weights()
        model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
        if not getattr(config, "has_decoder", True):
            model.decoder = None
    return model


def _preprocessing(
    folder: str | Path, config: ViTMAEConfig
) -> tuple[tuple[float, ...], tuple[float, ...], Preprocessor]:
    size = (config.image_size, config.image_size)
    found = read_preprocessor(folder, num_channels=config.num_channels, image_size=size)
    return found.mean, found.deviation, found
