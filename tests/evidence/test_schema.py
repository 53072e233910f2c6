import json
import subprocess
import sys

import jsonschema
from in_toto_attestation.v1.statement import Statement

from i2i_unlearn.evidence.envelope import PAYLOAD_TYPE, directory_digest
from i2i_unlearn.evidence.predicate import PREDICATE_TYPE, File, version_of
from i2i_unlearn.support.files import digest_file, digest_folder
from tests.conftest import ROOT
from tests.evidence.conftest import statement_of

SCHEMA = ROOT / "docs/evidence.schema.json"


def test_a_predicate_meets_the_schema_and_every_part_is_bound_by_it(with_weights):
    schema, predicate = json.loads(SCHEMA.read_text()), statement_of(with_weights)["predicate"]
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(predicate)) == []
    assert not validator.is_valid({**predicate, "more": 1})
    for key in predicate:
        wrong = 1 if key in ("files", "references_sha256") else []  # these may be empty lists
        assert not validator.is_valid({**predicate, key: wrong}), key
        assert not validator.is_valid({other: predicate[other] for other in predicate if other != key}), key


def test_the_statement_is_one_that_in_toto_takes(world, with_weights):
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    content = statement_of(with_weights)
    Statement.copy_from_pb(ParseDict(content, Message())).validate()
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    assert content["predicateType"] == PREDICATE_TYPE
    assert json.loads((with_weights / "evidence.json").read_text())["payloadType"] == PAYLOAD_TYPE
    whole, *single = content["subject"]
    assert whole == {"name": "model", "digest": {"dirHash": digest_folder(world.model)}}
    assert {subject["name"]: subject["digest"]["sha256"] for subject in single} == {
        f"model/{path.name}": digest_file(path) for path in world.model.iterdir()
    }


def test_the_digest_of_a_folder_by_hand():
    # h1 of Go modules: `printf '%s  %s\n' | sha256sum` over paths in the order of their bytes, "." before "/".
    import hashlib

    files = [File(name="a/b", sha256="1" * 64, size=1), File(name="a.b", sha256="2" * 64, size=1)]
    lines = f"{'2' * 64}  a.b\n{'1' * 64}  a/b\n"
    assert directory_digest(files) == hashlib.sha256(lines.encode()).hexdigest()


def test_versions_of_the_predicate_are_told_apart():
    assert version_of(PREDICATE_TYPE) == 1
    assert version_of(PREDICATE_TYPE.replace("v1", "v12")) == 12
    for other in ("https://slsa.dev/provenance/v1", PREDICATE_TYPE + "x", "x" + PREDICATE_TYPE, ""):
        assert version_of(other) is None


def test_the_schema_in_docs_is_what_the_program_prints():
    program = "from i2i_unlearn.evidence.predicate import schema_text as s; print(s(), end=str())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert SCHEMA.read_text() == printed, f"write it again: python -c '{program}' > docs/evidence.schema.json"
