"""One changed byte anywhere in a bundle, the weights or the manifest, and the check fails."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from i2i_unlearn.evidence.envelope import Fault, open_envelope, signature_faults
from i2i_unlearn.evidence.keys import load_public_key
from i2i_unlearn.evidence.show import lines_of
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

NUM_RANDOM = 40


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def is_refused(bundle, key, model=None):
    """Broken, or not to be read at all (a version that is not known, say)."""
    try:
        return not verify(bundle, key, model).is_sound
    except UserError:
        return True


def links(bundle, key, model=None):
    return {broken.link for broken in verify(bundle, key, model).broken}


def flips(folder, seed):
    """Change a byte, say which, and restore it: some in each file, first and last, and many at random over all."""
    rng = random.Random(seed)
    sizes = {name: (folder / name).stat().st_size for name in names(folder)}
    places = [(name, place) for name, size in sizes.items() for place in {0, rng.randrange(size), size - 1}]
    total = sum(sizes.values())
    for _ in range(NUM_RANDOM):
        place = rng.randrange(total)
        for name, size in sizes.items():
            if place < size:
                places.append((name, place))
                break
            place -= size
    for name, place in places:
        content = bytearray((folder / name).read_bytes())
        change = rng.randrange(1, 256)
        content[place] ^= change
        (folder / name).write_bytes(content)
        yield f"byte {place} of {name} xor {change}"
        content[place] ^= change
        (folder / name).write_bytes(content)


@pytest.fixture(params=["ecdsa", "ed25519"])
def bundle(request, world, with_weights, copied, tmp_path):
    if request.param == "ecdsa":
        return copied(with_weights), world.public
    return world.bundle(tmp_path / "bundle", "ed25519", with_weights=True), world.keys / "ed25519/public.pem"


def test_a_bundle_is_sound_until_any_byte_is_changed(bundle):
    folder, key = bundle
    assert verify(folder, key).broken == []
    for changed in flips(folder, seed=1):
        assert is_refused(folder, key), changed
    assert verify(folder, key).broken == []


def test_every_byte_of_the_envelope_outside_the_payload_counts(bundle):
    # White space, key ids, unused bits of base64: nothing can be changed without being seen.
    folder, key = bundle
    trusted = load_public_key(key)
    text = (folder / "evidence.json").read_bytes()
    begin = text.index(b'"payload": "') + 12
    end = text.index(b'"', begin)
    assert signature_faults(open_envelope(text), trusted) == []
    for place in [*range(begin), *range(end - 4, len(text))]:
        changed = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        try:
            assert signature_faults(open_envelope(changed), trusted), text[max(0, place - 20) : place + 20]
        except Fault:
            continue


def test_any_changed_byte_of_weights_outside_the_bundle_is_found(world, without_weights, tmp_path):
    model = shutil.copytree(world.model, tmp_path / "weights")
    for changed in flips(model, seed=2):
        assert links(without_weights, world.public, model) == {f"weights in {model}"}, changed
    assert verify(without_weights, world.public, model).broken == []


def test_another_model_is_told_apart_from_damaged_evidence(world, without_weights, tmp_path):
    """The folder is sound; what was given is not the model that it is about."""
    found = verify(without_weights, world.public, world.project.teacher)
    assert (found.is_sound, found.bundle_is_sound, found.model_fits) == (False, True, False)
    last = list(lines_of(without_weights, found))[-1]
    assert "sound, signed by" in last
    assert f"{world.project.teacher} is NOT the model that it is about" in last
    assert "NOT sound" not in last
    assert found.as_dict()["bundle_sound"] is True
    damaged = shutil.copytree(without_weights, tmp_path / "damaged")
    (damaged / "metrics.json").write_text("{}")
    found = verify(damaged, world.public, world.model)
    assert (found.bundle_is_sound, found.model_fits) == (False, True)
    assert "NOT sound" in list(lines_of(damaged, found))[-1]
    assert verify(without_weights, world.public).model_fits is None


def test_a_file_cut_short_emptied_or_removed_is_named(world, with_weights, copied):
    folder = copied(with_weights)
    for name in names(folder):
        path = folder / name
        content = path.read_bytes()
        for less in (content[:-1], content[: len(content) // 2], b""):
            path.write_bytes(less)
            assert is_refused(folder, world.public), (name, len(less))
        path.unlink()
        if name == "evidence.json":
            with pytest.raises(UserError, match=r"has no evidence\.json"):
                verify(folder, world.public)
        else:
            lines = [broken.why for broken in verify(folder, world.public).broken]
            assert f"{name.removeprefix('model/')}: is missing" in lines
        path.write_bytes(content)
    shutil.rmtree(folder / "model")
    assert "weights in " + str(folder / "model") in links(folder, world.public)


@pytest.mark.parametrize("name", ["evidence.json", "metrics.json", "verdicts.json"])
def test_line_ends_that_git_changed_are_called_that(world, with_weights, copied, name):
    bundle = copied(with_weights)
    (bundle / name).write_bytes((bundle / name).read_bytes().replace(b"\n", b"\r\n"))
    found = verify(bundle, world.public)
    assert not found.is_sound
    told = " ".join(broken.why for broken in found.broken)
    assert all(word in told for word in (name, "line ends (CRLF)", "autocrlf"))


@pytest.mark.parametrize(
    "name", ["more.txt", ".hidden", "policies/other.json", "model/extra.bin", "model/.gitignore", "a/b/c"]
)
def test_a_file_that_nobody_named_is_found(world, with_weights, copied, name):
    folder = copied(with_weights)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    (broken,) = verify(folder, world.public).broken
    assert broken.why == f"{name.removeprefix('model/')}: is not named in the evidence"


def test_weights_put_into_a_bundle_without_weights_are_found(world, without_weights, copied):
    folder = copied(without_weights)
    shutil.copytree(world.model, folder / "model")
    assert links(folder, world.public) == {"files"}


def test_names_of_files_cannot_speak_to_the_terminal(world, without_weights, copied):
    folder = copied(without_weights)
    (folder / "a\x1b[2Jb\n").write_text("")
    Path(os.fsdecode(bytes(folder) + b"/\xff")).write_text("")
    lines = list(lines_of(folder, verify(folder, world.public)))
    assert lines[0] == "broken: files: a?[2Jb?: is not named in the evidence"
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", ["metrics.json", "model/config.json", "model", "policies"])
def test_a_link_is_found_even_to_the_right_content(world, with_weights, copied, tmp_path, name):
    folder = copied(with_weights)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert any("is a link or not a plain file" in broken.why for broken in verify(folder, world.public).broken)


def test_a_pipe_does_not_stop_the_check(world, with_weights, copied):
    folder = copied(with_weights)
    os.mkfifo(folder / "pipe")
    assert links(folder, world.public) == {"files"}
    (folder / "metrics.json").unlink()
    os.mkfifo(folder / "metrics.json")
    assert "files" in links(folder, world.public)


def test_every_broken_link_is_named_not_only_the_first(world, with_weights, copied):
    folder = copied(with_weights)
    for name in ("metrics.json", "manifest.parquet", "model/model.safetensors", "unlearn_summary.json"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    (folder / "verdicts.json").unlink()
    lines = [(broken.link, broken.why) for broken in verify(folder, world.keys / "other/public.pem").broken]
    wanted = ["metrics.json: was changed", "manifest.parquet: was changed", "unlearn_summary.json: was changed"]
    for part in [*wanted, "verdicts.json: is missing", "model.safetensors: was changed"]:
        assert any(part in why for _, why in lines), part
    assert {"signature", "public key", "measurements", "gate", "split manifest", "training"} <= {
        link for link, _ in lines
    }


# --- signatures ---


def test_another_key_does_not_do(world, with_weights):
    broken = verify(with_weights, world.keys / "other/public.pem").broken
    assert {one.link for one in broken} == {
        "signature",
        "public key",
        f"signature of the weights in {with_weights / 'model'}",
    }


def test_a_bundle_signed_anew_with_its_own_key_inside_does_not_do(world, tmp_path):
    forged = world.bundle(tmp_path / "forged", "other")
    assert verify(forged, world.keys / "other/public.pem").is_sound
    assert {"signature", "public key"} <= links(forged, world.public)


def test_no_signature_two_and_those_of_another_key_or_bundle_do_not_do(
    world, with_weights, without_weights, copied, tmp_path
):
    folder, forged = copied(with_weights), world.bundle(tmp_path / "forged", "other")
    was, elsewhere, other = (files.read_json(of / "evidence.json") for of in (folder, without_weights, forged))
    (own,), (other,) = was["signatures"], other["signatures"]
    cases = [{"signatures": elsewhere["signatures"]}, {"signatures": []}, {"signatures": [own, other]}]
    cases += [{"signatures": [{**own, "keyid": other["keyid"]}]}, {"signatures": [{**other, "keyid": own["keyid"]}]}]
    for change, broken in [*((case, "signature") for case in cases), ({"payloadType": "text/plain"}, "envelope")]:
        (folder / "evidence.json").write_text(json.dumps({**was, **change}, indent=2, sort_keys=True) + "\n")
        assert links(folder, world.public) == {broken}, change


def test_parts_of_two_bundles_do_not_mix(world, with_weights, tmp_path, copied):
    # The same model, evaluated and signed by the same key; the other has other settings and another time.
    other = world.bundle(tmp_path / "other", with_weights=True, image="another")
    folder = copied(with_weights)
    swapped = [name for name in names(folder) if (other / name).read_bytes() != (folder / name).read_bytes()]
    assert {"evidence.json", "model.sig"} <= set(swapped)
    for name in swapped:
        content = (folder / name).read_bytes()
        shutil.copyfile(other / name, folder / name)
        assert links(folder, world.public), name
        (folder / name).write_bytes(content)
