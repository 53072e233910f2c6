"""Who holds the key can sign what he likes; what the bundle's own files contradict is found all the same."""

import datetime
import json

import pytest

from i2i_unlearn.data.split.manifest import read_manifest, write_manifest
from i2i_unlearn.evidence import envelope, recompute
from i2i_unlearn.evidence.keys import load_private_key
from i2i_unlearn.evidence.predicate import Predicate
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.support import files
from tests.evidence.conftest import statement_of


@pytest.fixture
def resigned(world, without_weights, copied):
    """`resigned(change, files)`: what is broken in a bundle whose files and predicate were changed before signing."""

    def make(change=lambda said: None, **contents):
        folder = copied(without_weights)
        said = statement_of(folder)["predicate"]
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        for file in said["files"]:
            path = folder / file["name"]
            file.update(sha256=files.digest_file(path), size=path.stat().st_size)
        change(said)
        payload = envelope.write_statement(Predicate.model_validate(said))
        key = load_private_key(world.keys / "ecdsa/private.pem", None)
        (folder / "evidence.json").write_bytes(envelope.sign(payload, key))
        return {(broken.link, broken.why) for broken in verify(folder, world.public).broken}

    return make


def read(bundle, name):
    return json.loads((bundle / name).read_text())


def test_an_outcome_that_the_numbers_do_not_give(resigned, without_weights):
    verdicts = read(without_weights, "verdicts.json")
    was = verdicts["verdicts"]["forgotten"]["outcome"]
    assert was != "pass"
    lines = verdicts["verdicts"]["forgotten"]["lines"]
    verdicts["verdicts"]["forgotten"]["outcome"] = "pass"
    for line in lines:
        line["outcome"] = "pass"

    def change(said):
        said["gate"]["outcome"] = said["gate"]["verdicts"]["forgotten"]["outcome"] = "pass"
        for line in said["gate"]["verdicts"]["forgotten"]["lines"]:
            line["outcome"] = "pass"

    assert resigned(change, verdicts=verdicts) == {
        ("gate", f"policy forgotten: the evidence says pass, its numbers give {was}")
    }
    # The statement alone says it, verdicts.json does not:
    found = resigned(change)
    assert ("gate", "verdicts.json contradicts the evidence") in found


def test_a_laxer_policy_than_the_one_that_judged(resigned, without_weights):
    policy = read(without_weights, "policies/forgotten.json")
    for line in policy["lines"]:
        if "at_most" in line:
            line["at_most"] = 1000.0
        if "at_least" in line:
            line["at_least"] = -1000.0
    (reason,) = resigned(**{"policies/forgotten": policy})
    assert reason == ("gate", "policy forgotten is not the one that the evidence names")

    def change(said):
        (file,) = [file for file in said["files"] if file["name"] == "policies/forgotten.json"]
        said["gate"]["verdicts"]["forgotten"]["policy_sha256"] = file["sha256"]

    ((link, why),) = resigned(change, **{"policies/forgotten": policy})
    assert link == "gate"
    assert why.startswith("policy forgotten: the evidence says")


def of_manifest(**change):
    return lambda said: said["manifest"].update(change)


NONE = "0" * 64
OTHER_NUMBERS = "the numbers in metrics.json are not those that the evidence names"


@pytest.mark.parametrize(
    ("change", "link", "words"),
    [
        (lambda said: said.update(teacher_sha256=NONE), "measurements", "the teacher that was measured"),
        (lambda said: said.update(teacher_sha256=NONE), "training", "names another teacher"),
        (lambda said: said.update(references_sha256=[NONE]), "measurements", "the references that were measured"),
        (lambda said: said["model"].update(sha256=NONE), "measurements", "the unlearned model"),
        (of_manifest(requests=["withdrawn-2"]), "split manifest", "has other requests than the evidence"),
        (of_manifest(erased=["withdrawn-0"]), "split manifest", "has other earlier requests than the evidence"),
        (of_manifest(roles={"forget": 1000}), "split manifest", "has other numbers of images than the evidence"),
        (of_manifest(images_sha256=NONE), "split manifest", "has other images than the evidence"),
        (lambda said: said["requests"][0].update(id="withdrawn-2"), "deadline", "are not those of the split"),
    ],
)
def test_what_the_files_contradict_is_found(resigned, change, link, words):
    assert any(where == link and words in why for where, why in resigned(change))


def test_signing_again_breaks_nothing_and_better_numbers_break_the_measurements_alone(resigned):
    def change(said):
        said["measured"]["scores"]["unlearned"]["forget"]["hole_psnr_db"]["value"] -= 10

    assert resigned() == set()
    assert resigned(change) == {("measurements", OTHER_NUMBERS)}


def test_a_manifest_that_names_images(resigned, without_weights, tmp_path):
    manifest = read_manifest(without_weights / "manifest.parquet")
    manifest.rows["hmac_id"] = "passport/b-0001.png"
    write_manifest(manifest, tmp_path / "manifest.parquet")
    told = set(recompute.check_manifest(tmp_path, Predicate.model_validate(statement_of(without_weights)["predicate"])))
    assert "the split manifest identifies images by something other than codes" in told


def test_days_that_the_dates_do_not_give(resigned):
    def change(said):
        assert said["requests"][0]["in_time"] is False  # filed in January 2026
        said["requests"][0].update(in_time=True, days_used=3)

    used = (datetime.datetime.now(datetime.UTC).date() - datetime.date(2026, 1, 1)).days
    assert resigned(change) == {
        ("deadline", f"request withdrawn-1: days_used is 3 in the evidence, the dates give {used}"),
        ("deadline", "request withdrawn-1: in_time is True in the evidence, the dates give False"),
    }


def test_a_path_that_leaves_the_bundle_is_not_followed(world, without_weights, copied, tmp_path):
    # Signed by the trusted key, and refused before any file is looked at.
    folder = copied(without_weights)
    content = statement_of(folder)
    key = load_private_key(world.keys / "ecdsa/private.pem", None)
    for name in ("../secret", "/etc/passwd", "a/../../b", "..", "a\nb", "a\\b", ""):
        content["predicate"]["files"][0]["name"] = name
        (folder / "evidence.json").write_bytes(envelope.sign(json.dumps(content).encode(), key))
        ((link, why),) = {(broken.link, broken.why) for broken in verify(folder, world.public).broken}
        assert link == "statement"
        assert "files.0.name" in why
