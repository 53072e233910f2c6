"""Nothing in a bundle names a person or an image, or holds one."""

import base64
import io
import json
import re

import pyarrow.parquet as pq
import pytest

from i2i_unlearn.data.split.codes import hmac_id, load_key
from i2i_unlearn.data.split.manifest import FORGET, read_manifest
from tests.conftest import pixels_of
from tests.evidence.conftest import BASIS, LABELS, NOTE, NUM_PER_LABEL, REASON, SUBJECTS, records

PICTURES = {
    "png": b"\x89PNG",
    "jpeg": b"\xff\xd8\xff",
    "gif": b"GIF8",
    "webp": b"WEBP",
    "svg": b"<svg",
    "tiff": b"II*\0",
}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")


def names_of_persons():
    told = [*LABELS.values(), *SUBJECTS.values(), NOTE, BASIS, REASON, "passport/"]
    told += [record.sample_id for record in records()]
    return {text.encode() for text in told}


def pixels():
    """Every image as bytes: the encoded file, and the rows of its pixels."""
    for record in records():
        yield record.image
    for label in LABELS:
        for number in range(NUM_PER_LABEL):
            yield from (row.tobytes() for row in pixels_of(label, number)[::5])


def layers(content):
    """The bytes themselves, and what is packed in them: base64, Parquet's columns and metadata."""
    yield content
    if content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content))
        yield repr(table.schema.metadata).encode()
        for name in table.column_names:
            values = table[name].to_pylist()
            yield "\n".join(map(str, values)).encode()
            yield from (value for value in values if isinstance(value, bytes))
    for text in set(_BASE64.findall(content)):
        packed = text.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        unpacked = base64.b64decode(packed + b"=" * (-len(packed) % 4)) if len(packed) % 4 != 1 else b""
        if b'"' in unpacked or b"PNG" in unpacked or unpacked[:4] == b"PAR1":
            yield from layers(unpacked)
        else:
            yield unpacked


def finds(folder):
    """What of persons and images is in any file, or in a name of one."""
    wanted = {*names_of_persons(), *pixels()}
    found = set()
    for path in folder.rglob("*"):
        parts = [path.relative_to(folder).as_posix().encode()]
        if path.is_file():
            parts += layers(path.read_bytes())
        for part in parts:
            found |= {(path.name, text[:20]) for text in wanted if text in part}
            # Weights are numbers at random: four bytes of a picture's head may be among them, eight are not.
            if path.suffix != ".safetensors":
                found |= {(path.name, kind) for kind, head in PICTURES.items() if head in part}
    return found


def test_no_file_of_a_bundle_holds_names_or_images(world, with_weights, without_weights, tmp_path):
    with_image = world.bundle(tmp_path / "bundle", "ed25519", image="registry/i2i-unlearn:1")
    for bundle in (with_weights, without_weights, with_image):
        assert finds(bundle) == set()


def test_the_evaluation_that_it_was_made_of_does_hold_images(world):
    # So there was something to leave out, and the search would have found it.
    found = {name for name, _ in finds(world.project.artifact("evaluation"))}
    assert {"report.html", "before_after.png"} <= found


@pytest.mark.parametrize("text", sorted(names_of_persons())[::9])
def test_the_search_finds_a_name_however_it_is_packed(tmp_path, text):
    payload = json.dumps({"said": text.decode()}).encode()
    for number, content in enumerate(
        [text, b"x" + text + b"y", base64.b64encode(payload), b'{"payload": "' + base64.b64encode(payload) + b'"}']
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(content)
        assert finds(folder), content


def test_the_search_finds_names_and_images_in_compressed_columns(tmp_path):
    import pyarrow as pa

    for column in (pa.array(["Erika Mustermann"] * 50), pa.array([records()[3].image] * 50, pa.binary())):
        pq.write_table(pa.table({"column": column}), tmp_path / "file.parquet", compression="zstd")
        assert finds(tmp_path)


def test_images_are_named_by_codes_that_only_the_key_gives(world, without_weights):
    key = load_key(world.project.key)
    rows = read_manifest(without_weights / "manifest.parquet").of(FORGET)
    forgotten = {record.sample_id for record in records() if record.subject == SUBJECTS["b"]}
    codes = {hmac_id(key, sample_id) for sample_id in forgotten}
    assert set(rows["hmac_id"]) <= codes
    assert len(rows) > 0
