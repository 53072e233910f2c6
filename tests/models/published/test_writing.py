"""The way back: an unlearned model in the layout of the published file that its teacher was made from."""

import re

import pytest
import torch

from i2i_unlearn.models import load_model
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.writing import write_original
from i2i_unlearn.serving import export
from i2i_unlearn.stages import snapshot
from i2i_unlearn.support.errors import UserError
from tests.models.published.files import (
    ENCODER_ALONE,
    GOLDEN,
    HEADS,
    OPTIONS,
    PALETTE,
    changed,
    file_of,
    same_weights,
    weights,
    without,
)

ENCODER = {
    "mae": re.compile(r"(cls_token|patch_embed\.|blocks\.|norm\.)"),
    "mage": re.compile(r"(blocks\.|norm\.|token_emb\.(position_embeddings|LayerNorm)\.)"),
    "palette": re.compile(r"denoise_fn\.(input_blocks|middle_block)\."),
}
"""What encoder_l2 changes, by the files' own names (re.match)."""


def same(one, other):
    return one.dtype == other.dtype and one.equal(other)


@pytest.fixture(scope="module", params=OPTIONS)
def teacher(request, taught, tmp_path_factory):
    """Name of the format, and the folder that `snapshot` made of its golden file."""
    folder = tmp_path_factory.mktemp(request.param) / "teacher"
    config = taught.config("snapshot", source=str(file_of(request.param)), checkpoint=OPTIONS[request.param])
    snapshot.run(folder, config)
    return request.param, folder


def run(project, model, teacher, out, like=""):
    return export.run(str(model), teacher, out, project.config("snapshot"), like=str(like))


def test_a_model_that_was_not_trained_goes_back_bit_for_bit(teacher, taught, tmp_path):
    name, folder = teacher
    facts = run(taught, folder / "model", folder / "model", tmp_path / "back.pth")
    assert facts["changed_tensors"] == 0
    original, found = weights(file_of(name)), weights(tmp_path / "back.pth")
    assert found[1] == original[1]
    assert list(found[0]) == list(original[0])  # the order, too
    assert same_weights(found[0], original[0])
    assert facts["tensors"] == len(original[0])


def test_an_unlearned_model_holds_nothing_of_the_teachers_encoder_and_the_rest_untouched(teacher, taught, tmp_path):
    name, folder = teacher
    taught.unlearn(
        tmp_path / "unlearned", teacher=folder / "model", alpha=1.0, num_steps=3, batch_size=4, num_noise_draws=2
    )
    facts = run(taught, tmp_path / "unlearned/model", folder / "model", tmp_path / "7_Network.pth")
    original, found = weights(file_of(name))[0], weights(tmp_path / "7_Network.pth")[0]
    assert list(found) == list(original)
    encoder = {key for key in original if ENCODER[name].match(key)}
    assert len(encoder) > 10
    assert {key for key in original if not same(found[key], original[key])} == encoder
    assert facts["changed_tensors"] == len(encoder)
    # Not even elsewhere, as in the released code of the paper, which stores the teacher beside the student.
    for key in encoder:
        assert not any(tensor.shape == original[key].shape and tensor.equal(original[key]) for tensor in found.values())
    again = convert_checkpoint(tmp_path / "7_Network.pth", OPTIONS[name]).model
    assert same_weights(again, load_model(tmp_path / "unlearned/model"))


def test_of_the_training_scripts_file_only_the_weights_are_in_it(taught, tmp_path):
    like = GOLDEN / "mae/checkpoint_train.pth"
    facts = snapshot.run(tmp_path / "t", taught.config("snapshot", source=str(like), checkpoint=HEADS))
    assert "argparse.Namespace" in facts["note"]
    run(taught, tmp_path / "t/model", tmp_path / "t/model", tmp_path / "back.pth")
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(content) == ["model"]
    assert content["model"].keys() == weights(GOLDEN / "mae/checkpoint.pth")[0].keys()


def as_model(like, options, folder):
    convert_checkpoint(like, options).model.save(folder)
    return load_model(folder)


def test_the_second_network_of_the_unlearning_papers_files_is_left_out(tmp_path):
    network = {f"teacher_{key}": value + 1 for key, value in weights(file_of("palette"))[0].items() if "." in key}
    like = changed("palette", tmp_path / "like.pth", lambda state: state | network)
    model = as_model(like, PALETTE, tmp_path / "model")
    write_original(model, tmp_path / "model", like, tmp_path / "back.pth")
    assert list(weights(tmp_path / "back.pth")[0]) == list(weights(file_of("palette"))[0])


def test_a_tokenizer_from_another_file_stays_there(tmp_path):
    like = changed("mage", tmp_path / "like.pth", without(r"vqgan\."))
    model = as_model(like, {**HEADS, "tokenizer": str(GOLDEN / "mage/vqgan.ckpt")}, tmp_path / "model")
    write_original(model, tmp_path / "model", like, tmp_path / "back.pth")
    found, original = weights(tmp_path / "back.pth")[0], weights(like)[0]
    assert list(found) == list(original)
    assert same_weights(found, original)


def test_an_encoder_alone_goes_back_as_one(tmp_path):
    like = changed("mae", tmp_path / "like.pth", ENCODER_ALONE)
    model = as_model(like, {"num_attention_heads": 4}, tmp_path / "model")
    assert write_original(model, tmp_path / "model", like, tmp_path / "back.pth").num_changed == 0
    assert list(weights(tmp_path / "back.pth")[0]) == list(weights(like)[0])
    with pytest.raises(UserError, match="was not made from a file like .*: decoder is False, and True by the file"):
        write_original(model, tmp_path / "model", file_of("mae"), tmp_path / "other.pth")


def test_numbers_too_short_for_what_changed_are_refused(tmp_path):
    like = changed("mae", tmp_path / "like.pth", lambda state: {key: value.half() for key, value in state.items()})
    model = as_model(like, HEADS, tmp_path / "model")
    write_original(model, tmp_path / "model", like, tmp_path / "back.pth")
    assert same_weights(weights(tmp_path / "back.pth")[0], weights(like)[0])
    with torch.no_grad():
        model.model.vit.layernorm.weight.mul_(1 + 1e-6)
    with pytest.raises(UserError, match=r"norm.weight as torch.float16, too short .* 1 of 1 tensors"):
        write_original(model, tmp_path / "model", like, tmp_path / "other.pth")
    assert not (tmp_path / "other.pth").exists()


def test_what_did_not_change_stays_as_exact_as_it_was(tmp_path):
    like = changed(
        "mae", tmp_path / "like.pth", lambda state: {key: value.double() * (1 + 1e-12) for key, value in state.items()}
    )
    model = as_model(like, HEADS, tmp_path / "model")
    with torch.no_grad():
        model.model.vit.layernorm.weight.add_(1)
    assert write_original(model, tmp_path / "model", like, tmp_path / "back.pth").num_changed == 1
    found, original = weights(tmp_path / "back.pth")[0], weights(like)[0]
    assert {key for key in original if not same(found[key], original[key])} == {"norm.weight"}
    assert found["norm.weight"].dtype == torch.float64


def test_the_file_of_another_model_is_refused(taught, tmp_path):
    mae = file_of("mae")
    with pytest.raises(UserError, match=r"is of the family mae, and .* is a file of Palette \(family diffusion\)"):
        run(taught, taught.teacher, taught.teacher, tmp_path / "x.pth", file_of("palette"))
    # A model of our own making, of the same family.
    with pytest.raises(UserError, match="teacher/model: was not made from a file like .*checkpoint.pth"):
        run(taught, taught.teacher, taught.teacher, tmp_path / "x.pth", mae)
    model = as_model(mae, {**HEADS, "norm_pix_loss": True}, tmp_path / "model")
    model.model.config.layer_norm_eps = 1e-12
    model.save(tmp_path / "model")
    with pytest.raises(UserError, match="layer_norm_eps is 1e-12, and 1e-06 by the file"):
        run(taught, tmp_path / "model", taught.teacher, tmp_path / "x.pth", mae)
    assert not (tmp_path / "x.pth").exists()


def test_without_like_the_file_is_the_one_that_snapshot_read(taught, tmp_path):
    with pytest.raises(UserError, match=r"original/model, not from a published file.*--like"):
        run(taught, taught.teacher, taught.teacher, tmp_path / "x.pth")
    with pytest.raises(UserError, match="summary.json: no such file.*--like"):
        run(taught, taught.teacher, tmp_path / "nothing/model", tmp_path / "x.pth")
    like = changed("mae", tmp_path / "like.pth", dict)
    snapshot.run(tmp_path / "teacher", taught.config("snapshot", source=str(like), checkpoint=HEADS))
    teacher = tmp_path / "teacher/model"
    for out, fault in (("x.npz", "must end in .pth"), ("like.pth", "is the original file")):
        with pytest.raises(UserError, match=fault):
            run(taught, teacher, teacher, tmp_path / out)
    changed("mae", tmp_path / "like.pth", lambda state: {key: value + 1 for key, value in state.items()})
    with pytest.raises(UserError, match="like.pth: is not the file that the teacher was made from.*--like"):
        run(taught, teacher, teacher, tmp_path / "x.pth")
    like.unlink()
    with pytest.raises(UserError, match="like.pth: file no longer exists.*--like"):
        run(taught, teacher, teacher, tmp_path / "x.pth")


def test_the_command_writes_the_file_and_says_what_is_in_it(command_line, params_written, taught, tmp_path):
    params_written(tmp_path, taught, snapshot={"checkpoint": HEADS})
    assert command_line(tmp_path, "snapshot", "--from", file_of("mae"), "--out", "teacher").code == 0
    made = ("--model", "teacher/model", "--teacher", "teacher/model")
    ended = command_line(tmp_path, "export", *made, "--out", "back.pth")
    assert ended.code == 0, ended.err
    assert re.search(r": 0 of \d+ tensors differ", ended.out)
    assert weights(tmp_path / "back.pth")[0].keys() == weights(file_of("mae"))[0].keys()
    ended = command_line(tmp_path, "export", *made, "--like", file_of("mage"), "--out", "x.pth")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "is of the family mae, and" in ended.err
