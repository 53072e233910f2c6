"""Facts made by hand, so that what the page must say is known. Numbers are near those of METHOD.md section 10."""

import dataclasses

import numpy as np

from i2i_unlearn.evaluation.findings import FINDINGS_VERSION, PAIRS, SETS, original_in, pair_name, ratio_name
from i2i_unlearn.evaluation.shown import EmbeddingMap, PictureGrid
from i2i_unlearn.report.facts import ReportFacts, RequestFacts

SIDE = 12
MODELS = ("teacher", "unlearned", "reference")
"""Of the first request with one reference, which is what is made unless more is asked for."""
_MORE = ("original", "reference_2", "reference_3")
_PSNR = {
    "teacher": (9.71, 10.10, 9.63, 9.58),
    "unlearned": (8.23, 9.87, 8.19, 9.49),
    "reference": (8.17, 10.42, 8.21, 9.74),
    "original": (9.93, 10.02, 9.86, 9.63),
    "reference_2": (8.25, 10.33, 8.28, 9.81),
    "reference_3": (8.12, 10.47, 8.16, 9.69),
}
_BASE = {
    "feature_cosine_efficientnet_lite0": 0.813,
    "fd_efficientnet_lite0": 41.7,
    "own_loss": 0.2137,
    "output_spread": 0.383,
}


def score(value, half, num_images=400):
    return {"value": value, "low": value - half, "high": value + half, "num_images": num_images}


def models_of(references, *, original):
    """Names of the models of an evaluation; `original` = the teacher is not the original."""
    return [*MODELS[:2], *_MORE[: int(original)], *("reference", *_MORE[1:])[:references]]


def made_metrics(*, references=1, original=False):
    models = models_of(references, original=original)
    scores = {model: {name: _scores(model, index) for index, name in enumerate(SETS)} for model in models}
    for model, at in (("teacher", 14.53), ("unlearned", 11.61), ("original", 14.71)):
        if references and model in models:
            for name in SETS:
                scores[model][name]["reference_psnr_db"] = score(at, 0.21)
    pairs = [pair for pair in PAIRS if set(pair) <= set(models)]
    return {
        "schema_version": FINDINGS_VERSION,
        "operator": "center_hole",
        "keep_fraction": 0.75,
        "extractor": "efficientnet_lite0",
        "models": {model: f"{index}" * 64 for index, model in enumerate(models)},
        "manifest_sha256": "f" * 64,
        "sets": {
            "forget": {"num_images": 400, "num_scored": 400},
            "retain": {"num_images": 3600, "num_scored": 1000},
            "forget_holdout": {"num_images": 100, "num_scored": 100},
            "retain_holdout": {"num_images": 900, "num_scored": 900},
        },
        "scores": scores,
        "differences": {pair_name(one, other): _differences(scores, one, other) for one, other in pairs},
        "ratios": {
            ratio_name(one, other): {
                name: {metric: score(0.97 - 0.01 * index, 0.05) for metric in ("own_loss", "output_spread")}
                for index, name in enumerate(SETS)
            }
            for one, other in pairs
        },
        "gaps": {
            pair_name(*pair): {"retain-retain_holdout": {"hole_psnr_db": score(0.04 + 0.11 * index, 0.06)}}
            for index, pair in enumerate(pairs)
        },
        "classes": {
            pair_name(*pair): {
                name: {label: score(-0.31 + 0.05 * index, 0.12, 110) for index, label in enumerate("0124")}
                for name in ("retain", "retain_holdout")
            }
            for pair in pairs
        },
        "relative": made_relative(references),
        "audits": made_audits(models),
        "cost": {
            "unlearn_s": 11.6,
            "reference_s": 93.2 if references else None,
            "share_of_reference": 0.1245 if references else None,
            "peak_memory_bytes": 700 * 2**20,
        },
    }


def made_relative(references):
    """The test against references, which needs two of them."""
    if references < 2:
        return {}
    among = [0.08, 0.05, 0.13] if references == 3 else [0.08]
    told = {"to_references": [0.06, 0.02, 0.11][:references], "among_references": among}
    outputs = {"to_references": [-14.8, -14.9, -14.7][:references], "among_references": [-15.2] * len(among)}
    return {
        name: {"hole_psnr_db": score(-0.02, 0.04) | told, "outputs_db": score(0.4, 0.09) | outputs}
        for name in ("forget", "retain")
    }


def made_rank_shift(models):
    """As METHOD.md section 13 has them: the champion's traces, next to nothing in a retrained model."""
    numbers = ("error", "contrast", "roughness", "edge")
    ranks = {"unlearned": (0.503, 0.525, 0.52, 0.459), "reference": (0.486, 0.551, 0.517, 0.497)}
    original = (0.317, 0.568, 0.531, 0.47)
    found = {}
    for model in models:
        own = ranks.get(model, original if model in ("teacher", "original") else (0.49, 0.55, 0.52, 0.48))
        found[model] = {f"{name}_rank": score(rank, 0.065) for name, rank in zip(numbers, own, strict=True)}
        half = 0 if model == original_in(models) else 0.05
        for name, rank, before in zip(numbers, own, original, strict=True):
            found[model][f"{name}_shift"] = score(rank - before, half)
        found[model]["retain_error_rank"] = score(0.31, 0.03)
        found[model]["retain_error_shift"] = score(-0.019 if half else 0.0, half / 5)
    return {
        **{"innocent": None, "compared_with": "never_seen", "num_images": 400, "status": "measured"},
        "question": "Can one tell by the model's answers which images it was made to forget?",
        "measure": "error_shift",
        "why": "its controls stand in `facts`; the lines of a policy apply their rule to them",
        "models": found,
        "differences": {"unlearned-teacher": {"error_shift": score(0.186, 0.05)}},
        "curves": {},
        "facts": {
            "num_never_seen": 1000,
            "ranked_among_all_classes": 0,
            "controls": {
                "halves": {
                    f"{name}_{kind}": score(value, 0.02)
                    for name in numbers
                    for kind, value in (("rank", 0.5), ("shift", -0.002))
                },
                "flat": {f"{name}_shift": score(-0.52, 0.06) for name in numbers[1:]},
            },
        },
    }


def made_audits(models=MODELS):
    """One audit of each status, as `evaluation/audits/run.py` gives them."""
    reference = "reference" in models
    aucs, levels = {model: 0.51 for model in models}, {model: 8.2 for model in models}
    aucs |= dict(zip(MODELS, (0.684, 0.412, 0.507), strict=True))
    levels |= dict(zip(MODELS, (9.71, 8.23, 8.17), strict=True))
    measured = {"innocent": 0.5, "compared_with": "forget_holdout", "num_images": 97, "status": "measured"}
    no_attack = {"models": {}, "differences": {}, "curves": {}, "facts": {}}
    return {
        "rank_shift": made_rank_shift(models),
        "membership": {
            **measured,
            "question": "Can one tell from the model that an image was among those it was trained on?",
            "measure": "auc_loss",
            "why": "the original model's auc_loss is 0.684 (95 % interval 0.62 to 0.748), an innocent one's 0.5",
            "models": {
                name: {"auc_loss": score(aucs[name], 0.064), "auc_similarity": score(0.53, 0.07)} for name in models
            },
            "differences": {
                pair_name(one, other): {"auc_loss": score(aucs[one] - aucs[other], 0.09)}
                for one, other in PAIRS
                if {one, other} <= set(models)
            },
            "curves": {
                name: {
                    **{"fpr_loss": [0.0, 0.0, 0.25, 1.0], "tpr_loss": [0.0, 0.04, aucs[name], 1.0]},
                    **{"fpr_similarity": [0.0, 0.4, 1.0], "tpr_similarity": [0.0, 0.45, 1.0]},
                }
                for name in models
            },
            "facts": {"num_members": 300, "num_others": 100, "losses_averaged": 4, "completions_averaged": 4},
        },
        "linear_probe": {
            **measured,
            "question": "Does the inner code that the model makes of an image still show that it was trained on it?",
            "measure": "auc",
            "status": "blind",
            "why": "the original model's auc is 0.54 (95 % interval 0.47 to 0.61), which includes 0.5, the value of a "
            "model that never saw the images",
            "models": {name: {"auc": score(0.54, 0.07)} for name in models},
            "differences": {"unlearned-teacher": {"auc": score(0.0, 0.05)}},
            "curves": {},
            "facts": {"num_folds": 5},
        },
        "relearning": {
            **{"innocent": None, "compared_with": "", "num_images": 64},
            "question": "If somebody trains the model on a few of the images again, does it remember the others?",
            "measure": "relearning_db",
            "status": "measured" if reference else "n/a",
            "why": "reference and original model differ by -1.2 (95 % interval -1.3 to -1.1) in relearning_db"
            if reference
            else "no value of relearning_db is known to be innocent here, so it says nothing without a reference",
            "models": {name: {"relearning_db": score(levels[name] - 9.71, 0.1)} for name in models},
            "differences": {"unlearned-reference": {"relearning_db": score(0.06, 0.1)}} if reference else {},
            "curves": {
                name: {"step": [0, 30, 60], "others_psnr_db": [levels[name], 9.0, 9.6], "shown_psnr_db": [8, 9, 10]}
                for name in models
            },
            "facts": {"teacher_level_db": 9.71, "num_shown": 64, "censored": ["reference"] if reference else []},
        },
        "recovery": {
            **{"innocent": None, "compared_with": "", "num_images": 0, **no_attack},
            "question": "Could somebody train another decoder that paints the images back?",
            "measure": "recovery_gap_db",
            "status": "n/a",
            "why": "50 images of retain_holdout are needed, there are 12",
        },
    }


def _scores(model, index):
    scores = {"hole_psnr_db": score(_PSNR[model][index], 0.17)}
    for step, (metric, value) in enumerate(_BASE.items()):
        shift = 1 + 0.01 * index + 0.03 * (*MODELS, *_MORE).index(model) + 0.002 * step
        scores[metric] = score(value * shift, 0.02 * value)
    if model == "unlearned" and index == 0:
        scores["output_spread"] = score(0.107, 0.011)
    return scores


def _differences(scores, one, other):
    return {
        name: {
            metric: score(
                scores[one][name][metric]["value"] - scores[other][name][metric]["value"],
                0.091 if metric.endswith("_db") else 0.0112,
            )
            for metric in scores[one][name]
            if metric in scores[other][name]
        }
        for name in SETS
    }


def line(name, measure, outcome, numbers, bound, *, decides=True, by_rehearsal=False):
    """A line as the gate writes it."""
    value, low, high = numbers
    said = f"{value} is what was found, wanted {bound}"
    return {
        **{"name": name, "measure": measure, "value": value, "low": low, "high": high},
        "bound": bound,
        "outcome": outcome,
        "by_rehearsal": by_rehearsal,
        "decides": decides,
        "why": f"{measure}: {said if outcome != 'n/a' else '2 references are needed, there are 1 (reference.count)'}",
        "threshold_why": f"The reason for the threshold of {name}.",
        "otherwise": f"the model does not do what {name} asks",
    }


def made_verdicts(outcome="pass"):
    """`outcome` is that of the deciding policy and of its first line; its last one is not applicable."""
    psnr, nothing = "hole_psnr_db, unlearned minus original", (None, None, None)
    memory = "audit rank_shift error_shift, unlearned"
    as_unseen = {
        "policy": "as_unseen",
        "asks": "forget images are answered as if never seen",
        "if_passed": "The model cannot be told from one that never saw the forget images.",
        "preset": "",
        "outcome": outcome,
        "lines": [
            line("no memory left", memory, outcome, (0.185, 0.122, 0.248), "at least 0"),
            line("kept images", f"retain {psnr}", "pass", (-0.23, -0.32, -0.14), "at least -0.5"),
            line(
                "outputs as by retraining",
                "forget outputs_db, unlearned against references",
                *("n/a", nothing, "at most 0.5"),
                decides=False,
            ),
        ],
    }
    forgotten = {
        "policy": "forgotten",
        "asks": "the forget images are completed clearly worse, and the others as before",
        "if_passed": "The forget images are no longer completed as before.",
        "preset": "paper",
        "outcome": "fail",
        "lines": [
            line("forgetting", f"forget {psnr}", "fail", (-1.48, -1.57, -1.39), "at most -1.6"),
            line("retention", f"retain {psnr}", "undecided", (-0.23, -0.32, -0.14), "at least -0.25"),
        ],
    }
    return {
        "schema_version": FINDINGS_VERSION,
        "deciding": "as_unseen",
        "verdicts": {"as_unseen": as_unseen, "forgotten": forgotten},
        "sentence": "Policy as_unseen says pass, but forgotten says fail, because images are completed too well.",
    }


def made_grid(set_name, chosen, *, num=3, side=SIDE, channels=1, reference=True):
    generator = np.random.default_rng([SETS.index(set_name), chosen == "worst"])
    columns = ("image", "masked", *(MODELS if reference else MODELS[:2]))
    rows = {name: generator.integers(0, 256, (num, side, side, channels), dtype=np.uint8) for name in columns}
    scores = {name: [8.1 + 0.37 * index for index in range(num)] for name in columns[2:]}
    return PictureGrid(
        set_name=set_name, chosen=chosen, caption=f"Chosen: {chosen} of {set_name}.", rows=rows, scores_db=scores
    )


def made_embeddings(num=40):
    generator = np.random.default_rng(7)
    return EmbeddingMap(
        caption="Completed images in EfficientNet-Lite0's features.",
        points_N2=generator.normal(size=(num * 6, 2)).astype(np.float32),
        models=[model for model in MODELS for _ in range(2 * num)],
        sets=["forget", "retain"] * (num * 3),
    )


def made_facts(**changes):
    """The demo's facts: everything measured, forget images shown. Changes replace fields."""
    not_terms = {"phase": "unlearn", "learning_rate": 1e-3}
    facts = ReportFacts(
        metrics=made_metrics(),
        verdicts=made_verdicts(),
        pictures=[made_grid(name, chosen) for name in SETS for chosen in ("worst", "random")],
        embeddings=made_embeddings(),
        steps=[
            {"step": step, "total": 3 / step + 0.2, "retain": 0.1 - 0.1 / step, "forget": 1.4 / step, **not_terms}
            for step in range(1, 151)
        ],
        lineage={"Teacher sha256": "a" * 64, "Split manifest sha256": "b" * 64, "alpha": "2"},
        requests=[RequestFacts(id="digit-3", received="2024-05-02", due="2024-06-02")],
        due="2024-06-02",
        method={"objective": "encoder_l2", "alpha": 2.0, "steps": 150},
        near_duplicates={
            "num_near_duplicates": 5,
            "near_duplicates_included": 2,
            "near_duplicates_dropped": 0,
            "near_duplicates_kept": 3,
            "near_duplicates_confirmed_by": "pixels and efficientnet_lite0",
        },
        show_forget_images=True,
    )
    return dataclasses.replace(facts, **changes)
