"""Files of torch.save are read without running what is in them."""

import collections
import os
import pickle

import pytest
import torch

from i2i_unlearn.models.published.reading import read_checkpoint
from i2i_unlearn.support.errors import UserError


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


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match="not a file of torch.save.*damaged; fetch it again"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_one_line(tmp_path, share):
    torch.save({"model": {"weight": torch.rand(64, 64)}}, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: int(share * len(whole))])
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
