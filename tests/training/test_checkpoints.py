import math

import pytest
import torch

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.checkpoints import Checkpoint, Checkpoints

LOG = [{"step": 1, "phase": "unlearn", "total": 0.1 + 0.2}, {"step": 2, "phase": "unlearn", "total": 1e-300}]


def checkpoint(step=2, value=1.0):
    tensors = {
        "weight/a": torch.tensor([[value, math.pi], [-0.0, 1e-40]]),
        "weight/b": torch.tensor([1, 2], dtype=torch.int64),
        "optimizer/step/a": torch.tensor(2.0),
        "average/a": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    return Checkpoint(step, tensors, LOG, {"psi": 1 / 3}, 12.5)


def assert_same(one, other):
    assert (one.step, one.log, one.memory, one.seconds) == (other.step, other.log, other.memory, other.seconds)
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[name].dtype
        assert tensor.equal(other.tensors[name])


@pytest.fixture(params=["folder", "file://", "memory://"])
def uri(request, tmp_path):
    return {
        "folder": str(tmp_path / "deep/checkpoints"),
        "file://": f"file://{tmp_path}/checkpoints",
        "memory://": f"memory://{tmp_path}/checkpoints",
    }[request.param]


def test_what_is_read_is_what_was_written(uri):
    store = Checkpoints(uri, "digest")
    assert store.load() is None
    store.save(checkpoint())
    assert_same(Checkpoints(uri, "digest").load(), checkpoint())


def test_a_later_checkpoint_replaces_the_earlier_one(uri):
    store = Checkpoints(uri, "digest")
    store.save(checkpoint())
    store.save(checkpoint(4, 2.0))
    assert_same(store.load(), checkpoint(4, 2.0))


def test_runs_do_not_see_each_others_checkpoints(uri):
    Checkpoints(uri, "digest").save(checkpoint())
    assert Checkpoints(uri, "other").load() is None


def test_a_finished_run_leaves_no_checkpoint(uri):
    store = Checkpoints(uri, "digest")
    store.delete()  # none was written: fine
    store.save(checkpoint())
    store.delete()
    assert store.load() is None


def test_what_a_killed_save_left_is_removed(tmp_path):
    store = Checkpoints(str(tmp_path), "digest")
    store.save(checkpoint())
    (tmp_path / ".digest.safetensors.new.4711").write_bytes(b"half")
    (tmp_path / ".other.safetensors.new.4711").write_bytes(b"another run's")
    assert_same(store.load(), checkpoint())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.safetensors.new.4711", "digest.safetensors"]


@pytest.mark.parametrize("damage", ["empty", "half", "header", "foreign"])
def test_a_damaged_checkpoint_is_told_with_what_to_do(tmp_path, damage):
    store = Checkpoints(str(tmp_path), "digest")
    store.save(checkpoint())
    path = tmp_path / "digest.safetensors"
    content = path.read_bytes()
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.ones(1)}, path)  # a fine file that is no checkpoint
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "header": b"\xff" * 100}[damage])
    with pytest.raises(UserError) as error:
        store.load()
    assert str(error.value).startswith(f"{path}: checkpoint is damaged (")
    assert str(error.value).endswith("delete it to start again")
    assert "\n" not in str(error.value)


def test_an_address_that_cannot_be_opened_is_told():
    with pytest.raises(UserError, match="checkpoint_uri='nosuch://x/y'.*give a folder or an fsspec URI"):
        Checkpoints("nosuch://x/y", "digest")
