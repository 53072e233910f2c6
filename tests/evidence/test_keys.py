import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from i2i_unlearn.evidence import keys
from i2i_unlearn.evidence.keys import create_keys, load_private_key, load_public_key, read_passphrase
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

KINDS = {"ecdsa": ec.EllipticCurvePrivateKey, "ed25519": ed25519.Ed25519PrivateKey}
SECRET = b"correct horse battery staple"


def written(folder, key, *, protection=None):
    """Files of a pair that another program made."""
    pem, private, public = serialization.Encoding.PEM, folder / "private.pem", folder / "public.pem"
    pkcs8, spki = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
    private.write_bytes(key.private_bytes(pem, pkcs8, protection or serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, spki))
    return private, public


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


@pytest.mark.parametrize(
    ("header", "program"),
    [("ENCRYPTED SIGSTORE", "cosign"), ("ENCRYPTED COSIGN", "cosign"), ("OPENSSH", "OpenSSH")],
)
@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_a_key_in_the_own_format_of_another_program_is_named(tmp_path, header, program, passphrase):
    path = tmp_path / "cosign.key"
    path.write_text(f"-----BEGIN {header} PRIVATE KEY-----\neyJrZGYi\n-----END {header} PRIVATE KEY-----\n")
    with says(UserError, "cosign.key", f"{program}'s own format", "keys create"):
        load_private_key(path, passphrase)


@pytest.mark.parametrize("there", [["private.pem"], ["public.pem"], ["private.pem", "public.pem"]])
def test_a_key_never_takes_the_place_of_another(tmp_path, there):
    for name in there:
        (tmp_path / name).write_text("mine")
    with says(UserError, there[-1], "exists already and is kept"):
        create_keys(tmp_path, "ecdsa", None)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(there, "mine")


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
    key = load_private_key(path, SECRET)
    assert key.public.id == load_public_key(tmp_path / "public.pem").id
    assert SECRET.decode() not in repr(key)
    for passphrase, words in ((None, "protected by a passphrase"), (b"wrong", "the passphrase is wrong")):
        with pytest.raises(UserError, match=words):
            load_private_key(path, passphrase)


def test_a_passphrase_comes_from_a_file_or_else_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE, raising=False)
    assert read_passphrase(None) is None
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "from the environment")
    assert read_passphrase(None) == b"from the environment"
    assert read_passphrase(tmp_path / "secret") == SECRET
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "")
    for file, words in (
        (tmp_path / "empty", "empty: the passphrase is empty"),
        (tmp_path / "nowhere", "cannot be read"),
        (None, "the passphrase is empty"),
    ):
        with says(UserError, words):
            read_passphrase(file)


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
    private, public = written(tmp_path, key)
    for load in (lambda: load_private_key(private, None), lambda: load_public_key(public)):
        with pytest.raises(UserError, match=kind):
            load()


def test_keys_that_cannot_be_used_are_told(tmp_path):
    create_keys(tmp_path, "ecdsa", None)
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(private.read_bytes()[:60] + b"AAAA" + private.read_bytes()[64:])
    cases = [
        (lambda: load_public_key(private), "is a private key"),
        (lambda: load_private_key(public, None), "holds no private key"),
        (lambda: load_private_key(private, SECRET), "has no passphrase"),
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
    private, public = written(tmp_path, key, protection=serialization.BestAvailableEncryption(SECRET))
    signer = evidence.Signer(key=private, passphrase_file=tmp_path / "secret")
    bundle = world.bundle(tmp_path / "bundle", signer=signer)
    assert verify(bundle, public, world.model).broken == []
