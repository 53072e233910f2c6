"""Commands `evidence create`, `evidence verify`, `evidence show`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli.keys import PassphraseFile
from i2i_unlearn.cli.stages import PARAMS, Evaluation, Params, Policies, Requests, Splits, Teacher, Unlearned, report

app = typer.Typer(help="Evidence on an unlearned model that a third party can check offline.", no_args_is_help=True)

Bundle = Annotated[Path, typer.Argument(help="Folder written by `evidence create`, or a copy of it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    out: Annotated[Path, typer.Option(help="Folder of the evidence; it appears whole or not at all.")] = Path(
        "artifacts/evidence"
    ),
    key: Annotated[Path, typer.Option(help="Private key, made by `keys create`.")] = Path(
        ".secrets/evidence/private.pem"
    ),
    passphrase_file: PassphraseFile = None,
    version: Annotated[
        str, typer.Option(help="Number of the registered version, whose facts are then added from MLflow.")
    ] = "",
    with_weights: Annotated[bool, typer.Option(help="Put the weights into the folder, too.")] = False,
    image: Annotated[
        str, typer.Option(envvar="I2I_UNLEARN_IMAGE", help="Container image that the stages ran in.")
    ] = "",
    finished: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day on which the requests were carried out; default: now."),
    ] = None,
    evaluation: Evaluation = Path("artifacts/evaluation"),
    unlearned: Unlearned = Path("artifacts/unlearned"),
    teacher: Teacher = Path("artifacts/teacher/model"),
    splits: Splits = Path("artifacts/splits"),
    requests: Requests = Path("data/forget"),
    policies: Policies = Path("mlflow/policies"),
    params: Params = PARAMS,
) -> None:
    """Write and sign what was done for the requests: models, split, settings, measurements, decision, time used.

    Example: i2i-unlearn evidence create --key .secrets/evidence/private.pem --out artifacts/evidence
    """
    from i2i_unlearn.config.sections import RegisterConfig, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.stages import evidence as stage

    content = load_params(params)
    facts = stage.run(
        stage.Inputs(
            evaluation=evaluation,
            unlearned=unlearned,
            teacher=teacher,
            splits=splits,
            requests=requests,
            policies=read_policies(policies),
            params=content,
        ),
        stage.Origin(
            image=image,
            finished=finished.date() if finished else None,
            model_name=RegisterConfig.from_params(content).model_name if version else "",
            version=version,
        ),
        stage.Signer(key=key, passphrase_file=passphrase_file),
        out,
        with_weights=with_weights,
    )
    report(facts)


@app.command()
def verify(
    bundle: Bundle,
    key: Annotated[
        Path | None, typer.Option(help="The signer's public key, got from the signer by another way than the bundle.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model directory that the evidence should be about, where it is not inside.")
    ] = None,
    json: Json = False,
) -> None:
    """Check evidence offline: each broken link is a line, and exit code 1; what it does not show is listed.

    Example: i2i-unlearn evidence verify artifacts/evidence --key public.pem --model artifacts/unlearned/model
    """
    from i2i_unlearn.evidence.verify import verify as check

    found = check(bundle, key, model)
    if json:
        from json import dumps

        typer.echo(dumps(found.as_dict(), indent=2))
    else:
        from i2i_unlearn.evidence.show import lines_of

        for line in lines_of(bundle, found):
            typer.echo(line)
    if not found.is_sound:
        raise typer.Exit(1)


@app.command()
def show(bundle: Bundle, json: Json = False) -> None:
    """Print what evidence says, the decision first. It checks nothing: that is what `evidence verify` is for.

    Example: i2i-unlearn evidence show artifacts/evidence
    """
    from i2i_unlearn.evidence.show import print_evidence, read_unchecked

    statement = read_unchecked(bundle)
    if json:
        from json import dumps

        typer.echo(dumps(statement.content, indent=2, ensure_ascii=False))
        return
    print_evidence(bundle, statement.predicate)
