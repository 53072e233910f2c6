"""Files of torch.save are read without running what is in them, and refused where they do not fit their format."""

import collections
import os
import pickle

import pytest
import torch

from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.reading import read_checkpoint
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import HEADS, OPTIONS, PALETTE, changed, file_of, without


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
