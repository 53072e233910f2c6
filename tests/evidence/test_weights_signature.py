"""The OpenSSF signature of the weights: folders that versions of model-signing read differently."""

import pytest

from i2i_unlearn.evidence import weights_signature
from i2i_unlearn.evidence.keys import create_keys, load_private_key, load_public_key


@pytest.fixture
def signed(tmp_path):
    """A model directory, its signature, and both halves of the key."""
    create_keys(tmp_path / "keys", "ecdsa", None)
    private = load_private_key(tmp_path / "keys/private.pem", None)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    weights_signature.sign(model, tmp_path / "model.sig", private)
    return model, tmp_path / "model.sig", tmp_path / "keys/public.pem"


@pytest.mark.parametrize("name", [".gitattributes", ".gitignore"])
def test_a_folder_with_a_file_of_git_gets_no_signature_as_two_versions_would_disagree(signed, name):
    model, _, public = signed
    assert weights_signature.why_not(load_public_key(public), model) == ""
    (model / name).write_text("*.safetensors filter=lfs\n")
    assert name in weights_signature.why_not(load_public_key(public), model)


def test_a_signature_that_does_not_match_says_which_version_looked_and_which_may_match(signed):
    model, signature, public = signed
    assert weights_signature.fault(model, signature, public) == ""
    (model / "model.safetensors").write_bytes(b"others")
    assert "model-signing 1." in weights_signature.fault(model, signature, public)
    (model / ".gitattributes").write_text("")
    told = weights_signature.fault(model, signature, public)
    assert all(word in told for word in (".gitattributes", "1.0", "1.1", "the one that signed"))
