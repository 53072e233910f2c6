"""Masked token transformer: from the codes of the visible patches to a distribution over the codes of hidden ones.

Li, Chang, Mishra, Zhang, Katabi, Krishnan, "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image
Synthesis", CVPR 2023, arXiv:2211.09117 (sec. 3.1).

The sequence starts with a constant "fake class" token. Hidden tokens are dropped before the encoder, as in MAE, or
replaced by a mask id (MAGE trains with some of both; its sampler uses mask ids alone). The decoder fills every hidden
place with the projected *first* token of that image. The head compares with the token embedding, whose values it uses
without passing gradient to them.
Modules are named as in MAGE's public files, so that names map one to one (mage_keys.py).
Shape letters: B batch, N tokens, K kept tokens, D embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i_unlearn.models.kept_tokens import KeptTokens


class Attention(nn.Module):
    """Self-attention; queries, keys and values in one matrix product."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, attend: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        parts = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attend, dropout)
        return F.dropout(self.proj(mixed.transpose(1, 2).flatten(2)), dropout)


class Mlp(nn.Module):
    """Two layers with an exact GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(tokens)))))


class Block(nn.Module):
    """Transformer block; normalisation comes first."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio), dropout)

    def forward(self, tokens: Tensor, attend: Tensor | None = None) -> Tensor:
        """`attend` (B, 1, 1, N): False = padding."""
        tokens = tokens + self.attn(self.norm1(tokens), attend)
        return tokens + self.mlp(self.norm2(tokens))


class TokenEmbedding(nn.Module):
    """Codes and places to vectors, normalised."""

    def __init__(self, vocabulary: int, num_positions: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(num_positions, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_BN: Tensor) -> Tensor:
        """(B, N) -> (B, N, D); of more places than tokens the first are used."""
        tokens = self.word_embeddings(ids_BN) + self.position_embeddings.weight[: ids_BN.shape[1]]
        return self.dropout(self.LayerNorm(tokens))


class TiedHead(nn.Module):
    """Vectors to logits: likeness to the rows of the token embedding."""

    def __init__(self, width: int, embedding_width: int, vocabulary: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, embedding_width)
        self.ln = nn.LayerNorm(embedding_width, eps=1e-5)  # unlike all the others
        self.bias = nn.Parameter(torch.zeros(1, 1, vocabulary))

    def forward(self, tokens: Tensor, rows_KD: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, K) for the first K rows of the vocabulary; no gradient goes into `rows`."""
        likeness = F.linear(self.ln(F.gelu(self.fc(tokens))), rows_KD.detach())
        return likeness + self.bias[..., : len(rows_KD)]


class MaskedTokens(nn.Module):
    """Encoder, decoder and head. Vocabulary = codes, class ids, one mask id; the first token is a constant class id."""

    def __init__(
        self,
        *,
        num_codes: int,
        num_classes: int,
        fake_class: int,
        num_tokens: int,
        num_positions: int,
        width: int,
        num_layers: int,
        num_heads: int,
        decoder_width: int,
        decoder_num_layers: int,
        decoder_num_heads: int,
        mlp_ratio: float,
        dropout: float,
    ) -> None:
        """`fake_class` counts from the first class id; `num_tokens` are those of the grid, without the class token."""
        super().__init__()
        self.num_codes = num_codes
        self.first_id = num_codes + fake_class
        self.mask_id = num_codes + num_classes
        vocabulary = self.mask_id + 1
        self.token_emb = TokenEmbedding(vocabulary, num_positions, width, dropout)
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_pos_embed_learned = nn.Parameter(torch.zeros(1, num_tokens + 1, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_width, decoder_num_heads, mlp_ratio, dropout) for _ in range(decoder_num_layers)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.mlm_layer = TiedHead(decoder_width, width, vocabulary)

    def initialize(self, deviation: float) -> None:
        """Draw new weights from torch's global stream: normal, biases zero, norms one."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.decoder_pos_embed_learned, std=deviation)

    def embed(self, ids_BN: Tensor) -> Tensor:
        """Ids of the grid (mask id where masked) -> what enters the encoder, class token first: (B, 1 + N, D)."""
        return self.token_emb(F.pad(ids_BN, (1, 0), value=self.first_id))

    def encode(self, ids_BN: Tensor, kept: KeptTokens) -> tuple[Tensor, Tensor | None]:
        """Class token and kept tokens (B, 1 + K, D), and which of them are not padding (B, 1 + K; None = all)."""
        tokens = self.embed(ids_BN)
        tokens = torch.cat((tokens[:, :1], kept.gather(tokens[:, 1:])), dim=1)
        valid = None if kept.valid_BK is None else F.pad(kept.valid_BK, (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, None if valid is None else valid[:, None, None, :])
        return self.norm(tokens), valid

    def decoder_input(self, tokens: Tensor, kept: KeptTokens, known_BN: Tensor) -> Tensor:
        """Known tokens at their places, the projected first token at all others, and places: (B, 1 + N, D)."""
        tokens = self.decoder_embed(tokens)
        first = tokens[:, :1]
        full = kept.scatter(tokens[:, 1:], first.expand(-1, known_BN.shape[1], -1))
        full = torch.where(known_BN.unsqueeze(-1), full, first)  # kept as a mask id is not known
        return torch.cat((first, full), dim=1) + self.decoder_pos_embed_learned

    def predict(self, tokens: Tensor, kept: KeptTokens, known_BN: Tensor) -> Tensor:
        """Logits over the codes for every place of the grid: (B, N, codes)."""
        tokens = self.decoder_input(tokens, kept, known_BN)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.head(self.decoder_norm(tokens)[:, 1:], self.num_codes)

    def head(self, tokens: Tensor, num_rows: int) -> Tensor:
        """Logits of the first `num_rows` ids of the vocabulary."""
        return self.mlm_layer(tokens, self.token_emb.word_embeddings.weight[:num_rows])
