"""Stage `register`: one MLflow run and one registered version for an evaluated model, with its whole lineage.

What counts as the same (registering it again changes nothing and says so):

    version   same weights, teacher, requests and earlier requests: the same version number, whatever was measured
    run       same version and same evaluation (metrics.json and verdicts.json, byte for byte): the same run

Weights that are evaluated again with other numbers therefore get a second run next to the first, and the version's
gate, its alias `candidate` and its link to the evaluation follow the newest one. Once a version was promoted, its tags,
card and aliases stay as they were: a further run is added to the tag `further_evaluations`. Weights, teacher and
requests of a version never change. A registration that was killed continues where it stopped.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.evaluation.evaluated_model import Evaluated, digest, read_evaluated
from i2i_unlearn.evaluation.findings import judged_operators
from i2i_unlearn.models import load_model
from i2i_unlearn.models.own import code_of
from i2i_unlearn.registry import evaluation_record as shown
from i2i_unlearn.registry import project_registry, refusals, tracking
from i2i_unlearn.registry.actor import BETWEEN_NAMES, Actor, find_actor, named_in
from i2i_unlearn.registry.integrity import EVALUATION
from i2i_unlearn.report.page import registered
from i2i_unlearn.support import files, git
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress
from i2i_unlearn.training.original import original_in_tags, recorded_original

CARD = """# {{ model_name }} version {{ version }}

{% if tags.kind == "original" %}
The original model, before any request.
{% else %}
Forgets {{ tags.requests }}. Gate: **{{ tags.gate }}** (policy {{ tags.gate_policy }}). {{ sentence }}
{% endif %}
"""
"""Description of a version if no card template is given."""

EVALUATION_FILES = ("metrics.json", "verdicts.json", "summary.json", "pictures")
"""What is uploaded of an evaluation next to its report; anything else there (arrays of single images) is not."""

REPORT = "report.html"
"""The copy that is uploaded names the version."""

NOT_LOGGED = ("notify_url", "notify_command")
"""Settings that may contain a secret."""

PICTURE = "pictures/before_after.png"
"""Also shown among the run's images. It shows forget images only if the evaluation's settings allow it."""

NEW, ALREADY, AGAIN, ADDED = "new", "already", "evaluated again", "added"

Facts = dict[str, float | str]


def run(
    evaluation: str | Path,
    unlearned: str | Path,
    teacher: str | Path,
    splits: str | Path,
    config: RegisterConfig,
    *,
    params: Mapping[str, Any] | None = None,
    card_template: str = CARD,
    repository: str | Path = ".",
    kfp_run_id: str = "",
    by: str = "",
    ledger: str | Path = "",
) -> Facts:
    """Log the evaluation and register the unlearned model; alias `candidate` only if the gate passed.

    `teacher` is a model directory, the others are output folders of their stages. `params` (the content of
    params.yaml, if there is one) is logged unchanged; `repository` is where git and data.dvc are looked up; `by` is who
    registers (registry/actor.py); `ledger` is the promotion ledger, whose registry this must be.

    Returns:
        model_name, version, run_id, gate (of this evaluation), alias (champion, candidate or empty), registered (new |
        already | evaluated again | added) and message, which says it in words.

    Raises:
        UserError: the folders do not belong together, MLflow cannot be reached, or it is another registry.
    """
    template = _parse(card_template)
    found = read_evaluated(Path(evaluation), Path(unlearned), Path(teacher), Path(splits) / "manifest.parquet")
    run_key = digest({"model_name": config.model_name, "evaluation": found.evaluation_sha256, **found.identity()})
    operators = ",".join(judged_operators(found.metrics))
    with project_registry.connect(ledger, config.model_name) as server:
        known = server.known_version(config.model_name, found.identity())
        promoted = known is not None and _was_promoted(server, known)
        record = server.find_record(config.experiment, run_key, known)
        if known and record and record.is_complete and record.run_id in _evaluations(known):
            return _facts(server, config, known.number, record.run_id, ALREADY)
        record = record or server.new_record(config.experiment, run_key, f"unlearn {' '.join(found.requests)}")
        with record.writing(run_key), progress("Registering", 4) as advance:
            logged = known.logged if known else _log_model(record, found.unlearned / "model", config, operators)
            advance(note="numbers")
            _log_numbers(record, found, logged.id, params or {})
            advance(note="report")
            _log_files(record, found)
            advance(note="version")
            teacher_version = _teacher_version(server, config.model_name, found.teacher_sha256)
            if teacher_version:
                record.log_input_model(teacher_version.logged.id)
            tags = {
                **_measured(found, record, operators),
                **_revisions(repository, kfp_run_id),
                **({"teacher_version": teacher_version.number} if teacher_version else {}),
                **_registrars(known, find_actor(by)),
            }
            version = known or server.create_version(record, config.model_name, logged, found.identity(), tags)
            card = _card(template, version, {**version.tags, **tags}, found.sentence)
            _log_report(record, found, version, tags)
            _finish_run(record, version, tags, card)
            again = known is not None and known.tags.get("evaluation_run_id") != record.run_id
            if promoted and again:
                server.tag(version, {tracking.FURTHER: ",".join([*_evaluations(version)[1:], record.run_id])})
            else:
                server.describe(version, card, tags)
                _set_candidate(server, version, found.verdict["outcome"])
            advance()
        facts = _facts(server, config, version.number, record.run_id, (ADDED if promoted else AGAIN) if again else NEW)
        where = f"; in run {record.run_id}, which MLFLOW_RUN_ID names" if record.attached else ""
        return {**facts, "gate": found.verdict["outcome"], "message": f"{facts['message']}{where}"}


def _measured(found: Evaluated, record: tracking.Record, operators: str) -> dict[str, str]:
    """Tags that say how it was judged, and what is recorded of the original."""
    original = {key: str(value) for key, value in original_in_tags(found.summary).items()}
    return {**found.judged(), "operators": operators, "evaluation_run_id": record.run_id, **original}


def _was_promoted(server: tracking.Server, known: tracking.Version) -> bool:
    """Whether a version is, or was, champion; a search does not return aliases."""
    aliases = server.version(known.model_name, known.number).aliases
    return tracking.PROMOTED in known.tags or tracking.CHAMPION in aliases


def _evaluations(version: tracking.Version) -> list[str]:
    """Ids of the runs that evaluated a version; the first is the one in its record."""
    further = tracking.names(version.tags.get(tracking.FURTHER, ""))
    return [version.tags.get("evaluation_run_id", ""), *further]


def run_original(
    model: str | Path,
    config: RegisterConfig,
    *,
    card_template: str = CARD,
    repository: str | Path = ".",
    by: str = "",
    ledger: str | Path = "",
) -> Facts:
    """Register the model that everything starts from; it becomes champion if there is none and never was one.

    The model is loaded and saved again, as `snapshot` does: registered original and teacher then have the same bytes.

    Returns:
        as `run`; alias is champion or empty, gate is empty.

    Raises:
        UserError: `model` is not a model directory of a known family, MLflow cannot be reached, or it is another
            registry than that of the promotion ledger `ledger`.
    """
    template = _parse(card_template)
    connected = project_registry.connect(ledger, config.model_name)
    with TemporaryDirectory() as folder, connected as server:
        saved = Path(folder) / "model"
        load_model(model, config.model).save(saved)
        identity = {"kind": "original", "model_sha256": files.digest_folder(saved)}
        recorded = {key: str(value) for key, value in recorded_original(model).items()}
        revisions = {**_revisions(repository, ""), **recorded, **_registrars(None, find_actor(by))}
        known = server.known_version(config.model_name, identity)
        version, run_id = known, ""
        if version is None:
            version, run_id = _register_original(server, saved, config, identity, revisions, template)
        if server.at_alias(config.model_name, tracking.CHAMPION) is None:
            if lost := project_registry.lost_champion(server, ledger, config.model_name):
                raise UserError(refusals.no_champion(config.model_name, lost))
            server.set_alias(version, tracking.CHAMPION)
        return _facts(server, config, version.number, run_id, ALREADY if known else NEW)


def _register_original(
    server: tracking.Server,
    saved: Path,
    config: RegisterConfig,
    identity: dict[str, str],
    revisions: dict[str, str],
    template: Template,
) -> tuple[tracking.Version, str]:
    run_key = digest({"model_name": config.model_name, **identity})
    tags = {**identity, **revisions}
    record = server.find_record(config.experiment, run_key)
    record = record or server.new_record(config.experiment, run_key, "original")
    with record.writing(run_key), progress("Registering", 2) as advance:
        logged = _log_model(record, saved, config, "")
        advance(note="version")
        version = server.create_version(record, config.model_name, logged, identity, revisions)
        card = _card(template, version, tags, "")
        _finish_run(record, version, tags, card)
        server.describe(version, card, tags)
        advance()
    return version, record.run_id


def _log_model(record: tracking.Record, model_dir: Path, config: RegisterConfig, operators: str) -> tracking.Logged:
    """`operators`: those that the evaluation judged, of which serving does not warn; empty = it warns of none."""
    how = config.model_dump(include={"operator", "keep_fraction", "operator_patch_size", "seed", "model"})
    model = load_model(model_dir, config.model)
    served = tracking.Served(
        image_size=model.image_size,
        num_channels=model.num_channels,
        model_config={**how, "operators": operators},
        own_code=code_of(config.model) if config.model else None,
    )
    return record.log_model(model_dir, config.model_name, served)


def _log_numbers(record: tracking.Record, found: Evaluated, model_id: str, params: Mapping[str, Any]) -> None:
    about = {f"unlearn.{key}": value for key, value in found.summary.items() if isinstance(value, str)}
    record.log_params({**about, **dict(_flat(params))})
    record.log_metrics(dict(shown.score_metrics(found.metrics)), model_id)
    record.log_metrics(dict(shown.audit_metrics(found.metrics)), model_id)
    record.log_metrics({f"unlearn/{key}": value for key, value in found.summary.items() if shown.is_number(value)})
    record.log_curves(_steps(found), tracking.CURVES)


def _steps(found: Evaluated) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (found.unlearned / "steps.jsonl").read_text().splitlines()]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key not in NOT_LOGGED:
            yield f"{prefix}{key}", value


def _log_files(record: tracking.Record, found: Evaluated) -> None:
    for name in EVALUATION_FILES:
        if (found.evaluation / name).exists():
            record.log_file(found.evaluation / name, EVALUATION)
    record.tag(shown.audit_tags(found.metrics))
    for name, rows in shown.tables(found.metrics, files.read_json(found.evaluation / "verdicts.json")).items():
        record.log_table(rows, f"tables/{name}.json")
    for name, svg in shown.plots(found.metrics, _steps(found)).items():
        record.log_text(svg, f"plots/{name}.svg")
    if (found.evaluation / PICTURE).is_file():
        record.log_image(found.evaluation / PICTURE, "before_after")
    for name in ("summary.json", "steps.jsonl"):
        record.log_file(found.unlearned / name, "unlearned")
    record.log_file(found.manifest_path, "splits")
    columns = {"shard": "string", "row": "long", "part": "string", "role": "string", "hmac_id": "string"}
    counts = {"num_rows": sum(found.role_counts.values()), **found.role_counts}
    record.log_dataset("splits", f"splits/{found.manifest_path.name}", found.manifest_sha256, columns, counts)


def _log_report(record: tracking.Record, found: Evaluated, version: tracking.Version, tags: Mapping[str, str]) -> None:
    """The page was written before there was a version; the copy says which one it is about."""
    if (found.evaluation / REPORT).is_file():
        told = f"version {version.number}, registered by {tags.get('registered_by', 'somebody unknown')}"
        page = (found.evaluation / REPORT).read_text(encoding="utf-8")
        record.log_text(registered(page, told), f"{EVALUATION}/{REPORT}")


def _revisions(repository: str | Path, kfp_run_id: str) -> dict[str, str]:
    """Tags that name code, data and pipeline run; unknown ones are left out."""
    known = {
        "git_commit": git.git_commit(repository),
        "data_md5": git.data_md5(repository),
        "kfp_run_id": kfp_run_id,
    }
    return {key: value for key, value in known.items() if value}


def _registrars(known: tracking.Version | None, actor: Actor) -> dict[str, str]:
    """Tags that name who registered it; anyone who registers another evaluation of it is added."""
    tags = {}
    for key, name in (("registered_by", actor.name), ("registered_account", actor.account)):
        before = named_in(known.tags.get(key, "")) if known else []
        named = [*before, *([] if not name or name in before else [name])]
        tags[key] = BETWEEN_NAMES.join(named)[: tracking.MOST_TAG]
    return {key: value for key, value in tags.items() if value}


def _teacher_version(server: tracking.Server, model_name: str, teacher_sha256: str) -> tracking.Version | None:
    """The teacher's version, if registered: the champion if it has these bytes, else the oldest that has."""
    same = server.versions(model_name, model_sha256=teacher_sha256)
    champion = server.at_alias(model_name, tracking.CHAMPION)
    at_champion = [version for version in same if champion and version.number == champion.number]
    return next(iter(at_champion or same[-1:]), None)


def read_card(path: str | Path) -> str:
    """The model card's template in a file; a short built-in one if there is no such file."""
    path = Path(path)
    return path.read_text() if path.is_file() else CARD


def _parse(template: str) -> Template:
    """A model card's template (Jinja).

    Raises:
        UserError: it is not valid.
    """
    try:
        return SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    except TemplateError as error:
        raise UserError(f"the model card's template is not valid ({error}); correct mlflow/model_card.md.j2") from None


def _card(template: Template, version: tracking.Version, tags: Mapping[str, str], sentence: str) -> str:
    return template.render(model_name=version.model_name, version=version.number, tags=tags, sentence=sentence)


def _finish_run(record: tracking.Record, version: tracking.Version, tags: dict[str, str], card: str) -> None:
    """Let the run refer to its version."""
    record.log_text(card, "model_card.md")
    record.tag({**tags, "model_name": version.model_name, "model_version": version.number})


def _set_candidate(server: tracking.Server, version: tracking.Version, outcome: str) -> None:
    """`candidate` is the newest registered version that passed; one that is evaluated again and fails loses it."""
    holder = server.at_alias(version.model_name, tracking.CANDIDATE)
    has_it = holder is not None and holder.number == version.number
    if outcome == "pass" and not has_it:
        server.set_alias(version, tracking.CANDIDATE)
    if outcome != "pass" and has_it:
        server.drop_alias(version.model_name, tracking.CANDIDATE)


def _facts(server: tracking.Server, config: RegisterConfig, number: str, run_id: str, registered: str) -> Facts:
    version = server.version(config.model_name, number)
    gate = version.tags.get("gate", "")
    words = {
        NEW: "registered",
        ALREADY: "is already registered with the same content; nothing was changed",
        AGAIN: "is already registered with the same weights; this evaluation of it counts from now on",
        ADDED: f"was promoted, so its record stays as it is; this evaluation was added to it as run {run_id}",
    }
    alias = next((alias for alias in (tracking.CHAMPION, tracking.CANDIDATE) if alias in version.aliases), "")
    state = [f"gate {gate}"] * bool(gate) + [f"alias {alias}"] * bool(alias)
    return {
        "model_name": version.model_name,
        "version": number,
        "run_id": run_id or version.tags.get("evaluation_run_id", ""),
        "gate": gate,
        "alias": alias,
        "registered": registered,
        "message": f"{version.model_name} version {number} {words[registered]} ({', '.join(state) or 'no alias'})",
    }
