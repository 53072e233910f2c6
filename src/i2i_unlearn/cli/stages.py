"""The verbs of the pipeline as commands: split, pretrain, snapshot, unlearn, reference, evaluate, register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()

Images = Annotated[str, typer.Option(help="Folder or URI of image shards.")]
Requests = Annotated[Path, typer.Option(help="Folder of forget requests.")]
Splits = Annotated[Path, typer.Option(help="Folder made by `split`.")]
Teacher = Annotated[Path, typer.Option(help="Model directory of the teacher, made by `snapshot`.")]
Unlearned = Annotated[Path, typer.Option(help="Folder made by `unlearn`.")]
Reference = Annotated[str, typer.Option(help="Folder made by `reference`; empty: there is none.")]
Evaluation = Annotated[Path, typer.Option(help="Folder made by `evaluate`.")]
Policies = Annotated[Path, typer.Option(help="Folder of gate policies.")]
Out = Annotated[Path, typer.Option(help="Output folder; it appears whole or not at all.")]
Params = Annotated[Path, typer.Option(help="File of parameters.")]
KeyFile = Annotated[
    str | None,
    typer.Option(
        help="Key of the codes that stand for sample ids; default: $I2I_UNLEARN_HMAC_KEY_FILE, then .secrets/hmac.key."
    ),
]

PARAMS = Path("params.yaml")


def report(facts: Mapping[str, Any]) -> None:
    """Print what a stage returned, a line each."""
    width = max(map(len, facts), default=0)
    for key, value in facts.items():
        typer.echo(f"{key.ljust(width)}  {value}".rstrip())


@app.command()
def split(
    images: Images = "data/images",
    requests: Requests = Path("data/forget"),
    out: Out = Path("artifacts/splits"),
    hmac_key_file: KeyFile = None,
    params: Params = PARAMS,
) -> None:
    """Give every image its role: forget, erased, retain, holdout ...

    Near-copies of forget images are listed in near_duplicates.csv beside the manifest and treated as each request says.

    Example: i2i-unlearn split --images data/images --requests data/forget --out artifacts/splits
    """
    from i2i_unlearn.config.sections import SplitConfig, load_params
    from i2i_unlearn.stages import split as stage

    config = SplitConfig.from_params(load_params(params))
    facts = stage.run(images, str(requests), out, config, hmac_key_file=hmac_key_file)
    report(facts)
    if kept := facts["near_duplicates_kept"]:
        typer.echo(
            f"{kept} near-copies of forget images stay where they are (near_duplicates.csv); to forget or drop them,"
            " say `near_duplicates: include` or `drop` in the request"
        )


@app.command()
def pretrain(images: Images = "data/images", out: Out = Path("artifacts/original"), params: Params = PARAMS) -> None:
    """Train a small original model from scratch, where no model is given.

    Example: i2i-unlearn pretrain --images data/images --out artifacts/original
    """
    from i2i_unlearn.config.sections import PretrainConfig, load_params
    from i2i_unlearn.stages import pretrain as stage

    report(stage.run(images, out, PretrainConfig.from_params(load_params(params))))


@app.command()
def snapshot(
    out: Out = Path("artifacts/teacher"),
    source: Annotated[
        str,
        typer.Option("--from", help="Model directory, models:/NAME/VERSION, or a published checkpoint (.pth, .ckpt)."),
    ] = "",
    params: Params = PARAMS,
) -> None:
    """Freeze the model that is to forget (snapshot.source in params.yaml, or --from): the teacher.

    Example: i2i-unlearn snapshot --from mae_visualize_vit_base.pth --out artifacts/teacher
    """
    from i2i_unlearn.config.sections import SnapshotConfig, load_params
    from i2i_unlearn.stages import snapshot as stage

    content = load_params(params)
    if source:
        content = {**content, "snapshot": {**content.get("snapshot", {}), "source": source}}
    report(stage.run(out, SnapshotConfig.from_params(content)))


@app.command()
def unlearn(
    images: Images = "data/images",
    splits: Splits = Path("artifacts/splits"),
    teacher: Teacher = Path("artifacts/teacher/model"),
    out: Out = Path("artifacts/unlearned"),
    params: Params = PARAMS,
) -> None:
    """Make the model forget the forget set.

    Example: i2i-unlearn unlearn --splits artifacts/splits --teacher artifacts/teacher/model --out artifacts/unlearned
    """
    from i2i_unlearn.config.sections import UnlearnConfig, load_params
    from i2i_unlearn.stages import unlearn as stage

    report(stage.run(images, splits, teacher, out, UnlearnConfig.from_params(load_params(params))))


@app.command()
def reference(
    images: Images = "data/images",
    splits: Splits = Path("artifacts/splits"),
    teacher: Teacher = Path("artifacts/teacher/model"),
    out: Out = Path("artifacts/reference"),
    params: Params = PARAMS,
) -> None:
    """Retrain the teacher's architecture without the forget set: the gold standard to compare with.

    Example: i2i-unlearn reference --splits artifacts/splits --teacher artifacts/teacher/model --out artifacts/reference
    """
    from i2i_unlearn.config.sections import ReferenceConfig, load_params
    from i2i_unlearn.stages import reference as stage

    report(stage.run(images, splits, teacher, out, ReferenceConfig.from_params(load_params(params))))


@app.command()
def evaluate(
    images: Images = "data/images",
    splits: Splits = Path("artifacts/splits"),
    teacher: Teacher = Path("artifacts/teacher/model"),
    unlearned: Unlearned = Path("artifacts/unlearned"),
    reference: Reference = "artifacts/reference",
    policies: Policies = Path("mlflow/policies"),
    out: Out = Path("artifacts/evaluation"),
    params: Params = PARAMS,
) -> None:
    """Score teacher, unlearned model and reference, judge by the policies, write the report.

    Example: i2i-unlearn evaluate --unlearned artifacts/unlearned --reference artifacts/reference
    """
    from i2i_unlearn.config.sections import EvaluateConfig, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.stages import evaluate as stage

    config = EvaluateConfig.from_params(load_params(params), policies=read_policies(policies))
    report(stage.run(images, splits, teacher, unlearned, reference, out, config))


@app.command()
def register(
    evaluation: Evaluation = Path("artifacts/evaluation"),
    unlearned: Unlearned = Path("artifacts/unlearned"),
    teacher: Teacher = Path("artifacts/teacher/model"),
    splits: Splits = Path("artifacts/splits"),
    original: Annotated[
        Path | None, typer.Option(help="Register this model directory as the original instead of an unlearned model.")
    ] = None,
    card: Annotated[Path, typer.Option(help="Template of the model card.")] = Path("mlflow/model_card.md.j2"),
    by: Annotated[
        str,
        typer.Option(help="Who registers; default: $I2I_UNLEARN_ACTOR, the account, git's or the system's user."),
    ] = "",
    params: Params = PARAMS,
) -> None:
    """Register the unlearned model in MLflow with its lineage; alias `candidate` only if the gate passed.

    Example: i2i-unlearn register --original artifacts/original/model && i2i-unlearn register
    """
    from i2i_unlearn.config.sections import RegisterConfig, load_params
    from i2i_unlearn.stages import register as stage

    content = load_params(params)
    config, template = RegisterConfig.from_params(content), stage.read_card(card)
    if original is not None:
        report(stage.run_original(original, config, card_template=template, by=by))
    else:
        facts = stage.run(evaluation, unlearned, teacher, splits, config, params=content, card_template=template, by=by)
        report(facts)
