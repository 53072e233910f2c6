import stat

import pytest

from i2i_unlearn.data.split.codes import create_key, hmac_id, key_path, load_key
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def test_the_code_is_the_head_of_hmac_sha256():
    # RFC 4231, test case 2
    assert hmac_id(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c7"


def test_another_key_gives_another_code():
    assert hmac_id(b"a", "x") != hmac_id(b"b", "x")


def test_a_new_key_can_be_loaded_and_only_its_owner_can_read_it(tmp_path):
    path = create_key(str(tmp_path / ".secrets/hmac.key"))
    assert len(load_key(str(path))) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_new_keys_differ(tmp_path):
    assert load_key(str(create_key(str(tmp_path / "a")))) != load_key(str(create_key(str(tmp_path / "b"))))


def test_an_existing_key_is_kept(tmp_path):
    path = create_key(str(tmp_path / "key"))
    before = path.read_bytes()
    with says(UserError, str(path), "already exists", "remove it first"):
        create_key(str(path))
    assert path.read_bytes() == before


def test_the_environment_names_the_file_unless_the_caller_does(tmp_path, monkeypatch):
    monkeypatch.delenv("I2I_UNLEARN_HMAC_KEY_FILE", raising=False)
    assert str(key_path()) == ".secrets/hmac.key"
    monkeypatch.setenv("I2I_UNLEARN_HMAC_KEY_FILE", "/mounted/key")
    assert str(key_path()) == "/mounted/key"
    assert str(key_path("mine")) == "mine"


def test_a_missing_key_is_told_with_the_command_that_makes_one(tmp_path):
    with says(UserError, f"{tmp_path / 'key'}: no key", "i2i-unlearn data key"):
        load_key(str(tmp_path / "key"))


@pytest.mark.parametrize(
    ("content", "fault"), [("not hexadecimal", "cannot be read"), ("00ff", "has 2 bytes, it needs 32")]
)
def test_a_file_that_holds_no_key_is_refused(tmp_path, content, fault):
    (tmp_path / "key").write_text(content)
    with says(UserError, str(tmp_path / "key"), fault):
        load_key(str(tmp_path / "key"))
