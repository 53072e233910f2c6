import stat

import pytest

from i2i_unlearn.data.split.codes import create_key, hmac_id, key_path, load_key
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def test_the_code_is_the_head_of_hmac_sha256():
    # RFC 4231, test case 2
    assert hmac_id(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c7"


def test_a_new_key_is_its_own_kept_and_readable_by_its_owner_only(tmp_path):
    path = create_key(str(tmp_path / ".secrets/hmac.key"))
    key = load_key(str(path))
    assert len(key) == 32
    assert load_key(str(create_key(str(tmp_path / "other")))) != key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with says(UserError, str(path), "already exists", "remove it first"):
        create_key(str(path))
    assert load_key(str(path)) == key


def test_the_environment_names_the_file_unless_the_caller_does(tmp_path, monkeypatch):
    monkeypatch.delenv("I2I_UNLEARN_HMAC_KEY_FILE", raising=False)
    assert str(key_path()) == ".secrets/hmac.key"
    monkeypatch.setenv("I2I_UNLEARN_HMAC_KEY_FILE", "/mounted/key")
    assert str(key_path()) == "/mounted/key"
    assert str(key_path("mine")) == "mine"


@pytest.mark.parametrize(
    ("content", "key_words"),
    [
        (None, ("no key", "i2i-unlearn data key")),
        ("not hexadecimal", ("cannot be read", "64 hexadecimal digits")),
        ("00ff", ("has 2 bytes, it needs 32", "i2i-unlearn data key")),
    ],
)
def test_a_file_that_is_missing_or_holds_no_key_is_told(tmp_path, content, key_words):
    path = tmp_path / "key"
    if content:
        path.write_text(content)
    with says(UserError, f"{path}: ", *key_words):
        load_key(str(path))
