"""What was asked and what was done about it, in sentences."""

from collections.abc import Mapping
from typing import Any

from i2i_unlearn.report.facts import ReportFacts
from i2i_unlearn.report.words import listed, plain_number, with_extractor_titles

_DONE_WITH_COPIES = {
    "included": "forgotten like the rest",
    "dropped": "dropped, so that no model was trained on them and none was judged by them",
    "kept": "kept among the images that stay",
}


def asked_sentences(facts: ReportFacts) -> list[str]:
    """Whose images, how many, until when."""
    requests = listed([request.id for request in facts.requests])
    forget, retain = (facts.metrics["sets"].get(name, {}).get("num_images", 0) for name in ("forget", "retain"))
    sentences = []
    if facts.requests:
        plural = "s" if len(facts.requests) > 1 else ""
        sentences.append(
            f"Request{plural} {requests}: the model must no longer reproduce {forget} of its training images, and "
            f"complete all others as before; {retain} of these are the retain set."
        )
    if facts.due:
        first = " (the earliest of them)" if len(facts.requests) > 1 else ""
        sentences.append(f"It is due by {facts.due}{first}.")
    return sentences


def done_sentences(facts: ReportFacts) -> list[str]:
    """How the model was changed, what it is compared with, and what became of near-copies."""
    return [
        *_method(facts),
        "A reference was trained from scratch without the forget images, to compare with."
        if "reference" in facts.metrics["scores"]
        else "No model was retrained without the forget images, so there is none to compare with.",
        *near_duplicate_sentences(facts.near_duplicates),
    ]


def _method(facts: ReportFacts) -> list[str]:
    method = facts.method
    if "objective" not in method:
        return []
    dials = [f"{name} {plain_number(method[name])}" for name in ("alpha", "epsilon") if name in method]
    steps = f", {plain_number(method['steps'])} steps" if "steps" in method else ""
    return [f"The original model was changed by the method {method['objective']} ({', '.join(dials)}{steps})."]


def near_duplicate_sentences(found: Mapping[str, Any]) -> list[str]:
    """From the split's summary; nothing where it does not tell."""
    count = found.get("num_near_duplicates")
    how = str(found.get("near_duplicates_confirmed_by", ""))
    if count is None:
        return []
    if not count:
        searched = "Near-copies were searched only among files of equal bytes" if how == "not searched" else ""
        return [f"{searched or 'Near-copies of the forget images were searched'}; none were found."]
    by = "" if how in ("", "not searched") else f" (confirmed by {with_extractor_titles(how)})"
    done = [
        f"{plain_number(found[f'near_duplicates_{what}'])} {words}"
        for what, words in _DONE_WITH_COPIES.items()
        if found.get(f"near_duplicates_{what}")
    ]
    copies = "One near-copy" if count == 1 else f"{plain_number(count)} near-copies"
    were = "was" if count == 1 else "were"
    told = f": {listed(done)}" if done else ""
    return [f"{copies} of forget images {were} found{by}{told}.", *_words(found), *_of_erased(found)]


def _words(found: Mapping[str, Any]) -> list[str]:
    """What each request says should become of near-copies."""
    said = [word.partition(":")[::2] for word in str(found.get("near_duplicates_words", "")).split(",") if word]
    asked = listed([f"{word} (request {request})" for request, word in said])
    return [f"The requests asked for: {asked}."] if said else []


def _of_erased(found: Mapping[str, Any]) -> list[str]:
    count = found.get("near_duplicates_of_erased")
    if not count:
        return []
    copies = "One more is a near-copy" if count == 1 else f"{plain_number(count)} more are near-copies"
    return [f"{copies} of images erased earlier, treated as that request says."]
