"""Family `vqgan`: masked token generator after MAGE: a VQ tokenizer and a masked token transformer on its codes.

Li, Chang, Mishra, Zhang, Katabi, Krishnan, "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image
Synthesis", CVPR 2023, arXiv:2211.09117.

    E  the transformer's encoder, which sees the codes of visible patches
    D  the transformer's decoder and head, which name the codes of hidden patches, then the tokenizer's decoder

The tokenizer belongs to neither: it is frozen. So is the token embedding, since the decoder's head compares with its
rows. A patch is visible only if all of its pixels are. Hidden pixels are made grey before the tokenizer looks: its
convolutions see beyond a patch.
Shape letters: B batch, N tokens (patches), K kept tokens, D embedding size, V codes, C channels, H, W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2i_unlearn.models.base import Embedding, TrainingPhase
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.models.kept_tokens import KeptTokens
from i2i_unlearn.models.operators import hide
from i2i_unlearn.models.own_weights import seeded
from i2i_unlearn.models.preprocessor import FILE as PREPROCESSOR
from i2i_unlearn.models.preprocessor import made_here, read_fixed
from i2i_unlearn.models.randomness import drawn
from i2i_unlearn.models.vqgan.architecture import Architecture
from i2i_unlearn.models.vqgan.decoding import FromGenerator, decode_iteratively
from i2i_unlearn.models.vqgan.masked_tokens import MaskedTokens
from i2i_unlearn.models.vqgan.tokenizer import VqTokenizer
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json

ENCODER = ("blocks.", "norm.", "token_emb.position_embeddings.", "token_emb.LayerNorm.")
"""Parts of the transformer that E alone uses. Not the code vectors `token_emb.word_embeddings`: the head uses them."""
AS_ASKED = 0.5
"""Share of the images whose hidden codes all stay hidden in training. With 0 the first step of decoding, and `decode`,
are learnt worse: .4 dB of hole PSNR on the digits after 600 steps."""


class MaskedTokenModel(nn.Module):
    """Tokenizer and transformer."""

    family: ClassVar[str] = "vqgan"
    placed: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.image_size = (a.image_size, a.image_size)
        self.num_channels = a.num_channels
        none, one = (0.0,) * a.num_channels, (1.0,) * a.num_channels
        self.preprocessor = made_here(none, one, self.image_size)
        self.tokenizer = VqTokenizer(
            num_channels=a.num_channels,
            num_codes=a.num_codes,
            code_size=a.code_size,
            width=a.tokenizer_width,
            multipliers=a.tokenizer_multipliers,
            num_blocks=a.tokenizer_num_blocks,
            groups=a.tokenizer_norm_groups,
        )
        self.transformer = MaskedTokens(
            num_codes=a.num_codes,
            num_classes=a.num_classes,
            fake_class=a.fake_class,
            num_tokens=a.num_tokens,
            num_positions=a.num_positions or a.num_tokens + 1,
            width=a.hidden_size,
            num_layers=a.num_hidden_layers,
            num_heads=a.num_attention_heads,
            decoder_width=a.decoder_hidden_size,
            decoder_num_layers=a.decoder_num_hidden_layers,
            decoder_num_heads=a.decoder_num_attention_heads,
            mlp_ratio=a.mlp_ratio,
            dropout=a.dropout,
        )
        # Of training from scratch alone: in checkpoints of a run, not in model files.
        self.register_buffer("placed", torch.tensor(False), persistent=False)

    # --- E, D and what is made of them ---

    def draw(self, num: int, generator: torch.Generator, *, emphasis: float = 0.0) -> tuple[Tensor, ...]:
        """The encoder sees nothing of chance."""
        return ()

    def encode(self, images_BCHW: Tensor, visible_BHW: Tensor, draws: tuple[Tensor, ...] = ()) -> Embedding:
        """E(T(x)): fake class token, then the visible tokens in raster order: one map (B, 1 + K, D).

        The context is the codes of the visible patches (B, N; the mask id elsewhere), which D paints as they are.
        """
        return self.encode_stem(self.stem(images_BCHW, visible_BHW), visible_BHW)

    def stem(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
        """Codes of T(x), (B, N); the tokenizer stays frozen while E is trained."""
        return self._tokenize(_hidden_filled(images_BCHW, visible_BHW))

    def encode_stem(self, stem: Tensor, visible_BHW: Tensor) -> Embedding:
        """E from the codes on."""
        known_BN = self._patch_visible(visible_BHW)
        ids_BN = stem.masked_fill(~known_BN, self.transformer.mask_id)
        tokens, valid = self.transformer.encode(ids_BN, self._kept(known_BN))
        return Embedding((tokens,), valid, (ids_BN,))

    def decode(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """D(e), in one pass: images (B, C, H, W) in [-1, 1].

        At hidden places the mean of the codebook's rows under the predicted distribution is painted: gradients flow
        through it, and it comes nearer to the original than the likeliest code does. At visible places the codes
        themselves; without a context, the means there, too.
        """
        known_BN = self._patch_visible(visible_BHW)
        logits_BNV = self.transformer.predict(embedding.maps[0], self._kept(known_BN), known_BN)
        rows_BND = logits_BNV.float().softmax(2) @ self.tokenizer.codebook_KD
        if embedding.context:
            (ids_BN,) = embedding.context
            own_BND = self.tokenizer.codebook_KD[ids_BN.masked_fill(~known_BN, 0)]
            rows_BND = torch.where(known_BN.unsqueeze(2), own_BND, rows_BND)
        return self._paint(rows_BND)

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """Fill hidden pixels by iterative decoding, clamped to [-1, 1]. One generator, one result."""
        visible_BN = self._patch_visible(visible_BHW).expand(len(images_BCHW), -1)
        num_steps = self.architecture.decoding_steps
        ids_BN = decode_iteratively(
            self._logits,
            self._tokenize(_hidden_filled(images_BCHW, visible_BHW)),
            visible_BN,
            mask_id=self.transformer.mask_id,
            num_steps=num_steps,
            temperature=self.architecture.temperature,
            chance=FromGenerator(generator, len(images_BCHW), num_steps, self.architecture.num_tokens),
        )
        filled_BCHW = self._paint(self.tokenizer.codebook_KD[ids_BN]).clamp(-1, 1)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)

    def training_loss(
        self,
        images_BCHW: Tensor,
        visible_BHW: Tensor,
        *,
        generator: torch.Generator,
        truth_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Label-smoothed cross entropy on the hidden codes of the truth, mean over them: (B,) (MAGE, eq. 1).

        Iterative decoding asks with some hidden codes known already. So in training mode half of the images, drawn,
        have a random part of their hidden codes revealed, as many as a step of the decoding leaves known: the share
        that stays hidden is cos(pi/2 u), u uniform in [0, 1]. In evaluation mode nothing is revealed: the loss of the
        task itself.
        """
        visible_BN = self._patch_visible(visible_BHW).expand(len(images_BCHW), -1)
        truth_ids_BN = self._tokenize(images_BCHW if truth_BCHW is None else truth_BCHW)
        known_BN = self._reveal(visible_BN, generator) if self.training else visible_BN
        ids_BN = torch.where(visible_BN, self._tokenize(_hidden_filled(images_BCHW, visible_BHW)), truth_ids_BN)
        logits_BNV = self._logits(ids_BN.masked_fill(~known_BN, self.transformer.mask_id), known_BN)
        per_token_BN = F.cross_entropy(
            logits_BNV.flatten(0, 1),
            truth_ids_BN.flatten(),
            reduction="none",
            label_smoothing=self.architecture.label_smoothing,
        ).view_as(truth_ids_BN)
        hidden_BN = ~known_BN
        return (per_token_BN * hidden_BN).sum(1) / hidden_BN.sum(1).clamp(min=1)

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Blocks, norm, and of the token embedding its places and norm.

        Its code vectors are left out: the decoder's head is tied to them. The tokenizer serves E and D alike.
        """
        for name, parameter in self.transformer.named_parameters():
            if name.startswith(ENCODER):
                yield f"transformer.{name}", parameter

    # --- training from scratch ---

    def training_phases(self) -> Sequence[TrainingPhase]:
        """First the tokenizer, then the transformer on its codes."""
        share = self.architecture.tokenizer_share
        return (
            TrainingPhase("tokenizer", share, MaskedTokenModel.tokenizer_loss),
            TrainingPhase("transformer", 1 - share, MaskedTokenModel.transformer_loss),
        )

    def tokenizer_loss(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """The tokenizer's own loss on whole images, (B,); in training mode its codebook takes a step, too."""
        return self.tokenizer.loss((images_BCHW + 1) / 2, generator)

    def transformer_loss(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """The training loss, (B,); at its first call the code vectors are placed by the tokenizer's codebook.

        Codes that paint alike then start with vectors alike, for the encoder and, since it is tied, for the head.
        """
        if not self.placed:
            codes_KD = F.layer_norm(self.tokenizer.codebook_KD.T, (self.architecture.num_codes,)).T
            directions_DE = torch.randn(codes_KD.shape[1], self.architecture.hidden_size, generator=generator)
            directions_DE *= self.architecture.initializer_range / codes_KD.shape[1] ** 0.5
            with torch.no_grad():
                rows = self.transformer.token_emb.word_embeddings.weight[: len(codes_KD)]
                rows.copy_(codes_KD @ directions_DE.to(codes_KD))
            self.placed.fill_(True)
        return self.training_loss(images_BCHW, visible_BHW, generator=generator)

    def training_facts(self) -> dict[str, float]:
        """What training tells of itself, for the summary."""
        return {"share_of_used_codes": round(self.tokenizer.share_of_used_codes(), 4)}

    # --- tokens ---

    def _tokenize(self, images_BCHW: Tensor) -> Tensor:
        return self.tokenizer.tokenize((images_BCHW + 1) / 2)

    def _paint(self, rows_BND: Tensor) -> Tensor:
        grid = (self.architecture.grid, self.architecture.grid)
        return self.tokenizer.paint(rows_BND, grid) * 2 - 1

    def _logits(self, ids_BN: Tensor, known_BN: Tensor) -> Tensor:
        """Logits (B, N, V) from ids, mask id where not known: E and D in one go."""
        kept = self._kept(known_BN)
        tokens, _ = self.transformer.encode(ids_BN, kept)
        return self.transformer.predict(tokens, kept, known_BN)

    def _kept(self, known_BN: Tensor) -> KeptTokens:
        """What the encoder sees: known tokens alone, or all with mask ids in place of the others."""
        return KeptTokens.of(known_BN if self.architecture.hidden_tokens == "drop" else torch.ones_like(known_BN))

    def _patch_visible(self, visible_BHW: Tensor) -> Tensor:
        """Boolean (B, N): True where all pixels of the patch are visible; B = 1 where all images share one mask."""
        # Fixed operators give one mask expanded over the batch (stride 0): one row then serves all images.
        if visible_BHW.stride(0) == 0:
            visible_BHW = visible_BHW[:1]
        size = self.architecture.patch_size
        visible_BN = visible_BHW.unflatten(2, (-1, size)).unflatten(1, (-1, size)).all(4).all(2).flatten(1)
        if not visible_BN.any():
            raise UserError(
                f"the operator leaves no patch of {size} px wholly visible; "
                "choose another operator or a larger keep_fraction"
            )
        return visible_BN

    def _reveal(self, visible_BN: Tensor, generator: torch.Generator) -> Tensor:
        """Visible tokens and, in half of the images, some of the hidden ones; at least one stays hidden."""
        num_images, num_tokens = visible_BN.shape

        def uniform(*shape: int) -> Tensor:
            return drawn(num_images, generator, lambda rows: torch.rand(rows, *shape, generator=generator))

        share_B = (uniform() * torch.pi / 2).cos()
        share_B[uniform() < AS_ASKED] = 1.0
        order_BN = uniform(num_tokens).to(visible_BN.device)
        rank_BN = order_BN.masked_fill(visible_BN, 2).argsort(1).argsort(1)  # of the hidden ones, from 0
        num_hidden_B = (share_B.to(visible_BN.device) * (~visible_BN).sum(1)).ceil().clamp(min=1)
        return visible_BN | (rank_BN >= num_hidden_B.unsqueeze(1))

    # --- making, loading, saving ---

    @classmethod
    def create(
        cls, architecture: Mapping[str, Any], *, image_size: int, num_channels: int, generator: torch.Generator
    ) -> Self:
        """Random weights. `architecture` holds keys of vqgan_architecture.Architecture.

        Raises:
            UserError: keys unknown or missing, or sizes that do not fit each other.
        """
        where = "pretrain.architecture"
        given = {"image_size": image_size, "num_channels": num_channels}
        twice = sorted(set(architecture) & set(given))
        if twice:
            raise UserError(f"{where}: {', '.join(twice)} is set in the section pretrain already; remove it here")
        return cls._random(Architecture.of({**given, **architecture}, where), generator)

    @classmethod
    def load_architecture(cls, folder: str | Path, *, generator: torch.Generator) -> Self:
        """The architecture of a model directory with new random weights, those of the tokenizer too."""
        return cls._random(_architecture_of(folder), generator)._with_preprocessor(folder)

    @classmethod
    def _random(cls, architecture: Architecture, generator: torch.Generator) -> Self:
        with seeded(generator):
            model = cls(architecture)
            model.transformer.initialize(architecture.initializer_range)
        return model

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model directory. The tokenizer is frozen.

        Raises:
            UserError: of another family, incomplete, or damaged.
        """
        model = cls(_architecture_of(folder))
        tensors = load_file(Path(folder) / "model.safetensors")
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        found = {name: tensor.shape for name, tensor in tensors.items()}
        faults = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        if faults:
            raise UserError(
                f"{folder}: model.safetensors lacks, misshapes or adds tensors: {len(faults)}, first {faults[0]}; "
                "fetch the directory again"
            )
        model.load_state_dict(tensors)
        model.tokenizer.requires_grad_(False)
        return model._with_preprocessor(folder)

    def _with_preprocessor(self, folder: str | Path) -> Self:
        channels, size = self.num_channels, self.image_size
        found = read_fixed(folder, num_channels=channels, image_size=size, mean=0, deviation=1)
        self.preprocessor = found or self.preprocessor
        return self

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json (pixels in [0, 1])."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"family": self.family, **self.architecture.content()})
        save_file(
            {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / "model.safetensors"
        )
        write_json(folder / PREPROCESSOR, dict(self.preprocessor.content))


def _hidden_filled(images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
    """T(x) with the mean of an image's visible pixels in the hidden ones.

    The tokenizer knows whole images, and its group norms see all of an image: grey where none belongs would change the
    codes of visible patches, too.
    """
    visible_B1HW = visible_BHW.unsqueeze(1)
    total_BC11 = hide(images_BCHW, visible_BHW).sum((2, 3), keepdim=True)
    return torch.where(visible_B1HW, images_BCHW, total_BC11 / visible_B1HW.sum((2, 3), keepdim=True))


def _architecture_of(folder: str | Path) -> Architecture:
    content = read_config(folder)
    if content.get("family") != MaskedTokenModel.family:
        raise UserError(
            f"{folder}: family={content.get('family')!r} is not of the family vqgan; give a directory "
            "of it, or choose the family of this one"
        )
    return Architecture.of(
        {name: value for name, value in content.items() if name != "family"}, f"{folder}/config.json"
    )
