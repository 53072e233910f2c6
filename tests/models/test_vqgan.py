import copy

import pytest
import torch
import torch.nn.functional as F

from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Batch, Settings
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models import load_architecture, load_model
from i2i_unlearn.models.base import Embedding, training_phases
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.models.vqgan.model import MaskedTokenModel
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.engine import Schedule, Silent, train
from tests.models.samples import VQGAN, completed, edit_json, edit_tensors, encoded, generator, masks, some_images
from tests.support.stores import Kept, resumed_alike


def make(seed=0, *, image_size=16, num_channels=1, **changes):
    """A model with random weights and a codebook fitted to some images, so that patches have different codes."""
    model = MaskedTokenModel.create(
        {**VQGAN, **changes}, image_size=image_size, num_channels=num_channels, generator=generator(seed)
    )
    model.train().tokenizer_loss(*seen(16, num_channels), generator=generator())
    return model.eval()


def seen(num=4, channels=1):
    return some_images(num, channels), masks("center_hole", num)


def decoded(model, images, visible):
    with torch.no_grad():
        return model.decode(model.encode(images, visible), visible)


def loss_of(model, images, visible, seed=0, **more):
    with torch.no_grad():
        return model.training_loss(images, visible, generator=generator(seed), **more)


# --- the protocol ---


def test_the_encoder_sees_visible_tokens_alone_or_mask_ids_too():
    # 16 patches, 4 of them hidden, and the fake class token.
    assert encoded(make(), *seen()).maps[0].shape == (4, 1 + 12, 32)
    assert encoded(make(hidden_tokens="mask"), *seen()).maps[0].shape == (4, 1 + 16, 32)


def test_the_tokenizer_sees_the_mean_of_the_visible_pixels_in_the_hole():
    # Left half .5, right half -.25 but for a hole: (128 * .5 - 64 * .25) / 192 = .25.
    image = torch.full((1, 1, 16, 16), 0.5)
    image[..., 8:] = -0.25
    visible = torch.ones(1, 16, 16, dtype=torch.bool)
    visible[:, :8, 8:] = False
    filled = image.clone()
    filled[..., :8, 8:] = 0.25
    model = make()
    ids = encoded(model, image, visible).context[0]
    known = model._patch_visible(visible)
    assert ids[known].equal(model.tokenizer.tokenize((filled + 1) / 2)[known])


# --- decoding ---


def test_a_sure_decoder_paints_the_code_it_is_sure_of():
    # With a head that always says code 7, every hidden patch is row 7 of the codebook, every visible one its own.
    model, (images, visible) = make(), seen()
    with torch.no_grad():
        model.transformer.mlm_layer.bias[..., 7] = 1e4
        known = model._patch_visible(visible)
        ids = torch.where(known, encoded(model, images, visible).context[0], 7)
        expected = model.tokenizer.paint(model.tokenizer.codebook_KD[ids], (4, 4)) * 2 - 1
    assert torch.allclose(decoded(model, images, visible), expected, atol=1e-5)
    hole = ~visible.unsqueeze(1)
    filled = completed(model, images, visible)
    assert torch.allclose(filled[hole], expected.clamp(-1, 1)[hole], atol=1e-5)
    assert filled[~hole].equal(images[~hole])


def test_an_undecided_decoder_paints_the_mean_of_the_codes():
    model, (images, visible) = make(), seen()
    with torch.no_grad():
        model.transformer.mlm_layer.ln.weight.zero_()
        known = model._patch_visible(visible).unsqueeze(2)
        own = model.tokenizer.codebook_KD[encoded(model, images, visible).context[0].clamp(max=15)]
        rows = torch.where(known, own, model.tokenizer.codebook_KD.mean(0))
        expected = model.tokenizer.paint(rows, (4, 4)) * 2 - 1
    assert torch.allclose(decoded(model, images, visible), expected, atol=1e-5)


def test_gradients_of_the_decoded_image_reach_the_encoder():
    model, (images, visible) = make(), seen()
    model.decode(model.encode(images, visible), visible).square().mean().backward()
    for name, parameter in model.encoder_parameters():
        assert float(parameter.grad.abs().sum()) > 0, name


def test_a_mean_embedding_without_context_can_be_decoded():
    model, (images, visible) = make(), seen()
    embedding = encoded(model, images, visible)
    with torch.no_grad():
        picture = model.decode(Embedding((embedding.maps[0].mean(0, keepdim=True),)), visible[:1])
    assert picture.shape == (1, 1, 16, 16)


# --- loss ---


def test_the_loss_by_hand():
    # A head that always gives logits b: -(1 - s) log p(true) - s mean log p, averaged over the hidden patches.
    model, (images, visible) = make(label_smoothing=0.2), seen()
    bias = torch.randn(16, generator=generator())
    with torch.no_grad():
        model.transformer.mlm_layer.ln.weight.zero_()
        model.transformer.mlm_layer.bias[..., :16] = bias
        log_p = bias.log_softmax(0)
        truth = model.tokenizer.tokenize((images + 1) / 2).view(4, 4, 4)[:, 1:3, 1:3].flatten(1)
    expected = -(0.8 * log_p[truth].mean(1) + 0.2 * log_p.mean())
    assert torch.allclose(loss_of(model, images, visible), expected, atol=1e-5)


def test_the_loss_of_another_truth_is_that_of_its_codes():
    model, (images, visible) = make(), seen()
    other = some_images(4, seed=8)
    with torch.no_grad():
        embedding = model.encode(images, visible)
        known = model._patch_visible(visible)
        logits = model.transformer.predict(embedding.maps[0], model._kept(known), known)
        wanted = model.tokenizer.tokenize((other + 1) / 2)
        per_token = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", label_smoothing=0.1)
    expected = per_token.view(4, 4, 4)[:, 1:3, 1:3].mean((1, 2))
    assert torch.allclose(loss_of(model, images, visible, truth_BCHW=other), expected, atol=1e-5)


def test_in_evaluation_the_loss_draws_nothing_and_in_training_it_reveals_some_codes():
    model, (images, visible) = make(), seen(16)
    assert loss_of(model, images, visible, 0).equal(loss_of(model, images, visible, 1))
    model.train()
    assert loss_of(model, images, visible, 0).equal(loss_of(model, images, visible, 0))
    assert not loss_of(model, images, visible, 0).equal(loss_of(model, images, visible, 1))


def test_revealed_codes_are_hidden_ones_and_follow_the_cosine():
    model = make()
    visible = model._patch_visible(masks("outpaint", 4000, keep_fraction=0.25)).expand(4000, -1)  # 12 of 16 hidden
    known = model._reveal(visible, generator())
    assert bool(known[visible].all())
    num_hidden = (~known).sum(1)
    assert (int(num_hidden.min()), int(num_hidden.max())) == (1, 12)
    # All 12 stay hidden in half of the images, and in the others with P(cos(pi/2 u) > 11/12) = 2/pi arccos(11/12).
    share = 0.5 + 0.5 * 2 / torch.pi * torch.tensor(11 / 12).arccos()
    assert (num_hidden == 12).float().mean().item() == pytest.approx(share.item(), abs=0.03)
    # Every hidden patch is revealed as often as the others.
    revealed = known.float().mean(0)[~visible[0]]
    assert float(revealed.max() - revealed.min()) < 0.06


def test_images_with_nothing_hidden_have_no_loss():
    model, images = make(), some_images(2)
    assert loss_of(model, images, torch.ones(2, 16, 16, dtype=torch.bool)).tolist() == [0.0, 0.0]


# --- parts ---


def test_the_encoder_is_blocks_norm_and_what_places_tokens():
    names = {name for name, _ in make().encoder_parameters()}
    blocks = {name for name in names if name.startswith("transformer.blocks.")}
    assert len(blocks) == 2 * 12
    assert names - blocks == {
        "transformer.norm.weight",
        "transformer.norm.bias",
        "transformer.token_emb.position_embeddings.weight",
        "transformer.token_emb.LayerNorm.weight",
        "transformer.token_emb.LayerNorm.bias",
    }


def test_the_token_embedding_is_shared_by_encoder_and_head():
    # Which is why it is no encoder parameter: to change it changes what the head says of one and the same embedding.
    model, (images, visible) = make(), seen()
    embedding = encoded(model, images, visible)
    with torch.no_grad():
        before = model.decode(embedding, visible)
        model.transformer.token_emb.word_embeddings.weight[:16].mul_(-1)
        assert not model.decode(embedding, visible).equal(before)


class Shards:
    """Batches of noise and of waves, functions of the step."""

    def batches(self, step):
        return {name: self._batch(name, step) for name in ("train", "retain", "forget")}

    def _batch(self, name, step):
        images = torch.rand(8, 1, 16, 16, generator=generator_for(0, name, step)) * 2 - 1
        return Batch(images, masks("center_hole", 8), torch.arange(8), step)


class Teacher:
    """Targets of a frozen model, recomputed."""

    def __init__(self, model):
        self.model = model

    def of_images(self, name, batch):
        return encoded(self.model, batch.images_BCHW, batch.visible_BHW)

    def of_noise(self, batch):
        return encoded(self.model, some_images(8, seed=77), batch.visible_BHW)


def schedule(num_steps, **changes):
    base = {"learning_rate": 2e-3, "weight_decay": 0.05, "warmup_steps": 2, "clip_norm": 1.0, "precision": "fp32"}
    return Schedule(num_steps=num_steps, **{**base, **changes})


def test_unlearning_changes_the_encoders_tensors_and_no_other(tmp_path):
    make().save(tmp_path / "model")
    teacher, student = (load_model(tmp_path / "model") for _ in range(2))
    train(
        student,
        make_objective("encoder_l2", Settings(alpha=1.0)),
        Shards(),
        Teacher(teacher),
        schedule(3),
        Kept(),
        Silent(),
    )
    before, after = teacher.state_dict(), student.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {name for name, _ in teacher.encoder_parameters()}


def test_training_all_weights_of_a_loaded_model_leaves_its_tokenizer_alone(tmp_path):
    make().save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    before = copy.deepcopy(model.state_dict())
    train(model, OwnLoss(0), Shards(), None, schedule(3), Kept(), Silent())
    changed = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {name for name in before if name.startswith("transformer.")}


# --- training from scratch ---


def trained(store, *, num_steps=8, seed=0, **changes):
    model = MaskedTokenModel.create(
        {**VQGAN, "tokenizer_share": 0.5}, image_size=16, num_channels=1, generator=generator(seed)
    )
    changes = {"average_decay": 0.9, "checkpoint_every_steps": 1, **changes}
    log = train(
        model, OwnLoss(seed, training_phases(model)), Shards(), None, schedule(num_steps, **changes), store, Silent()
    )
    return model, log


def test_the_tokenizer_is_trained_first_and_then_stays_as_its_average_which_is_saved():
    store = Kept()
    model, log = trained(store)
    assert 0 < model.training_facts()["share_of_used_codes"] <= 1
    assert [row["phase"] for row in log] == ["tokenizer"] * 4 + ["transformer"] * 4
    assert [row["learning_rate"] for row in log[:4]] == [row["learning_rate"] for row in log[4:]]
    first, half, last = (store.all[step].tensors for step in (0, 3, 7))
    for name in half:
        if name.startswith(("buffer/tokenizer", "average/tokenizer")):
            assert half[name].equal(last[name]), name
        elif name.startswith("weight/transformer"):
            assert half[name].equal(first[name]), name
    fifth = store.all[4].tensors  # a step of the second phase
    for name, parameter in model.tokenizer.named_parameters():
        assert fifth[f"weight/tokenizer.{name}"].equal(parameter), name
    assert fifth["buffer/tokenizer.codebook_KD"].equal(model.tokenizer.codebook_KD)


@pytest.mark.parametrize("changes", [{}, {"average_decay": 0.0}, {"precision": "bf16"}], ids=str)
def test_a_run_that_goes_on_in_either_phase_ends_with_the_same_bits(changes):
    def run(store):
        model, log = trained(store, **changes)
        return model.state_dict() | {key: torch.tensor(fact) for key, fact in model.training_facts().items()}, log

    resumed_alike(run)


def test_codes_that_are_alike_start_with_vectors_alike_and_only_once():
    model, (images, visible) = make(num_codes=64), seen()
    codes = model.tokenizer.codebook_KD
    rows = model.transformer.token_emb.word_embeddings.weight
    before = rows.detach().clone()
    model.train().transformer_loss(images, visible, generator=generator())
    placed = rows.detach().clone()
    assert placed[64:].equal(before[64:])  # class and mask ids
    assert placed[:64].std().item() == pytest.approx(0.1, rel=0.2)  # initializer_range
    scaled = (codes - codes.mean(0)) / codes.std(0, correction=0)
    away = ~torch.eye(64, dtype=torch.bool)
    distances = torch.stack([torch.cdist(points, points)[away] for points in (scaled, placed[:64])])
    assert torch.corrcoef(distances)[0, 1] > 0.8
    model.transformer_loss(images, visible, generator=generator(1))
    assert rows.equal(placed)


def test_the_seed_decides_all_of_it():
    one, same, other = (trained(Kept(), seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(one[name].equal(same[name]) for name in one)
    assert not one["tokenizer.codebook_KD"].equal(other["tokenizer.codebook_KD"])


# --- directories ---


def test_the_tokenizer_of_a_loaded_model_is_frozen_and_a_reference_gets_new_weights_in_it_too(tmp_path):
    make().save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert not any(parameter.requires_grad for parameter in loaded.tokenizer.parameters())
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    fresh = load_architecture(tmp_path / "model", generator=generator(9))
    assert not fresh.tokenizer.encoder.conv_in.weight.equal(loaded.tokenizer.encoder.conv_in.weight)
    assert all(parameter.requires_grad for parameter in fresh.parameters())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colour": 1}, "colour is not known to the family vqgan; remove it"),
        ({"image_size": 16}, "image_size is set in the section pretrain already"),
        ({"num_codes": "many"}, "num_codes='many' must be a whole number"),
        ({"num_codes": 1.5}, "num_codes=1.5 must be a whole number"),
        ({"num_codes": True}, "num_codes=True must be a whole number"),
        ({"mlp_ratio": "wide"}, "mlp_ratio='wide' must be a number"),
        ({"hidden_tokens": 3}, "hidden_tokens=3 must be a word"),
        ({"tokenizer_multipliers": 2}, "tokenizer_multipliers=2 must be a list, each item a whole number"),
        ({"tokenizer_multipliers": [1, 0.5]}, "tokenizer_multipliers=[1, 0.5] must be a list, each item"),
        ({"tokenizer_multipliers": []}, "tokenizer_multipliers=[] must be a list of whole numbers above 0"),
        ({"tokenizer_multipliers": [1] * 6}, "image_size=16 is not a multiple of the 32 px of a token"),
        ({"tokenizer_norm_groups": 3}, "tokenizer_norm_groups=3 does not divide 8 tokenizer channels"),
        ({"hidden_size": 33}, "hidden_size=33 is not a multiple of num_attention_heads=2"),
        (
            {"decoder_num_attention_heads": 5},
            "decoder_hidden_size=24 is not a multiple of decoder_num_attention_heads=5",
        ),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0 must be at least 1"),
        ({"num_codes": 1}, "num_codes=1 must be at least 2"),
        ({"fake_class": 1}, "fake_class=1 must be below num_classes=1"),
        ({"num_positions": 16}, "num_positions=16 must be 0 or at least 17"),
        ({"hidden_tokens": "blur"}, "hidden_tokens='blur' must be one of: drop, mask"),
        ({"tokenizer_share": 1.0}, "tokenizer_share=1.0 must be above 0 and below 1"),
        ({"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
        ({"temperature": -1}, "temperature=-1 must be at least 0"),
        ({"decoding_steps": 0}, "decoding_steps=0 must be at least 1"),
    ],
    ids=str,
)
def test_a_wrong_architecture_is_told_in_one_line(changes, told):
    with pytest.raises(UserError) as error:
        MaskedTokenModel.create({**VQGAN, **changes}, image_size=16, num_channels=1, generator=generator())
    assert str(error.value).startswith("pretrain.architecture: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_told_at_once():
    with pytest.raises(UserError, match="num_codes, hidden_size is missing; the family vqgan needs it"):
        MaskedTokenModel.create(
            {name: value for name, value in VQGAN.items() if name not in ("num_codes", "hidden_size")},
            image_size=16,
            num_channels=1,
            generator=generator(),
        )


NORM = "transformer.norm.bias"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda tensors: tensors.pop(NORM), f"tensors: 1, first {NORM}; fetch the directory again"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "lacks, misshapes or adds tensors: 1, first extra"),
        (lambda tensors: tensors.update({NORM: torch.zeros(3)}), f"lacks, misshapes or adds tensors: 1, first {NORM}"),
        (None, "hidden_size='wide' must be a whole number"),
    ],
)
def test_a_damaged_directory_is_told_in_one_line(tmp_path, damage, told):
    make().save(tmp_path / "model")
    if damage:
        edit_tensors(tmp_path / "model/model.safetensors", damage)
    else:
        edit_json(tmp_path / "model/config.json", hidden_size="wide")
    with pytest.raises(UserError) as error:
        load_model(tmp_path / "model")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
