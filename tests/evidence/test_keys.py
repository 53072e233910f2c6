import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from i2i_unlearn.evidence import keys
from i2i_unlearn.evidence.keys import create_keys, load_private_key, load_public_key, read_passphrase
from i2i_unlearn.support.errors import UserError

KINDS = {"ecdsa": ec.EllipticCurvePrivateKey, "ed25519": ed25519.Ed25519PrivateKey}
SECRET = b"correct horse battery staple"


def written(path, key, *, protection=None):
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, protection or serialization.NoEncryption()))
    return path


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_pair_is_two_pem_files_and_only_the_owner_reads_the_private_one(tmp_path, algorithm):
    facts = create_keys(tmp_path / "keys", algorithm, None)
    private, public = (tmp_path / "keys" / name for name in ("private.pem", "public.pem"))
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["private.pem", "public.pem"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, KINDS[algorithm])
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----\n")
    assert serialization.load_pem_public_key(public.read_bytes()) == key.public_key()
    assert load_public_key(public).id == load_private_key(private, None).public.id == facts["key_id"]


def test_a_key_never_takes_the_place_of_another(tmp_path):
    create_keys(tmp_path, "ecdsa", None)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="exists already and is kept"):
        create_keys(tmp_path, "ed25519", None)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("there", ["private.pem", "public.pem"])
def test_a_folder_that_holds_half_a_pair_stays_as_it_is(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(UserError, match=there):
        create_keys(tmp_path, "ecdsa", None)
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_pair_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    link = keys.os.link

    def failing(source, target):
        if target.name == "private.pem":
            raise OSError(5, "Input/output error", str(target))
        link(source, target)

    monkeypatch.setattr(keys.os, "link", failing)
    with pytest.raises(OSError, match="Input/output"):
        create_keys(tmp_path, "ecdsa", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_passphrase_protects_the_private_key(tmp_path, algorithm):
    create_keys(tmp_path, algorithm, SECRET)
    path = tmp_path / "private.pem"
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_private_key(path, SECRET).public.id == load_public_key(tmp_path / "public.pem").id
    for passphrase, words in ((None, "protected by a passphrase"), (b"wrong", "the passphrase is wrong")):
        with pytest.raises(UserError, match=words):
            load_private_key(path, passphrase)


def test_a_passphrase_for_a_key_that_has_none_is_told(tmp_path):
    create_keys(tmp_path, "ecdsa", None)
    with pytest.raises(UserError, match="has no passphrase"):
        load_private_key(tmp_path / "private.pem", SECRET)


def test_a_passphrase_comes_from_a_file_or_else_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE, raising=False)
    assert read_passphrase(None) is None
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "from the environment")
    assert read_passphrase(None) == b"from the environment"
    assert read_passphrase(tmp_path / "secret") == SECRET


def test_an_empty_or_missing_passphrase_is_told(tmp_path, monkeypatch):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="empty: the passphrase is empty"):
        read_passphrase(tmp_path / "empty")
    with pytest.raises(UserError, match="cannot be read"):
        read_passphrase(tmp_path / "nowhere")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "")
    with pytest.raises(UserError, match="the passphrase is empty"):
        read_passphrase(None)


def test_no_secret_is_in_what_a_key_prints_of_itself(tmp_path):
    create_keys(tmp_path, "ecdsa", SECRET)
    assert SECRET.decode() not in repr(load_private_key(tmp_path / "private.pem", SECRET))


def test_the_command_prints_and_takes_no_passphrase(command_line, tmp_path):
    made = command_line(tmp_path, "keys", "create", "--out", "k", I2I_UNLEARN_KEY_PASSPHRASE=SECRET.decode())
    assert (made.code, made.err) == (0, "")
    assert SECRET.decode() not in made.out
    assert "protected    by a passphrase" in made.out
    assert b"ENCRYPTED" in (tmp_path / "k/private.pem").read_bytes()
    assert command_line(tmp_path, "keys", "create", "--out", "l", "--passphrase", "x").code == 2


def test_an_algorithm_that_is_not_known_is_told(tmp_path):
    with pytest.raises(UserError, match="'rsa' is not known; choose one of: ecdsa, ed25519"):
        create_keys(tmp_path / "keys", "rsa", None)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        pytest.param(rsa.generate_private_key(65537, 2048), "RSA key", id="rsa"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), "on the curve secp256k1", id="curve"),
    ],
)
def test_a_key_of_another_kind_is_told(tmp_path, key, kind):
    private = written(tmp_path / "private.pem", key)
    public = tmp_path / "public.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    for load in (lambda: load_private_key(private, None), lambda: load_public_key(public)):
        with pytest.raises(UserError, match=kind):
            load()


def test_the_wrong_half_a_damaged_and_a_missing_key_are_told(tmp_path):
    create_keys(tmp_path, "ecdsa", None)
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(private.read_bytes()[:60] + b"AAAA" + private.read_bytes()[64:])
    cases = [
        (lambda: load_public_key(private), "is a private key"),
        (lambda: load_private_key(public, None), "holds no private key"),
        (lambda: load_private_key(damaged, None), "the private key is damaged"),
        (lambda: load_public_key(tmp_path / "nowhere"), "no such key"),
        (lambda: load_public_key(tmp_path), "cannot be read"),
    ]
    for load, words in cases:
        with pytest.raises(UserError, match=words):
            load()


def test_p_384_keys_made_elsewhere_serve_too(world, tmp_path):
    from i2i_unlearn.evidence.verify import verify
    from i2i_unlearn.stages import evidence

    key = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    written(tmp_path / "private.pem", key, protection=serialization.BestAvailableEncryption(SECRET))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public.pem").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    signer = evidence.Signer(key=tmp_path / "private.pem", passphrase_file=tmp_path / "secret")
    bundle = world.bundle(tmp_path / "bundle", signer=signer)
    assert verify(bundle, tmp_path / "public.pem", world.model).broken == []
