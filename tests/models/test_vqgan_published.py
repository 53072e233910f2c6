"""The architecture against numbers of MAGE's published implementation (tests/golden/mage/README.md)."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from i2i_unlearn.models.kept_tokens import KeptTokens
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.vqgan.architecture import Architecture
from i2i_unlearn.models.vqgan.decoding import decoding_steps
from i2i_unlearn.models.vqgan.mage_keys import model_names, tokenizer_names
from tests.models.published.files import HEADS, file_of, same_weights

GOLDEN = file_of("mage").parent


def close(found, expected):
    return found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def published():
    """Content of config.json."""
    return json.loads((GOLDEN / "config.json").read_text())


@pytest.fixture(scope="module")
def golden():
    """Inputs and outputs of the published implementation."""
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def model(published):
    """The published file as our model."""
    how = published["generate"]
    options = {**HEADS, "decoding_steps": how["num_iter"], "temperature": how["choice_temperature"]}
    return convert_checkpoint(file_of("mage"), options).model.eval()


def test_the_architecture_is_the_published_one(model, published):
    sizes, tokenizer = published["model"], published["vqgan"]
    network = tokenizer["ddconfig"]
    assert model.architecture == Architecture(
        image_size=sizes["img_size"],
        num_channels=sizes["in_chans"],
        num_codes=tokenizer["n_embed"],
        code_size=tokenizer["embed_dim"],
        tokenizer_width=network["ch"],
        tokenizer_multipliers=network["ch_mult"],
        tokenizer_num_blocks=network["num_res_blocks"],
        tokenizer_norm_groups=tokenizer["group_norm_groups"],
        hidden_size=sizes["embed_dim"],
        num_hidden_layers=sizes["depth"],
        num_attention_heads=sizes["num_heads"],
        decoder_hidden_size=sizes["decoder_embed_dim"],
        decoder_num_hidden_layers=sizes["decoder_depth"],
        decoder_num_attention_heads=sizes["decoder_num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        dropout=sizes["dropout"],
        num_classes=1000,
        fake_class=76,
        num_positions=sizes["max_position_embeddings"],
        hidden_tokens="mask",
        label_smoothing=sizes["label_smoothing"],
        decoding_steps=published["generate"]["num_iter"],
        temperature=published["generate"]["choice_temperature"],
    )
    assert model.transformer.first_id == published["fake_class_label"]
    assert model.transformer.mask_id == published["mask_token_label"]
    assert len(model.transformer.token_emb.word_embeddings.weight) == published["vocab_size"]


# --- tokenizer ---


def test_the_tokenizer_file_holds_the_same_tokenizer(model):
    alone = tokenizer_names(torch.load(GOLDEN / "vqgan.ckpt", weights_only=True))
    assert same_weights(model.tokenizer, alone)


def test_the_tokenizer_encodes_chooses_and_paints_as_published(model, golden):
    tokenizer = model.tokenizer
    with torch.no_grad():
        z = tokenizer.encoder(golden["images"])
        ids = tokenizer.tokenize(golden["images"])
        rows = tokenizer.codebook_KD[ids]
        painted = tokenizer.paint(rows, (8, 8))
    assert close(z, golden["vq.encoder_output"])
    assert ids.equal(golden["vq.token_ids"])
    assert close(rows.transpose(1, 2).unflatten(2, (8, 8)), golden["vq.codebook_entries"])
    assert close(painted, golden["vq.decoded"])


def test_the_tokenizers_loss_has_the_published_commitment_term(model, golden):
    # The published value counts codebook (weight 1) and commitment (weight .25): ours moves the codebook otherwise.
    from i2i_unlearn.models.vqgan.tokenizer import BETA, PIXEL_VARIANCE

    with torch.no_grad():
        loss = model.tokenizer.loss(golden["images"], torch.Generator()).mean()
    reconstruction = (golden["vq.decoded"] - golden["images"]).square().mean() / PIXEL_VARIANCE
    assert close(loss - reconstruction, golden["vq.commitment_loss"] * BETA / (1 + BETA))


# --- transformer ---


def known(golden, case):
    """Booleans (B, N) from masks of length N + 1 where 1 = masked or dropped."""
    return golden[f"{case}.token_all_mask"][:, 1:] == 0


def kept(golden, case):
    return KeptTokens.of(golden[f"{case}.token_drop_mask"][:, 1:] == 0)


def blocks_of(transformer_blocks, tokens):
    for block in transformer_blocks:
        tokens = block(tokens)
        yield tokens


@pytest.mark.parametrize("case", ["random", "hole"])
def test_the_transformer_does_as_published_with_dropped_and_masked_tokens(model, golden, case):
    transformer = model.transformer
    ids = golden[f"{case}.input_ids"][:, 1:]
    with torch.no_grad():
        embedded = transformer.embed(ids)
        features, valid = transformer.encode(ids, kept(golden, case))
        entering = torch.cat((embedded[:, :1], kept(golden, case).gather(embedded[:, 1:])), dim=1)
        encoded = list(blocks_of(transformer.blocks, entering))
        decoder_input = transformer.decoder_input(features, kept(golden, case), known(golden, case))
        decoded = list(blocks_of(transformer.decoder_blocks, decoder_input))
        last = transformer.decoder_norm(decoded[-1])
        logits = transformer.head(last, len(transformer.token_emb.word_embeddings.weight))
        predicted = transformer.predict(features, kept(golden, case), known(golden, case))
    assert valid is None
    assert close(embedded, golden[f"{case}.token_embedding"])
    assert close(encoded[0], golden[f"{case}.encoder_block0"])
    assert close(encoded[1], golden[f"{case}.encoder_block1"])
    assert close(features, golden[f"{case}.encoder_features"])
    if case == "random":
        assert close(decoder_input, golden["random.decoder_input"])
        assert close(logits, golden["random.logits"])
        assert close(predicted, golden["random.logits"][:, 1:, :64])
    else:
        assert close(logits[..., :64], golden["hole.codebook_logits"])
        assert close(predicted, golden["hole.codebook_logits"][:, 1:])
    assert close(decoded[0], golden[f"{case}.decoder_block0"])
    assert close(decoded[1], golden[f"{case}.decoder_block1"])


def smoothed_loss(model, golden, case):
    transformer = model.transformer
    features, _ = transformer.encode(golden[f"{case}.input_ids"][:, 1:], kept(golden, case))
    logits = transformer.predict(features, kept(golden, case), known(golden, case))
    hidden = ~known(golden, case)
    return F.cross_entropy(
        logits[hidden], golden["vq.token_ids"][hidden], label_smoothing=model.architecture.label_smoothing
    )


@pytest.mark.parametrize("case", ["random", "hole"])
def test_the_loss_is_the_published_one(model, golden, case):
    with torch.no_grad():
        assert close(smoothed_loss(model, golden, case), golden[f"{case}.loss"])


def test_the_gradients_are_the_published_ones(model, golden):
    # The head is tied to the embedding but passes no gradient to it: the norm of its gradient would show it.
    published = model_names(
        {
            name: torch.tensor(float("nan") if norm is None else norm)
            for name, norm in json.loads((GOLDEN / "grad_norms.json").read_text()).items()
        }
    )
    model.zero_grad()
    smoothed_loss(model, golden, "random").backward()
    largest = max(norm for norm in published.values() if not norm.isnan())
    for name, parameter in model.named_parameters():
        expected = published[name]
        assert (parameter.grad is None) == bool(expected.isnan()), name
        if parameter.grad is not None:
            norm = parameter.grad.norm()
            assert abs(norm - expected) <= 1e-3 * abs(expected) + 1e-5 * largest, name
    model.zero_grad(set_to_none=True)


def test_a_pass_with_mask_ids_fills_the_hole_as_published(model, golden):
    # The centre square's tokens are 4 x 4 of 8 x 8: exactly the patches of a 16 px hole of the 32 px image.
    transformer = model.transformer
    ids, visible = golden["inpaint.input_ids"][:, 1:], known(golden, "inpaint")
    with torch.no_grad():
        every = KeptTokens.of(torch.ones_like(visible))
        features, valid = transformer.encode(ids, every)
        logits = transformer.predict(features, every, visible)
        filled = torch.where(visible, ids, logits.argmax(2))
        painted = model.tokenizer.paint(model.tokenizer.codebook_KD[filled], (8, 8))
    assert valid is None
    assert close(features, golden["inpaint.encoder_features"])
    assert close(logits, golden["inpaint.codebook_logits"][:, 1:])
    assert filled.equal(golden["inpaint.filled_ids"])
    assert close(painted, golden["inpaint.decoded"])
    # The same through the model's own way from ids to logits
    with torch.no_grad():
        assert model._logits(ids, visible).equal(logits)


class Recorded:
    """Random numbers of the published run."""

    def __init__(self, golden):
        self._ids, self._gumbel = iter(golden["generate.drawn_ids"]), iter(golden["generate.gumbel"])
        self.logits = []

    def ids(self, logits):
        self.logits.append(logits)
        return next(self._ids)

    def gumbel(self, like):
        return next(self._gumbel)


def test_the_sampler_goes_the_published_way(model, golden):
    seen, chance = [], Recorded(golden)

    def logits_of(ids, known):
        seen.append(ids)
        return model._logits(ids, known)

    with torch.no_grad():
        steps = list(
            decoding_steps(
                logits_of,
                torch.zeros(2, 64, dtype=torch.long),
                torch.zeros(2, 64, dtype=torch.bool),
                mask_id=model.transformer.mask_id,
                num_steps=model.architecture.decoding_steps,
                temperature=model.architecture.temperature,
                chance=chance,
            )
        )
        image = model.tokenizer.paint(model.tokenizer.codebook_KD[steps[-1]], (8, 8))
    assert torch.stack(seen).equal(golden["generate.input_ids"][:, :, 1:])
    assert close(torch.stack(chance.logits), golden["generate.codebook_logits"])
    assert steps[-1].equal(golden["generate.final_ids"])
    assert close(image, golden["generate.image"])
