import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from i2i_unlearn.training.saved_check import check_export
from tests.models.samples import edit_tensors


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


def test_a_model_whose_encoder_moved_and_nothing_else_passes(folders):
    check_export(*folders)


NAME = "vit.embeddings.cls_token"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda new, old: new.update({NAME: old[NAME]}),
            r"tensors still equal the teacher's.*: 1 of \d+, first model\.vit",
        ),
        (
            lambda new, old: new["decoder.decoder_pred.bias"].add_(1e-7),
            r"tensors changed that were to stay: 1, first model\.decoder\.decoder_pred\.bias",
        ),
        # The paper's released code saves it so: the "unlearned" file holds what was to be forgotten.
        (
            lambda new, old: new.update({f"teacher.{name}": tensor for name, tensor in old.items()}),
            r"tensor names differ from the teacher's, first model\.safetensors: teacher\.",
        ),
        (lambda new, old: new.pop(NAME), rf"tensor names differ from the teacher's, first model\.safetensors: {NAME}"),
    ],
    ids=["a tensor of the teacher's encoder", "a decoder that moved", "the whole teacher next to it", "a tensor less"],
)
def test_a_file_that_holds_anything_but_the_unlearned_encoder_is_refused(folders, change, told):
    unlearned, teacher, _ = folders
    old = load_file(teacher / "model.safetensors")
    edit_tensors(unlearned / "model.safetensors", lambda tensors: change(tensors, old))
    with pytest.raises(UserError, match=told):
        check_export(*folders)


def test_the_teacher_itself_is_refused(folders):
    _, teacher, changing = folders
    with pytest.raises(UserError, match=f"tensors still equal.*: {len(changing)} of {len(changing)},"):
        check_export(teacher, teacher, changing)


def test_the_check_changes_nothing(folders, tmp_path):
    unlearned, teacher, changing = folders
    before = digest_folder(tmp_path)
    check_export(unlearned, teacher, changing)
    assert digest_folder(tmp_path) == before
