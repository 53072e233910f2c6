"""Sizes and choices of the family `vqgan`, as in config.json and in `pretrain.architecture`; faults in one line."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self, get_args, get_origin

from i2i_unlearn.support.errors import UserError

HIDDEN = ("drop", "mask")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes are in pixels, channels, layers or tokens."""

    image_size: int
    num_channels: int
    num_codes: int
    code_size: int
    """Channels of a code."""
    tokenizer_width: int
    tokenizer_multipliers: list[int]
    """Times width: channels of each level, finest first. Each level but the first halves the grid."""
    tokenizer_num_blocks: int
    """Residual blocks per level."""
    tokenizer_norm_groups: int = 32
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    decoder_hidden_size: int
    decoder_num_hidden_layers: int
    decoder_num_attention_heads: int
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    initializer_range: float = 0.02
    num_classes: int = 1
    """Ids of the vocabulary between the codes and the mask id. The public checkpoints have 1000."""
    fake_class: int = 0
    """Which of them starts every sequence. In the public checkpoints 76."""
    num_positions: int = 0
    """Rows of the encoder's position table; 0 = as many as tokens. In the public checkpoints 257."""
    hidden_tokens: str = "drop"
    """drop: the encoder sees visible tokens only. mask: mask ids at hidden places, too, as in MAGE's sampler."""
    label_smoothing: float = 0.1
    tokenizer_share: float = 0.4
    """Share of the training steps that go to the tokenizer, before the transformer."""
    decoding_steps: int = 8
    temperature: float = 4.5
    """Of the choice of tokens to keep in iterative decoding; 0 = the surest."""

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str) -> Self:
        """From keys and values; `where` they stand is told with each fault.

        Raises:
            UserError: keys unknown or missing, values of a wrong kind, or sizes that do not fit each other.
        """
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise UserError(f"{where}: {', '.join(unknown)} is not known to the family vqgan; remove it")
        missing = [name for name, field in known.items() if field.default is MISSING and name not in content]
        if missing:
            raise UserError(f"{where}: {', '.join(missing)} is missing; the family vqgan needs it")
        for name, value in content.items():
            _check_kind(name, value, known[name].type, where)
        architecture = cls(**content)
        faults = list(architecture._faults())
        if faults:
            raise UserError(f"{where}: {'; '.join(faults)}; correct it")
        return architecture

    def content(self) -> dict[str, Any]:
        """`of(a.content(), where) == a`."""
        return asdict(self)

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that one token covers."""
        return 2 ** (len(self.tokenizer_multipliers) - 1)

    @property
    def grid(self) -> int:
        """Tokens along a side."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Of an image."""
        return self.grid**2

    def _faults(self) -> Any:
        for field in fields(self):
            least, value = _LEAST.get(field.name, 1 if field.type is int else None), getattr(self, field.name)
            if least is not None and value < least:
                yield f"{field.name}={value} must be at least {least}"
                return
        if not self.tokenizer_multipliers or min(self.tokenizer_multipliers) < 1:
            yield f"tokenizer_multipliers={self.tokenizer_multipliers} must be a list of whole numbers above 0"
            return
        if self.image_size % self.patch_size:
            yield f"image_size={self.image_size} is not a multiple of the {self.patch_size} px of a token"
        for width in {self.tokenizer_width, *(self.tokenizer_width * m for m in self.tokenizer_multipliers)}:
            if width % self.tokenizer_norm_groups:
                yield f"tokenizer_norm_groups={self.tokenizer_norm_groups} does not divide {width} tokenizer channels"
        for part in ("", "decoder_"):
            width, heads = getattr(self, f"{part}hidden_size"), getattr(self, f"{part}num_attention_heads")
            if width % heads:
                yield f"{part}hidden_size={width} is not a multiple of {part}num_attention_heads={heads}"
        if self.fake_class >= self.num_classes:
            yield f"fake_class={self.fake_class} must be below num_classes={self.num_classes}"
        if 0 < self.num_positions < self.num_tokens + 1:
            yield f"num_positions={self.num_positions} must be 0 or at least {self.num_tokens + 1}"
        if self.hidden_tokens not in HIDDEN:
            yield f"hidden_tokens={self.hidden_tokens!r} must be one of: {', '.join(HIDDEN)}"
        if not 0 < self.tokenizer_share < 1:
            yield f"tokenizer_share={self.tokenizer_share} must be above 0 and below 1"
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}={getattr(self, name)} must be at least 0 and below 1"


_LEAST = {"num_codes": 2, "fake_class": 0, "num_positions": 0, "mlp_ratio": 0, "initializer_range": 0, "temperature": 0}
"""Of numbers that are not whole ones from 1."""


def _check_kind(name: str, value: Any, kind: Any, where: str) -> None:
    items = value if get_origin(kind) is list and isinstance(value, list) else [value]
    inner = get_args(kind)[0] if get_origin(kind) is list else kind
    allowed = (int, float) if inner is float else inner
    wrong_shape = get_origin(kind) is list and not isinstance(value, list)
    if wrong_shape or any(isinstance(item, bool) or not isinstance(item, allowed) for item in items):
        told = {int: "a whole number", float: "a number", str: "a word"}[inner]
        told = f"a list, each item {told}" if get_origin(kind) is list else told
        raise UserError(f"{where}: {name}={value!r} must be {told}; correct it")
