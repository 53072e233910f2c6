"""Files of torch.save are read without running what is in them, and refused where they do not fit their format."""

import collections
import os
import pickle

import pytest
import torch

from i2i_unlearn.models.published import convert_checkpoint, is_checkpoint
from i2i_unlearn.models.published.mae import sine_table
from i2i_unlearn.models.published.reading import read_checkpoint
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import HEADS, OPTIONS, PALETTE, changed, file_of, same_weights, weights, without
from tests.support.says import says


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_that_would_run_code_is_refused_by_name_and_runs_none(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1)}, "args": Harmful(str(tmp_path / "ran"))}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"wants to load (posix|nt|os)\.mkdir, which may run code, and is refused"):
        read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("name", ["x.pth.tar", "x.bin", "x.ckpt", "x.anything"])
def test_prefixes_of_training_scripts_are_left_out_and_told(tmp_path, prefix, name):
    path = changed("mae", tmp_path / name, lambda state: {f"{prefix}{name}": one for name, one in state.items()})
    assert is_checkpoint(str(path))
    converted = convert_checkpoint(path, HEADS)
    assert same_weights(converted.model, convert_checkpoint(file_of("mae"), HEADS).model)
    assert any(f"{prefix} before every name" in note for note in converted.notes)


def test_a_prefix_of_some_names_alone_is_not_one(tmp_path):
    change = lambda state: {f"module.{n}" if n == "cls_token" else n: one for n, one in state.items()}  # noqa: E731
    with says(UserError, "x.pth", "of no known format"):
        convert_checkpoint(changed("mae", tmp_path / "x.pth", change), HEADS)


def test_a_moving_average_next_to_the_weights_is_told_and_may_be_taken(tmp_path):
    state, _ = weights(file_of("mae"))
    average = {name: one + 1 if "norm" in name else one for name, one in state.items()}
    torch.save({"model": state, "model_ema": average, "optimizer": {"state": {}}}, tmp_path / "x.pth")
    plain = convert_checkpoint(tmp_path / "x.pth", HEADS)
    assert same_weights(plain.model, convert_checkpoint(file_of("mae"), HEADS).model)
    (note,) = (note for note in plain.notes if "model_ema" in note)
    assert "model is taken" in note
    assert "weights: model_ema" in note
    taken = convert_checkpoint(tmp_path / "x.pth", {**HEADS, "weights": "model_ema"}).model.model
    assert taken.vit.layernorm.weight.equal(average["norm.weight"])


def test_a_key_without_weights_is_refused(tmp_path):
    with says(UserError, "snapshot.checkpoint.weights='ema'", str(file_of("mae")), "under model"):
        convert_checkpoint(file_of("mae"), {**HEADS, "weights": "ema"})


# --- sizes that no file tells ---


def wide(grid):
    """A change that makes MAE's position tables those of another grid of as many patches."""

    def change(state):
        for name in ("pos_embed", "decoder_pos_embed"):
            table = sine_table(state[name].shape[2], *grid)
            state[name] = torch.cat((torch.zeros(1, table.shape[1]), table))[None]

    return change


def test_a_rectangle_is_not_taken_for_a_square(tmp_path):
    with says(UserError, "x.pth", "pos_embed", "2 x 8 patches", "square"):
        convert_checkpoint(changed("mae", tmp_path / "x.pth", wide((2, 8))), HEADS)


def test_a_table_that_tells_nothing_is_asked_for(tmp_path):
    path = changed("mae", tmp_path / "x.pth", lambda state: state["pos_embed"].normal_())
    with says(UserError, str(path), "pos_embed", "image_size: 32"):
        convert_checkpoint(path, HEADS)
    with says(UserError, "image_size=16", "patches", "32"):
        convert_checkpoint(path, {**HEADS, "image_size": 16})
    assert convert_checkpoint(path, {**HEADS, "image_size": 32}).model.image_size == (32, 32)


def test_the_size_of_a_palettes_images_is_asked_for_not_guessed():
    options = {name: value for name, value in PALETTE.items() if name != "image_size"}
    with says(UserError, str(file_of("palette")), "image_size: NUMBER", "256"):
        convert_checkpoint(file_of("palette"), options)


def test_a_wrong_tokenizer_is_named_not_the_models_file(tmp_path):
    model = changed("mage", tmp_path / "model.pth", without("vqgan"))
    state, _ = weights(file_of("mage"))
    own = {name.removeprefix("vqgan."): one for name, one in state.items() if name.startswith("vqgan.")}
    own.pop("encoder.conv_out.bias")
    torch.save(own, tmp_path / "tokenizer.ckpt")
    with says(UserError, str(tmp_path / "tokenizer.ckpt"), "encoder.conv_out.bias is missing"):
        convert_checkpoint(model, {**HEADS, "tokenizer": str(tmp_path / "tokenizer.ckpt")})


def test_a_plain_pickle_is_refused_too(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Harmful(str(tmp_path / "ran"))))
    with pytest.raises(UserError, match="refused|damaged"):
        read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wrapped", [lambda state: state, lambda state: {"model": state}, lambda state: {"state_dict": state}]
)
def test_weights_may_lie_bare_or_under_a_key(tmp_path, wrapped):
    state = collections.OrderedDict(weight=torch.ones(2), steps=3)
    torch.save(wrapped(state), tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth").tensors.keys() == {"weight"}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive", 0.1, 0.5, 0.99], ids=str)
def test_a_damaged_or_truncated_file_is_one_line(tmp_path, content):
    torch.save({"model": {"weight": torch.rand(64, 64)}}, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: int(content * len(whole))] if isinstance(content, float) else content)
    with pytest.raises(UserError, match="not a file of torch.save.*damaged; fetch it again"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_a_file_without_named_weights_is_told(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no weights; give a file with a state dict"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "x.pth")


SEVERAL = without(r"blocks\.0\.norm2|blocks\.1\.(attn\.proj|attn\.qkv\.bias)|blocks\.2\.norm1\.bias")
MORE, SHORT = torch.zeros(2), torch.zeros(3)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("mae", SEVERAL, "blocks.0.norm2.bias, blocks.0.norm2.weight, blocks.1.attn.proj.bias and 3 more are missing"),
        ("mae", lambda state: state | {"head": MORE}, "head is left over"),
        ("mae", lambda state: state | {"norm.weight": SHORT}, r"norm.weight has \(3,\) where \(48,\) is wanted"),
        ("mae", lambda state: state["norm.bias"].fill_(float("nan")), "norm.bias is not finite"),
        ("mae", lambda state: state | {"pos_embed": torch.zeros(1, 64, 48)}, "63 patches.*square"),
        ("mae", without("blocks.0.mlp.fc1.weight"), "blocks.0.mlp.fc1.weight is missing"),
        ("mae", without("cls_token"), "of no known format"),
        ("mage", without("mlm_layer.bias"), "mlm_layer.bias is missing"),
        ("mage", without("vqgan.decoder.conv_out.weight"), "vqgan.decoder.conv_out.weight is missing"),
        ("mage", lambda state: state | {"head": MORE}, "head is left over"),
        ("mage", lambda state: state | {"norm.weight": SHORT}, "norm.weight is of another shape"),
        ("palette", without("denoise_fn.out.2.bias"), "denoise_fn.out.2.bias is missing"),
        ("palette", without("denoise_fn.middle_block.1.qkv.weight"), "middle_block.1.qkv.weight is missing"),
        ("palette", lambda state: state | {"denoise_fn.more": MORE}, "denoise_fn.more is left over"),
        ("palette", lambda state: state | {"denoise_fn.out.2.bias": MORE}, "out.2.bias is of another shape"),
    ],
)
def test_a_file_that_does_not_fit_its_format_is_refused_with_the_first_faults(tmp_path, name, change, told):
    with pytest.raises(UserError, match=told):
        convert_checkpoint(changed(name, tmp_path / "x.pth", change), OPTIONS[name])


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("mae", {"decoder_num_attention_heads": 8}, "its width 48 .*checkpoint: {num_attention_heads: NUMBER}"),
        ("mae", {"num_attention_heads": 4}, "its width 32 .*decoder_num_attention_heads: NUMBER"),
        ("mae", {**HEADS, "num_attention_heads": 5}, "num_attention_heads=5 does not divide the width 48"),
        ("mae", {**HEADS, "heads": 4}, "snapshot.checkpoint.heads: Extra inputs .* a MAE takes num_attention_heads"),
        ("palette", {**PALETTE, "linear_end": 0.1}, "by another schedule than the linear one from 0.0001 to 0.1"),
        ("palette", {**PALETTE, "res_blocks": 2}, "4 input blocks are not whole levels of 2"),
        ("palette", {**PALETTE, "res_blocks": 3}, "missing|left over|another shape"),
        ("palette", {**PALETTE, "size": 3}, "snapshot.checkpoint.size: Extra inputs .* a Palette takes image_size"),
    ],
)
def test_options_that_are_missing_or_do_not_fit_the_file_are_told(name, options, told):
    with pytest.raises(UserError, match=told):
        convert_checkpoint(file_of(name), options)
