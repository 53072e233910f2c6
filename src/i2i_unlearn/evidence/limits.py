"""What evidence does not show: some limits always hold, others depend on what is missing in this case."""

from collections.abc import Iterator

from i2i_unlearn.evidence.predicate import Predicate
from i2i_unlearn.method.adapters import quarantine

ALWAYS = (
    "that no other copy of the model, or of the model before, exists or is in use",
    "that the images were deleted: from the data, its history, backups, or elsewhere",
    "that no trace of the images is left in the weights: only what these measurements can see, on the images scored",
    "that the measurements are true: the signer made them; repeating them needs the images and the models",
    "that all images meant by the request were found, or that near-copies of them were forgotten",
    "that the request came from the person it names: its text and selector are not in here, only its id and dates",
    "who used the private key, and when: anyone who has it can sign; times come from the signer's clock",
)


def not_shown(said: Predicate, *, weights_at_hand: bool, weights_signed: bool) -> list[str]:
    """One line each, those that depend on the case first."""
    return [*_of_this_case(said, weights_at_hand, weights_signed), *ALWAYS]


def _both_versions(said: Predicate) -> Iterator[str]:
    """Who keeps the model before as well, and what can be read from the two (audit two_versions)."""
    audit = said.measured.audits.get("two_versions")
    score = audit.models.get("unlearned", {}).get("auc_forget_never_seen") if audit else None
    found = "" if score is None or score.value is None else f" (area {score.value:.2f}, .5 = a guess)"
    told = f"that nobody keeps both versions but, as the signer says, {said.both_kept_by}"
    what = told if said.both_kept_by else "who may keep both versions: it was not told (--both-kept-by)"
    yield f"{what}; they tell forgotten images from others{found}"


def _of_this_case(said: Predicate, weights_at_hand: bool, weights_signed: bool) -> Iterator[str]:
    if not weights_at_hand:
        yield "that a model you have is this one: the weights were not given; give them with --model"
    if not weights_signed:
        yield (
            "a signature of the weights in the OpenSSF format, which needs an ECDSA key and a folder without git's "
            "files: their digests are signed"
        )
    if few := quarantine(said.parameters.get("unlearn", {}).get("scope")):
        yield few
    if said.gate.outcome != "pass":
        yield f"that the gate passed: its outcome is {said.gate.outcome}"
    rehearsed = [line.name for line in said.gate.verdicts[said.gate.deciding].lines if line.by_rehearsal]
    if rehearsed:
        yield f"these checks on the images of the request: the recipe passed them on stand-ins ({', '.join(rehearsed)})"
    for name, verdict in said.gate.verdicts.items():
        if name != said.gate.deciding and verdict.outcome != "pass":
            yield f"what policy {name} asks: its outcome is {verdict.outcome}"
    yield from _both_versions(said)
    if not said.references_sha256:
        yield "how a model that never saw the images performs: none was retrained for comparison"
    silent = [f"{name} ({audit.status})" for name, audit in said.measured.audits.items() if audit.status != "measured"]
    if silent:
        yield f"what these attacks would find: {', '.join(silent)}"
    if not said.measured.audits:
        yield "what any attack would find: none was made"
    if said.finished_from == "told":
        yield f"that the requests were carried out by {said.finished_at.date()}: the signer stated that day"
    late = [request.id for request in said.requests if not request.in_time]
    if late:
        yield f"that the deadline was kept: it was not, for {', '.join(late)}"
    if said.code_revision is None:
        yield "which code ran: its revision was unknown"
    elif said.code_revision.endswith("-dirty"):
        yield "exactly which code ran: files differed from the commit"
    if said.data_revision is None:
        yield "which revision of the data was used: it was unknown"
    if said.image is None:
        yield "in which container image it ran: none was given"
    if said.registered is None:
        yield "whether the model was registered or used, and as which version"
