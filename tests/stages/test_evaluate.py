import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from i2i_unlearn import report
from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest, write_manifest
from i2i_unlearn.evaluation import audit_inputs, embedding_map, inputs
from i2i_unlearn.evaluation.audits.membership import Membership
from i2i_unlearn.evaluation.audits.perturbation import Perturbation
from i2i_unlearn.evaluation.gate import judge, parse_policy, read_policies
from i2i_unlearn.evaluation.metrics import kernel_distance
from i2i_unlearn.evaluation.metrics.observe import masks_of
from i2i_unlearn.evaluation.original import OriginalFacts
from i2i_unlearn.models import extractors, load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.report import page
from i2i_unlearn.stages import evaluate
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder, read_json, write_json
from tests.conftest import tiny_params

POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"
FAST = "thumbnails"


class Thumbnails:
    """An extractor that costs nothing: the image shrunk to 6 x 6, and one. Too many features for a Frechet distance."""

    num_features = 37

    def __call__(self, images_BCHW):
        small = torch.nn.functional.adaptive_avg_pool2d(images_BCHW.mean(1, keepdim=True), 6).flatten(1)
        return torch.cat((small, torch.ones(len(small), 1)), 1)


AUDITS_OF_TINY = tiny_params()["evaluate"]["audits"]
SETTINGS = {"extractor": FAST, "num_bootstrap": 100, "batch_size": 16}


@pytest.fixture
def fast(monkeypatch):
    """Settings with the costless extractor, and without map and picture sheet, which take as long as all the rest."""
    monkeypatch.setitem(extractors.EXTRACTORS, FAST, lambda device: Thumbnails())
    monkeypatch.setattr(embedding_map, "_FEWEST_POINTS", 10**9)
    monkeypatch.setattr(report, "before_after_picture", lambda facts: b"")
    return SETTINGS


def run_on(tiny, out, changes):
    """The stage on the tiny project; `changes` replaces paths and settings."""
    paths = {"images": tiny.images, "splits": tiny.splits, "teacher": tiny.teacher}
    paths |= {name: tiny.artifact(name) for name in ("unlearned", "reference")}
    settings = {"policies": read_policies(POLICIES), **changes}
    paths |= {name: settings.pop(name) for name in paths.keys() & settings}
    return evaluate.run(**paths, out=out, config=tiny.config("evaluate", **settings))


@pytest.fixture
def evaluated(tiny, tmp_path):
    """`evaluated(**changes)` runs the stage and returns its folder and its facts."""

    def call(out=None, **changes):
        out = out or tmp_path / "evaluation"
        return out, run_on(tiny, out, changes)

    return call


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    """Evaluated once, with map and forget images, for all tests that only look: its folder, and the report's facts."""
    out, reports = tmp_path_factory.mktemp("done") / "evaluation", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(extractors.EXTRACTORS, FAST, lambda device: Thumbnails())
        real = page.render
        patch.setattr(page, "render", lambda facts: reports.append(facts) or real(facts))
        run_on(tiny, out, {**SETTINGS, "show_forget_images": True})
    return SimpleNamespace(out=out, report=reports[0])


@pytest.fixture
def copied(tiny, tmp_path):
    """`copied("unlearned")`: a stage's output to spoil."""

    def copy(name):
        return Path(shutil.copytree(tiny.artifact(name), tmp_path / f"copied-{name}"))

    return copy


def found(out, name):
    return read_json(out / name)


def change_summary(folder, **changes):
    """Let the stage output `folder` say something else of how it was made."""
    write_json(folder / "summary.json", {**read_json(folder / "summary.json"), **changes})


# --- what is measured ---


def test_the_embedded_extractor_scores_every_model_on_every_set(evaluated):
    out, facts = evaluated(num_bootstrap=50, max_images=20)
    metrics, verdicts = found(out, "metrics.json"), found(out, "verdicts.json")
    assert set(metrics["scores"]) == {"teacher", "unlearned", "reference"}
    for scores in metrics["scores"].values():
        assert set(scores) == {"forget", "retain", "forget_holdout", "retain_holdout"}
        for by_metric in scores.values():
            of_features = {"feature_cosine_efficientnet_lite0", "kid_efficientnet_lite0"}
            assert {"hole_psnr_db", "own_loss"} | of_features < set(by_metric)
            # Of fewer than ten images (the forget holdout may be that small) a KID has no interval.
            few = {"kid_efficientnet_lite0"} if by_metric["hole_psnr_db"]["num_images"] < 10 else set()
            few |= {"classifier_score_efficientnet_lite0"}  # never has one
            assert {name for name, score in by_metric.items() if score["low"] is None} == few
            assert all(score["low"] <= score["high"] for name, score in by_metric.items() if name not in few)
    assert verdicts["deciding"] == "forgotten"
    assert set(verdicts["verdicts"]) == {"forgotten", "as_unseen"}
    assert facts["gate"] == verdicts["verdicts"]["forgotten"]["outcome"]
    assert facts == found(out, "summary.json")
    files = {"metrics.json", "verdicts.json", "summary.json", "report.html", "pictures"}
    assert {path.name for path in out.iterdir()} == files


def test_scores_are_those_of_models_and_images_worked_out_apart(done, tiny):
    model = load_model(tiny.artifact("unlearned") / "model")
    rows = read_manifest(tiny.splits / "manifest.parquet").of("forget")
    images = to_float(load_pixels(tiny.images, rows, image_size=(16, 16), num_channels=1, description=""))
    visible = make_operator("center_hole", 0.75, 4).draw(len(images), 16, 16, torch.Generator())
    with torch.no_grad():
        completed = model.complete(images, visible, generator=torch.Generator())
    hole = ((completed - images)[:, 0, 4:12, 4:12] / 2).numpy()
    scores = found(done.out, "metrics.json")["scores"]["unlearned"]["forget"]
    assert scores["hole_psnr_db"]["value"] == pytest.approx(10 * np.log10(1 / np.mean(hole**2)), abs=1e-4)
    spread = ((completed + 1) / 2)[:, 0, 4:12, 4:12].numpy().std(0).mean()
    assert scores["output_spread"]["value"] == pytest.approx(spread, abs=1e-5)
    thumbnails = Thumbnails()
    h = kernel_distance.paired_kernel(thumbnails(images).numpy(), thumbnails(completed).numpy())
    kid = h.sum() / (len(h) * (len(h) - 1))
    assert len(images) < 2 * thumbnails.num_features
    assert scores[f"kid_{FAST}"]["value"] == pytest.approx(kid, rel=1e-3, abs=1e-7)


def test_the_same_inputs_give_the_same_metrics(done, evaluated, fast):
    assert found(evaluated(**fast)[0], "metrics.json") == found(done.out, "metrics.json")


def test_the_size_of_batches_changes_nothing_but_rounding(done, evaluated, fast):
    other = found(evaluated(**{**fast, "batch_size": 7})[0], "metrics.json")
    for model, sets in found(done.out, "metrics.json")["scores"].items():
        for metric, score in sets["retain"].items():
            assert score == pytest.approx(other["scores"][model]["retain"][metric], rel=1e-4, abs=1e-6)


def test_random_masks_are_the_same_for_every_model(evaluated, fast, copied, tiny):
    # The teacher next to itself: any difference would come from masks or random numbers.
    unlearned, reference = as_unlearned(tiny, copied("unlearned"), tiny.teacher), copied("reference")
    masks = {"operator": "random_patches", "keep_fraction": 0.5}
    for folder in (unlearned, reference / "1"):
        change_summary(folder, **masks)
    out, _ = evaluated(unlearned=unlearned, reference=reference, **masks, **fast)
    for metrics in found(out, "metrics.json")["differences"]["unlearned-teacher"].values():
        assert {score["value"] for score in metrics.values()} == {0.0}


def test_a_cap_takes_a_random_subset_and_says_so(evaluated, fast, tiny, monkeypatch):
    read = []
    real = inputs.iter_pixels
    monkeypatch.setattr(inputs, "iter_pixels", lambda images, rows, **kw: read.append(rows) or real(images, rows, **kw))
    metrics = found(evaluated(max_images=9, **fast)[0], "metrics.json")
    assert metrics["sets"]["retain"]["num_scored"] == 9 < metrics["sets"]["retain"]["num_images"]
    assert metrics["sets"]["retain"]["chosen"] == "random"
    assert metrics["scores"]["teacher"]["retain"]["hole_psnr_db"]["num_images"] == 9
    whole = read_manifest(tiny.splits / "manifest.parquet").of("retain")
    chosen = read[1]
    assert list(chosen["row"]) == sorted(chosen["row"])
    assert list(chosen["row"]) != list(whole["row"][:9])


def test_cost_comes_from_the_summaries(evaluated, fast, copied):
    unlearned, reference = copied("unlearned"), copied("reference")
    for folder, seconds in ((unlearned, 10.0), (reference / "1", 80.0)):
        change_summary(folder, seconds=seconds, peak_memory_bytes=12345)
    out, facts = evaluated(unlearned=unlearned, reference=reference, **fast)
    assert found(out, "metrics.json")["cost"] == {
        "unlearn_s": 10.0,
        "reference_s": 80.0,
        "share_of_reference": 0.125,
        "peak_memory_bytes": 12345,
    }
    assert facts["share_of_reference"] == 0.125


def test_metrics_name_what_was_evaluated_by_digest_and_how_it_was_selected(done, tiny):
    metrics = found(done.out, "metrics.json")
    assert metrics["selected_by"] == "label"
    assert metrics["models"]["unlearned"] == digest_folder(tiny.artifact("unlearned") / "model")
    assert metrics["models"]["teacher"] == digest_folder(tiny.teacher)
    assert metrics["manifest_sha256"] == digest_file(tiny.splits / "manifest.parquet")


# --- what is decided ---


def as_unlearned(tiny, folder, model):
    """Let the stage output `folder` hold `model`, as if it had been the result."""
    shutil.rmtree(folder / "model")
    shutil.copytree(model, folder / "model")
    change_summary(folder, model_sha256=digest_folder(model))
    return folder


def test_evaluating_the_teacher_as_unlearned_fails(evaluated, fast, copied, tiny):
    out, facts = evaluated(unlearned=as_unlearned(tiny, copied("unlearned"), tiny.teacher), **fast)
    verdict = found(out, "verdicts.json")["verdicts"]["forgotten"]
    assert facts["gate"] == verdict["outcome"] == "fail"
    outcomes = {line["name"]: line["outcome"] for line in verdict["lines"]}
    assert outcomes.pop("forgetting") == "fail"
    assert outcomes.pop("retention of features") == "n/a"  # the policy names another extractor than the fast one
    assert set(outcomes.values()) == {"pass"}


def brighter(model_dir, out, by):
    """The model with all its answers shifted, so that it completes every image worse; its digest."""
    model = load_model(model_dir)
    with torch.no_grad():
        model.state_dict()["model.decoder.decoder_pred.bias"].add_(by)
    model.save(out)
    return digest_folder(out)


def test_a_drift_that_each_step_hides_is_seen_against_the_original(evaluated, fast, copied, tiny, tmp_path):
    first, second = tmp_path / "first/model", tmp_path / "second"
    champion = brighter(tiny.teacher, first, 1.0)
    brighter(first, second, 1.0)
    unlearned = as_unlearned(tiny, copied("unlearned"), second)
    change_summary(unlearned, teacher_sha256=champion)
    given = {"teacher": first, "unlearned": unlearned, "reference": "", **fast}
    alone = found(evaluated(**given)[0], "metrics.json")
    assert alone["original"]["model"] == "teacher"
    shutil.copytree(tiny.teacher, first.parent / "original/model")
    digest = digest_folder(tiny.teacher)
    facts = OriginalFacts(model="original", source="models:/a/1", model_sha256=digest, teacher_sha256=champion)
    facts.write(first.parent / "original")
    metrics = found(evaluated(**given)[0], "metrics.json")
    assert metrics["original"] == {"model": "original", "source": "models:/a/1", "why": ""}
    assert metrics["models"]["original"] == digest
    levels = {model: metrics["scores"][model]["retain"]["hole_psnr_db"]["value"] for model in metrics["models"]}
    whole, step = (
        metrics["differences"][f"unlearned-{against}"]["retain"]["hole_psnr_db"] for against in ("original", "teacher")
    )
    assert whole["value"] == pytest.approx(levels["unlearned"] - levels["original"], abs=1e-6)
    assert whole["high"] < step["low"] < 0
    assert alone["differences"]["unlearned-teacher"]["retain"]["hole_psnr_db"] == step
    measure = {"model": "unlearned", "minus": "original", "set": "retain", "metric": "hole_psnr_db"}
    bound = {"at_least": (whole["high"] + step["low"]) / 2, "if_below": "it is worse", "why": "between the two"}
    content = {"schema_version": 1, "name": "p", "asks": "it", "if_passed": "It.", "lines": [{"name": "kept", **bound}]}
    content["lines"][0]["measure"] = measure
    outcomes = [judge(one, parse_policy("p", content)).outcome for one in (alone, metrics)]
    assert outcomes == ["pass", "fail"]


@pytest.mark.parametrize("absent", ["no path", "count 0"])
def test_without_a_reference_lines_that_need_it_are_not_applicable(evaluated, fast, tmp_path, absent):
    reference = ""
    if absent == "count 0":
        reference = tmp_path / "reference"
        reference.mkdir()
        write_json(reference / "summary.json", {"kind": "none", "count": 0})
    out, facts = evaluated(reference=reference, **fast)
    metrics = found(out, "metrics.json")
    assert set(metrics["scores"]) == {"teacher", "unlearned"}
    assert set(metrics["differences"]) == {"unlearned-teacher"}
    assert "reference_psnr_db" not in metrics["scores"]["teacher"]["forget"]
    assert metrics["cost"]["share_of_reference"] is None
    assert "share_of_reference" not in facts
    verdicts = found(out, "verdicts.json")["verdicts"]
    outcomes = {line["name"]: line["outcome"] for line in verdicts["as_unseen"]["lines"]}
    needing = ("completed as by retraining", "outputs as by retraining", "contrast over images as by retraining")
    assert {outcomes[name] for name in needing} == {"n/a"}
    judged = ("kept images", "kept images no more remembered", "images never seen", "worst class")
    assert "n/a" not in {outcomes[name] for name in judged}
    measured = {line["name"] for line in verdicts["forgotten"]["lines"] if line["value"] is not None}
    assert measured == {"forgetting", "retention", "retention on unseen images"}  # features: of another extractor


def test_a_sentence_says_why_policies_differ(evaluated, fast):
    line = {
        "name": "anything",
        "measure": {"model": "unlearned", "set": "forget", "metric": "hole_psnr_db"},
        "at_least": -100,
        "if_below": "it is nothing",
        "why": "always holds",
    }
    easy = {"schema_version": 1, "name": "easy", "asks": "to pass", "if_passed": "It passes.", "lines": [line]}
    hard = {**easy, "name": "hard", "lines": [{**line, "at_least": 99}]}
    out, facts = evaluated(policy="easy", policies={"easy": easy, "hard": hard}, **fast)
    verdicts = found(out, "verdicts.json")
    assert verdicts["deciding"] == "easy"
    assert verdicts["sentence"].startswith("Policy easy says pass, but hard says fail: anything (unlearned) is ")
    assert facts["sentence"] == verdicts["sentence"]


# --- audits ---


def test_audits_with_too_few_images_are_not_applicable_and_say_so(done):
    metrics = found(done.out, "metrics.json")
    assert set(metrics["audits"]) == {"membership", "linear_probe", "perturbation"}
    num = {name: chosen["num_images"] for name, chosen in metrics["sets"].items()}
    assert metrics["audits"].pop("membership")["status"] in ("measured", "blind")  # ten images of each are enough
    for audit in metrics["audits"].values():
        assert (audit["status"], audit["models"]) == ("n/a", {})
        assert f"50 images of forget are needed, there are {num['forget']}" in audit["why"]
    lines = found(done.out, "verdicts.json")["verdicts"]["as_unseen"]["lines"]
    (line,) = [line for line in lines if line["name"] == "no memory left"]
    assert line["outcome"] == "n/a"
    assert "the audit was not made (a sweep makes none); add rank_shift to evaluate.audits.run" in line["why"]


def test_audits_attack_all_models_and_policies_bound_them(done, evaluated, fast, monkeypatch):
    monkeypatch.setattr(Perturbation, "min_images", 5)
    monkeypatch.setattr(Membership, "min_images", 5)
    measure = {"audit": "perturbation", "model": "unlearned", "minus": "reference", "metric": "nearer_than_reference"}
    line = {"name": "knows", "measure": measure, "at_most": 0.1, "if_above": "it knows", "why": "a little"}
    mine = {"schema_version": 1, "name": "mine", "asks": "to test", "if_passed": "It passes.", "lines": [line]}
    audits = {**AUDITS_OF_TINY, "run": ["perturbation", "membership"]}
    out, _ = evaluated(**fast, policy="mine", policies={"mine": mine}, audits=audits)
    metrics = found(out, "metrics.json")
    audit = metrics["audits"]["perturbation"]
    assert set(audit["models"]) == {"teacher", "unlearned", "reference"}
    assert audit["models"]["teacher"]["nearer_than_reference"]["low"] > 0  # it was trained on the b's
    assert audit["status"] == "measured"
    (judged,) = found(out, "verdicts.json")["verdicts"]["mine"]["lines"]
    assert judged["outcome"] == "fail"  # 30 steps of unlearning are few
    assert judged["value"] == audit["differences"]["unlearned-reference"]["nearer_than_reference"]["value"]
    assert set(metrics["audits"]["membership"]["curves"]) == set(audit["models"])
    assert metrics["scores"] == found(done.out, "metrics.json")["scores"]  # audits leave models and scores alone


def test_no_audit_reads_no_image_and_leaves_the_entry_empty(evaluated, fast, monkeypatch):
    monkeypatch.setattr(audit_inputs, "load_pixels", lambda *_, **__: pytest.fail("images were read"))
    out, _ = evaluated(**fast, audits={**AUDITS_OF_TINY, "run": []})
    assert found(out, "metrics.json")["audits"] == {}


def test_audits_see_images_and_masks_that_are_scored(tiny, fast):
    settings = {**fast, "operator": "random_patches", "keep_fraction": 0.5, "max_images": 12}
    config = tiny.config(
        "evaluate", policies=read_policies(POLICIES), audits={**AUDITS_OF_TINY, "max_images": 7}, **settings
    )
    rows = read_manifest(tiny.splits / "manifest.parquet").of("retain").iloc[:12].assign(label="a")
    chosen = inputs.ChosenSet(rows=rows, num_images=60)
    operator = make_operator("random_patches", 0.5, 4)
    given = SimpleNamespace(
        models={"teacher": load_model(tiny.teacher)},
        sets={"retain": chosen},
        further=inputs.ChosenSet(rows=rows[:0], num_images=0),
        operator=operator,
        selected_by="label",
        single_images=False,
    )
    audited = audit_inputs.audit_inputs(given, tiny.images, config, Thumbnails(), torch.device("cpu"), {}).sets[
        "retain"
    ]
    scored = load_pixels(tiny.images, rows, image_size=(16, 16), num_channels=1, description="")
    masks = masks_of(list(zip(rows["shard"], rows["row"], strict=True)), operator, 16, 16, seed=config.seed)
    places = [int((scored == image).flatten(1).all(1).nonzero()) for image in audited.images_NCHW]
    assert len(places) == 7
    assert places == sorted(places)
    assert torch.equal(audited.visible_NHW, masks[places])


# --- what is shown ---


def test_the_report_gets_pictures_of_every_set_a_map_and_curves(done, tiny):
    facts = done.report
    grids = {(grid.set_name, grid.chosen) for grid in facts.pictures}
    sets = ("forget", "retain", "forget_holdout", "retain_holdout")
    assert grids == {(name, chosen) for name in sets for chosen in ("random", "worst")}
    outside = np.ones((16, 16), dtype=bool)
    outside[4:12, 4:12] = False
    for grid in facts.pictures:
        assert list(grid.rows) == ["image", "masked", "teacher", "unlearned", "reference"]
        assert (grid.rows["masked"][:, ~outside] == 128).all()
        for model in ("teacher", "unlearned", "reference"):
            assert (grid.rows[model][:, outside] == grid.rows["image"][:, outside]).all()
    assert set(facts.embeddings.models) == {"teacher", "unlearned"}
    assert len(facts.steps) == len((tiny.artifact("unlearned") / "steps.jsonl").read_text().splitlines())
    assert [request.id for request in facts.requests] == ["all-b"]
    assert facts.requests[0].due == "2026-02-01"


def test_forget_images_reach_no_output_unless_they_may_be_shown(evaluated, fast, monkeypatch, tiny):
    kept, real = [], page.render
    monkeypatch.setattr(page, "render", lambda facts: kept.append(facts) or real(facts))
    out, _ = evaluated(show_forget_images=False, **fast)
    assert {grid.set_name for grid in kept[0].pictures} == {"retain", "retain_holdout"}
    assert not kept[0].show_forget_images

    rows = read_manifest(tiny.splits / "manifest.parquet").of("forget", "forget_holdout")
    forgotten = load_pixels(tiny.images, rows, image_size=(16, 16), num_channels=1, description="").numpy()
    for grid in kept[0].pictures:
        for original in grid.rows["image"]:
            assert not (forgotten[:, 0] == original[..., 0]).all((1, 2)).any()
    assert (out / "report.html").is_file()


def test_every_output_is_plain_json_or_a_page_and_holds_no_sample_id(done):
    for name in ("metrics.json", "verdicts.json", "summary.json", "report.html"):
        text = (done.out / name).read_text()
        if name.endswith(".json"):
            json.loads(text, parse_constant=pytest.fail)
        assert '"b-1"' not in text
        assert ">b-1<" not in text


# --- bad input: one line, and earlier outputs stay ---


def refused(evaluated, tmp_path, words, **changes):
    """The message holds all `words` and is one line; an earlier output stays, and nothing is left behind."""
    out = tmp_path / "earlier"
    out.mkdir()
    (out / "kept.txt").write_text("as before")
    with pytest.raises(UserError) as caught:
        evaluated(out, **changes)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert [path.name for path in out.iterdir()] == ["kept.txt"]
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("teacher", ["nowhere", "config.json"]),
        ("splits", ["nowhere/manifest.parquet", "i2i-unlearn split"]),
        ("reference", ["nowhere/summary.json", "no such file"]),
    ],
)
def test_a_missing_part_is_refused(evaluated, fast, tmp_path, part, words):
    refused(evaluated, tmp_path, words, **{part: tmp_path / "nowhere"}, **fast)


def test_other_images_than_those_of_the_manifest_are_refused(evaluated, fast, tmp_path, images_written):
    images = images_written(tmp_path / "images", count=10)
    refused(evaluated, tmp_path, ["manifest.parquet", "other images", images.name], images=str(images), **fast)


@pytest.mark.parametrize(
    ("given", "made_by", "lacking"),
    [("unlearned", "reference", "objective, teacher_sha256"), ("reference", "original", "kind")],
)
def test_a_folder_of_another_stage_is_refused(evaluated, fast, tmp_path, tiny, given, made_by, lacking):
    stage = {"unlearned": "unlearn"}.get(given, given)
    words = [made_by, f"`i2i-unlearn {stage}`", "summary.json", lacking]
    refused(evaluated, tmp_path, words, **{given: tiny.artifact(made_by)}, **fast)


def of_another_teacher(tiny, copied, tiny_model):
    return {"teacher": tiny.artifact("reference") / "1/model"}


def with_other_weights(tiny, copied, tiny_model):
    unlearned = copied("unlearned")
    shutil.copy(tiny.teacher / "model.safetensors", unlearned / "model/model.safetensors")
    return {"unlearned": unlearned}


def for_another_operator(tiny, copied, tiny_model):
    unlearned = copied("unlearned")
    change_summary(unlearned, operator="half_left")
    return {"unlearned": unlearned}


def with_larger_images(tiny, copied, tiny_model):
    reference = copied("reference")
    shutil.rmtree(reference / "1/model")
    tiny_model(image_size=24).save(reference / "1/model")
    return {"reference": reference}


def with_a_damaged_log(tiny, copied, tiny_model):
    unlearned = copied("unlearned")
    (unlearned / "steps.jsonl").write_text('{"step": 1}\n{"st')
    return {"unlearned": unlearned}


def with_a_broken_model(tiny, copied, tiny_model):
    model, unlearned = load_model(tiny.teacher), copied("unlearned")
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    model.save(unlearned.parent / "broken")
    return {"unlearned": as_unlearned(tiny, unlearned, unlearned.parent / "broken")}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (of_another_teacher, ["teacher_sha256=", "i2i-unlearn unlearn"]),
        (with_other_weights, ["model_sha256="]),
        (for_another_operator, ["operator=half_left", "center_hole"]),
        (with_larger_images, ["reference", "24x24", "16x16"]),
        (with_a_damaged_log, ["steps.jsonl", "JSON lines"]),
        (with_a_broken_model, ["unlearned", "not finite"]),
    ],
)
def test_parts_that_do_not_fit_or_are_damaged_are_refused(
    evaluated, fast, tmp_path, tiny, copied, tiny_model, spoil, words
):
    refused(evaluated, tmp_path, words, **spoil(tiny, copied, tiny_model), **fast)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": "nose"}, ["evaluate.policy='nose'", "as_unseen, forgotten"]),
        ({"extractor": "fid"}, ["evaluate.extractor='fid'"]),
        ({"operator": "crop"}, ["operator='crop'"]),
        ({"policies": {"forgotten": {"name": "forgotten"}}}, ["policy forgotten", "schema_version", "missing"]),
    ],
)
def test_wrong_settings_are_refused(evaluated, fast, tmp_path, changes, words):
    refused(evaluated, tmp_path, words, **{**fast, **changes})


def test_a_set_without_images_is_not_scored_and_the_rest_is(evaluated, fast, tiny, tmp_path, copied):
    manifest = read_manifest(tiny.splits / "manifest.parquet")
    rows: pd.DataFrame = manifest.rows.copy()
    rows.loc[rows["role"] == "forget_holdout", "role"] = "unused"
    (tmp_path / "splits").mkdir()
    write_manifest(replace(manifest, rows=rows), tmp_path / "splits/manifest.parquet")
    folders = {}
    for name in ("unlearned", "reference"):
        folders[name] = copied(name)
        made = folders[name] / "1" if name == "reference" else folders[name]
        change_summary(made, manifest_sha256=digest_file(tmp_path / "splits/manifest.parquet"))
    out, _ = evaluated(splits=tmp_path / "splits", **folders, **fast)
    metrics = found(out, "metrics.json")
    assert metrics["sets"]["forget_holdout"] == {"num_images": 0, "num_scored": 0, "chosen": "none"}
    assert "forget_holdout" not in metrics["scores"]["teacher"]
    assert "retain_holdout" in metrics["scores"]["teacher"]
