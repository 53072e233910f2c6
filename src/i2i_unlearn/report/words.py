"""The report's vocabulary: what sets, models, metrics and operators are called, and how numbers are written."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from i2i_unlearn.evaluation.audits.table import AUDITS, Measure
from i2i_unlearn.evaluation.findings import TEACHER, original_in
from i2i_unlearn.evaluation.metrics.relative import OUTPUTS
from i2i_unlearn.evaluation.metrics.table import METRICS, find_metric

SETS = {
    "forget": "Forget",
    "retain": "Retain",
    "forget_holdout": "Never seen, like forget",
    "retain_holdout": "Never seen",
}
SET_MEANINGS = {
    "forget": "training images that the request names",
    "retain": "all other training images",
    "forget_holdout": "images like those of the request, never trained on",
    "retain_holdout": "other images, never trained on",
}
PLAIN_SETS = {"forget": "to forget", "retain": "to keep", "retain_holdout": "never seen"}
"""Behind "images", for readers who know none of the method's words."""
PLAIN_MEASURES = {
    "hole_psnr_db": "Closeness to the real image (dB)",
    "error_shift": "Change of rank among images never seen, by error",
    "contrast_shift": "Change of rank among images never seen, by contrast",
    "roughness_shift": "Change of rank among images never seen, by roughness",
    "edge_shift": "Change of rank among images never seen, by the step at the edge",
    "calibrated_excess": "How well an attacker who has retrained models finds images to forget (0 = by guessing)",
}
"""In the checks that a reader sees first."""
MODELS = {
    "teacher": "Original",
    "unlearned": "Unlearned",
    "original": "Original",
    "reference": "Retrained",
    "reference_2": "Retrained (2)",
    "reference_3": "Retrained (3)",
}
"""Where the original is another model than the teacher, the teacher is the `PREVIOUS` champion."""
PREVIOUS = "Previous champion"
COLUMNS = {
    "image": "Image",
    "masked": "Given",
    "original": "Original",
    "teacher": "Before",
    "unlearned": "After",
    **{name: title for name, title in MODELS.items() if name.startswith("reference")},
}
"""Of pictures."""
COLUMN_MEANINGS = {
    "image": "the image itself",
    "masked": "the part that the models are given",
    "original": "completed by the model before any request",
    "teacher": "completed by the model before this request",
    "unlearned": "completed by the unlearned model",
    **{
        name: "completed by a model retrained without the forget images"
        for name in MODELS
        if name.startswith("reference")
    },
}
OUTCOMES = {"pass": "Passed", "fail": "Failed", "undecided": "Undecided", "n/a": "Not applicable"}
OUTCOME_SIGNS = {"pass": "✓", "fail": "✗", "undecided": "?", "n/a": "–"}
REHEARSED = "by rehearsal"
"""Behind the outcome of a line that the recipe passed on stand-ins."""
MISSING = "–"


_EXTRACTORS = {"efficientnet_lite0": "EfficientNet-Lite0", "inception_v3": "InceptionV3", "clip": "CLIP"}


def audit_title(name: str) -> str:
    """Title of an audit; one that is not known is shown under its own name."""
    return AUDITS[name].title if name in AUDITS else name.replace("_", " ").capitalize()


def measure_words(audit: str, name: str) -> Measure:
    """Title, meaning and format of an audit's measure; one that is not known is shown under its own name."""
    found = AUDITS[audit].measures.get(name) if audit in AUDITS else None
    return found or _unknown(name)


def _unknown(name: str) -> Measure:
    return Measure(name.replace("_", " "), "", 3)


def metric_words(name: str) -> Measure:
    """Title, meaning and format of a metric; one that is not known is shown under its own name."""
    if name == OUTPUTS:
        return Measure("Distance between outputs", "squared difference of two models' outputs in the hole", 2, "dB")
    found = find_metric(name)
    if found is None:
        return _unknown(name)
    entry, extractor = METRICS[found[0]], extractor_title(found[1])
    title = entry.published_title if entry.published and name.startswith(entry.published) else entry.title
    shown = f"{title} ({extractor})" if extractor else title
    return Measure(shown, entry.meaning.format(extractor=extractor), entry.digits, entry.unit)


def plain_measure(metric: str) -> str:
    """A metric in words that need no explanation, where there are some, else its title."""
    return PLAIN_MEASURES.get(metric) or metric_words(metric).title


def plain_set(name: str) -> str:
    """A set, behind "images"."""
    return PLAIN_SETS.get(name) or SETS[name].lower()


def extractor_title(name: str) -> str:
    """The extractor's name as people write it."""
    return _EXTRACTORS.get(name, name)


def with_extractor_titles(text: str) -> str:
    """`text` with every extractor's name as people write it."""
    for name, title in _EXTRACTORS.items():
        text = re.sub(rf"\b{name}\b", title, text)
    return text


def with_version(metrics: Mapping[str, Any], lineage: Mapping[str, str]) -> dict[str, Any]:
    """The content of metrics.json with `teacher_version`: which version the teacher is, where the lineage names it."""
    found = (re.search(r"models:/[^/\s]+/(\d+)", value) for value in lineage.values())
    return {**metrics, "teacher_version": next((match[1] for match in found if match), "")}


def model_title(model: str, metrics: Mapping[str, Any]) -> str:
    """What a model is called in this evaluation."""
    if model == TEACHER and original_in(metrics.get("models", ())) != TEACHER:
        version = metrics.get("teacher_version")
        return f"{PREVIOUS} (version {version})" if version else PREVIOUS
    return MODELS.get(model, model.replace("_", " ").capitalize())


def model_titles(text: str, metrics: Mapping[str, Any]) -> str:
    """A comparison of models as the gate writes it, in the words of the page: unlearned minus original."""
    told = re.sub(
        r"(minus|divided by) (teacher|original|reference)\b",
        lambda found: f"{found[1]} {model_title(found[2], metrics).lower()}",
        text,
    )
    return re.sub(r"\bagainst references$", "against retrained models", told)


def pair_title(pair: str, metrics: Mapping[str, Any]) -> str:
    """What a pair of models is called: Unlearned − original."""
    of, _, against = pair.partition("-")
    return f"{model_title(of, metrics)} − {model_title(against, metrics).lower()}"


def in_order(found: Iterable[str], known: Iterable[str]) -> list[str]:
    """`found` in the order of `known`; what is not known comes last, as found."""
    present = list(found)
    order = list(known)
    return [name for name in order if name in present] + [name for name in present if name not in order]


def metric_order(found: Iterable[str]) -> list[str]:
    """In the order of the table of metrics; what is not in it comes last, as found."""
    known = list(METRICS)
    return sorted(found, key=lambda name: known.index(metric[0]) if (metric := find_metric(name)) else len(known))


def number(value: Any, digits: int, *, signed: bool = False) -> str:
    """A number with `digits` decimals and a true minus sign; a dash where there is none."""
    if not isinstance(value, int | float) or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    # Rounded to nothing, a sign would tell a direction that is not there.
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def plain_number(value: Any) -> str:
    """A number of unknown kind with four significant digits; text and truth values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING if value is None else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return number(value, 0)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def true_minus(text: str) -> str:
    """Minus signs as in the page's other numbers; hyphens between words or digits stay."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def interval(score: Mapping[str, Any], digits: int, *, signed: bool = False) -> str:
    """The two ends as `low to high`, or nothing where the score has no interval."""
    low, high = (number(score.get(end), digits, signed=signed) for end in ("low", "high"))
    return "" if MISSING in (low, high) else f"{low} to {high}"


def seconds(value: Any) -> str:
    """A duration in words: 12.3 s, 4 min 05 s, 2 h 10 min."""
    if not isinstance(value, int | float):
        return MISSING
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(value: Any) -> str:
    """Bytes as MiB or GiB."""
    if not isinstance(value, int | float) or value <= 0:
        return MISSING
    mebibytes = value / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


_OPERATORS = {
    "center_hole": "a hole in the centre",
    "outpaint": "everything but a centre part",
    "random_patches": "random patches",
    "half_left": "the right-hand part",
    "half_right": "the left-hand part",
    "half_up": "the lower part",
    "half_down": "the upper part",
    "free_form": "free-form strokes",
}


def operator_sentence(name: str, keep_fraction: Any) -> str:
    """What is hidden from the models, in words."""
    hidden = _OPERATORS.get(name, f"what the operator {name} hides")
    if not isinstance(keep_fraction, int | float):
        return f"The models are asked to fill in {hidden}."
    return f"The models are asked to fill in {hidden}; {keep_fraction:.0%} of the pixels stay visible."
