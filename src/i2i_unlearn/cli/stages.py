"""The verbs of the pipeline as commands: split, pretrain, snapshot, unlearn, reference, evaluate, register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.next_step import after_register, next_step
from i2i_unlearn.cli.output import show

app = typer.Typer()


def _trained(facts: Mapping[str, Any]) -> str:
    """How long training took; an interrupted run counts its earlier seconds."""
    from i2i_unlearn.report.words import seconds

    resumed = f", resumed after step {facts['resumed_from_step']:,}" if facts["resumed_from_step"] else ""
    return f"{facts['steps']:,} steps in {seconds(facts['seconds'])} on {facts['device']}{resumed}"


@app.command()
def split(
    images: options.Images = options.IMAGES,
    requests: options.Requests = options.REQUESTS,
    out: options.Out = options.SPLITS,
    hmac_key_file: options.KeyFile = None,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Give every image a role: forget, erased, retain or holdout.

    Near-copies of forget images are listed in near_duplicates.csv next to the manifest and treated as each request
    says.

    Example: i2i-unlearn split --images data/images --requests data/forget --out artifacts/splits
    """
    from i2i_unlearn.config.sections import SplitConfig, load_params
    from i2i_unlearn.stages import split as stage

    config = SplitConfig.from_params(load_params(params))
    facts = stage.run(images, str(requests), out, config, hmac_key_file=hmac_key_file)
    held_out = sum(int(facts[f"num_{role}"]) for role in ("forget_holdout", "retain_holdout"))
    kept = facts["near_duplicates_kept"]
    show(
        facts,
        json,
        f"To forget: {facts['num_forget']:,} of {facts['num_images']:,} images"
        f" ({facts['requests']}, due {facts['due'] or 'any day'});"
        f" {facts['num_retain']:,} to retain, {held_out:,} held out",
        f"{facts['num_came_back']:,} images were forgotten before and came back under another name: role erased"
        if facts["num_came_back"]
        else "",
        f"{kept:,} near-copies of forget images keep their roles (near_duplicates.csv); to forget or drop them, set"
        " `near_duplicates: include` or `drop` in the request"
        if kept
        else "",
        "To refuse these images until the new model is in use: i2i-unlearn guard make",
        f"Split: {out}",
    )


@app.command()
def pretrain(
    images: options.Images = options.IMAGES,
    out: options.Out = Path("artifacts/original"),
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Train a small original model from scratch. For projects without a model of their own.

    Example: i2i-unlearn pretrain --images data/images --out artifacts/original
    """
    from i2i_unlearn.config.sections import PretrainConfig, load_params
    from i2i_unlearn.stages import pretrain as stage

    facts = stage.run(images, out, PretrainConfig.from_params(load_params(params)))
    show(
        facts, json, f"Trained on {facts['num_images']:,} images: {_trained(facts)}", f"Original model: {out / 'model'}"
    )


@app.command()
def snapshot(
    out: options.Out = Path("artifacts/teacher"),
    source: Annotated[
        str,
        typer.Option("--from", help="Model directory, models:/NAME/VERSION, or a published checkpoint (.pth, .ckpt)."),
    ] = "",
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Freeze the model that must forget, as the teacher. It is snapshot.source of params.yaml, or --from.

    Example: i2i-unlearn snapshot --from mae_visualize_vit_base.pth --out artifacts/teacher
    """
    from i2i_unlearn.config.sections import SnapshotConfig, load_params
    from i2i_unlearn.stages import snapshot as stage

    content = load_params(params)
    if source:
        content = {**content, "snapshot": {**content.get("snapshot", {}), "source": source}}
    facts = stage.run(out, SnapshotConfig.from_params(content))
    note = str(facts.get("note", ""))
    show(facts, json, f"Froze {facts['source']} (family {facts['family']})", note, f"Teacher: {out / 'model'}")


@app.command()
def unlearn(
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    teacher: options.Teacher = options.TEACHER,
    out: options.Out = options.UNLEARNED,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Make the model forget the forget set.

    Example: i2i-unlearn unlearn --splits artifacts/splits --teacher artifacts/teacher/model --out artifacts/unlearned
    """
    from i2i_unlearn.config.sections import UnlearnConfig, load_params
    from i2i_unlearn.stages import unlearn as stage

    facts = stage.run(images, splits, teacher, out, UnlearnConfig.from_params(load_params(params)))
    what = f"Unlearned {facts['num_forget']:,} images with {facts['objective']}"
    show(facts, json, f"{what}: {_trained(facts)}", f"Unlearned model: {out / 'model'}")


@app.command()
def reference(
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    teacher: options.Teacher = options.TEACHER,
    out: options.Out = Path(options.REFERENCE),
    ahead: Annotated[
        bool,
        typer.Option("--ahead", help="Retrain before the teacher is there, by section pretrain."),
    ] = False,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Retrain reference.count models without the forget set. They are the gold standard to compare with.

    Finished ones are kept: a run that was killed continues, and a larger count retrains only what is missing.

    Example: i2i-unlearn reference --splits artifacts/splits --teacher artifacts/teacher/model --out artifacts/reference
    """
    from i2i_unlearn.config.sections import ReferenceConfig, load_params
    from i2i_unlearn.stages import reference as stage

    config = ReferenceConfig.from_params(load_params(params))
    if ahead:
        count = stage.ahead(images, splits, out, config)
        show({"ahead": count}, json, f"Retrained ahead: {count}; `i2i-unlearn reference` takes them")
        return
    facts = stage.run(images, splits, teacher, out, config)
    if facts["kind"] != "retrain":
        show(facts, json, f"No model was retrained (reference.count: 0); models given: {facts['count']}")
        return
    models = "1 reference" if facts["count"] == 1 else f"{facts['count']} references"
    what = f"{models}, retrained on {facts['num_images']:,} images without the forget set"
    show(facts, json, f"{what}: {_trained(facts)}", f"References: {out}")


@app.command()
def evaluate(
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    teacher: options.Teacher = options.TEACHER,
    unlearned: options.Unlearned = options.UNLEARNED,
    reference: options.Reference = options.REFERENCE,
    original: options.OriginalModel = options.ORIGINAL,
    policies: options.Policies = options.POLICIES,
    out: options.Out = options.EVALUATION,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Score the models, judge them by the policies, write the report.

    Example: i2i-unlearn evaluate --unlearned artifacts/unlearned --reference artifacts/reference
    """
    from i2i_unlearn.config.sections import EvaluateConfig, RegisterConfig, UnlearnConfig, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.report.words import seconds
    from i2i_unlearn.stages import evaluate as stage

    content = load_params(params)
    config = EvaluateConfig.from_params(content, policies=read_policies(policies))
    folders = (images, splits, teacher, unlearned, reference, out)
    recipe, name = UnlearnConfig.from_params(content), RegisterConfig.from_params(content).model_name
    facts = stage.run(*folders, config, original=original, recipe=recipe, model_name=name)
    outcomes = [f"{key.removeprefix('gate_')} {value}" for key, value in facts.items() if key.startswith("gate_")]
    show(
        facts,
        json,
        f"Evaluated in {seconds(facts['seconds'])}: {facts['gate']} by the deciding policy {facts['policy']}"
        f" (all policies: {', '.join(outcomes)})",
        f"Report: {out / 'report.html'}",
        next_step("evaluate", str(facts["gate"]), report=out / "report.html"),
    )


@app.command()
def register(
    evaluation: options.Evaluation = options.EVALUATION,
    unlearned: options.Unlearned = options.UNLEARNED,
    teacher: options.Teacher = options.TEACHER,
    splits: options.Splits = options.SPLITS,
    original: Annotated[
        Path | None, typer.Option(help="Register this model directory as the original instead of an unlearned model.")
    ] = None,
    card: Annotated[Path, typer.Option(help="Template of the model card.")] = Path("mlflow/model_card.md.j2"),
    by: Annotated[
        str,
        typer.Option(help="Who registers; default: $I2I_UNLEARN_ACTOR, the account, git's or the system's user."),
    ] = "",
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Register the unlearned model in MLflow with its lineage. It gets the alias `candidate` only if the gate passed.

    Example: i2i-unlearn register --original artifacts/original/model && i2i-unlearn register
    """
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, as_read, load_params
    from i2i_unlearn.stages import register as stage

    content = as_read(load_params(params))
    config, template = RegisterConfig.from_params(content), stage.read_card(card)
    ledger = PromoteConfig.from_params(content).ledger
    if original is not None:
        facts = stage.run_original(original, config, card_template=template, by=by, ledger=ledger)
    else:
        folders = (evaluation, unlearned, teacher, splits)
        facts = stage.run(*folders, config, params=content, card_template=template, by=by, ledger=ledger)
    show(
        facts,
        json,
        str(facts["message"]),
        next_step("register", after_register(facts), version=facts["version"]),
    )
