import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.saved_check import check_export


@pytest.fixture
def folders(tmp_path, tiny_model):
    """A teacher, a model whose whole encoder moved, and the names of what was to move."""
    teacher, model = tiny_model(), tiny_model()
    changing = {name for name, _ in model.encoder_parameters()}
    with torch.no_grad():
        for _, parameter in model.encoder_parameters():
            parameter.add_(0.01)
    teacher.save(tmp_path / "teacher")
    model.save(tmp_path / "unlearned")
    return tmp_path / "unlearned", tmp_path / "teacher", changing


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_model_whose_encoder_moved_and_nothing_else_passes(folders):
    check_export(*folders)


def test_one_tensor_of_the_teachers_encoder_is_refused(folders):
    unlearned, teacher, changing = folders
    name = "vit.embeddings.cls_token"
    old = load_file(teacher / "model.safetensors")[name]
    edit(unlearned, lambda tensors: tensors.update({name: old}))
    with pytest.raises(
        UserError, match=rf"1 of {len(changing)} tensors still equal the teacher's.*first model\.{name}"
    ):
        check_export(*folders)


def test_the_teacher_itself_is_refused(folders):
    _, teacher, changing = folders
    with pytest.raises(UserError, match=f"{len(changing)} of {len(changing)} tensors still equal"):
        check_export(teacher, teacher, changing)


def test_a_decoder_that_moved_is_refused(folders):
    unlearned, _, _ = folders
    edit(unlearned, lambda tensors: tensors["decoder.decoder_pred.bias"].add_(1e-7))
    with pytest.raises(UserError, match=r"1 tensors that were to stay .* first model\.decoder\.decoder_pred\.bias"):
        check_export(*folders)


def test_the_whole_teacher_beside_the_model_is_refused(folders):
    # The paper's released code saves it so: the "unlearned" file holds what was to be forgotten.
    unlearned, teacher, _ = folders
    old = load_file(teacher / "model.safetensors")
    edit(unlearned, lambda tensors: tensors.update({f"teacher.{name}": tensor for name, tensor in old.items()}))
    with pytest.raises(UserError, match=r"tensor names differ from the teacher's, first model\.safetensors: teacher\."):
        check_export(*folders)


def test_a_missing_tensor_is_refused(folders):
    unlearned, _, _ = folders
    edit(unlearned, lambda tensors: tensors.pop("vit.layernorm.bias"))
    with pytest.raises(
        UserError, match=r"tensor names differ from the teacher's, first model\.safetensors: vit\.layernorm\.bias"
    ):
        check_export(*folders)


def test_the_check_changes_nothing(folders, tmp_path):
    unlearned, teacher, changing = folders
    shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-before"))
    check_export(unlearned, teacher, changing)
    for path in tmp_path.rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path.with_name(f"{tmp_path.name}-before") / path.relative_to(tmp_path)).read_bytes()
        )
