"""Commands `evidence create`, `evidence verify`, `evidence show`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.keys import PassphraseFile
from i2i_unlearn.cli.next_step import EVIDENCE_KEY, next_step
from i2i_unlearn.cli.output import print_json
from i2i_unlearn.cli.output import show as show_facts

app = typer.Typer(help="Signed evidence that a third party can check offline.", no_args_is_help=True)

Bundle = Annotated[Path, typer.Argument(help="Folder written by `evidence create`, or a copy of it.")]


@app.command()
def create(
    out: Annotated[Path, typer.Option(help="Folder of the evidence; it appears whole or not at all.")] = Path(
        "artifacts/evidence"
    ),
    key: Annotated[Path, typer.Option(help="Private key, made by `keys create`.")] = EVIDENCE_KEY,
    passphrase_file: PassphraseFile = None,
    version: Annotated[str, typer.Option(help="Number of the registered version; adds its facts from MLflow.")] = "",
    with_weights: Annotated[bool, typer.Option(help="Include the weights.")] = False,
    image: Annotated[
        str, typer.Option(envvar="I2I_UNLEARN_IMAGE", help="Container image that the stages ran in.")
    ] = "",
    finished: Annotated[
        datetime | None,
        typer.Option(formats=options.DAY, help="Day on which the requests were carried out; default: now."),
    ] = None,
    both_kept_by: Annotated[
        str,
        typer.Option(help="Who may keep the model before next to the new one, e.g. 'the operator until 2027-01-01'."),
    ] = "",
    evaluation: options.Evaluation = options.EVALUATION,
    unlearned: options.Unlearned = options.UNLEARNED,
    teacher: options.Teacher = options.TEACHER,
    splits: options.Splits = options.SPLITS,
    requests: options.Requests = options.REQUESTS,
    policies: options.Policies = options.POLICIES,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Write and sign a record of what was done for the requests.

    It holds models, split, settings, measurements, decision and time used.

    Example: i2i-unlearn evidence create --key .secrets/evidence/private.pem --out artifacts/evidence
    """
    from i2i_unlearn.config.sections import RegisterConfig, as_read, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.stages import evidence as stage

    content = as_read(load_params(params))
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
            both_kept_by=both_kept_by,
            model_name=RegisterConfig.from_params(content).model_name if version else "",
            version=version,
        ),
        stage.Signer(key=key, passphrase_file=passphrase_file),
        out,
        with_weights=with_weights,
    )
    then = next_step("evidence create", evidence=facts["evidence"], public_key=key.with_name("public.pem"))
    show_facts(facts, json, str(facts["message"]), f"Evidence: {facts['evidence']}", then)


@app.command()
def verify(
    bundle: Bundle,
    key: Annotated[
        Path | None,
        typer.Option(help="The signer's public key, received from the signer by another way than the bundle."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model directory that the evidence is about, if the bundle holds no weights.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Check evidence offline.

    Prints one line per broken link, and what the evidence does not show. Exit code 1 if a link is broken.

    Example: i2i-unlearn evidence verify artifacts/evidence --key public.pem --model artifacts/unlearned/model
    """
    from i2i_unlearn.evidence.verify import verify as check

    found = check(bundle, key, model)
    if json:
        print_json(found.as_dict())
    else:
        from i2i_unlearn.evidence.show import lines_of

        for line in lines_of(bundle, found):
            typer.echo(line)
    if not found.is_sound:
        raise typer.Exit(1)


@app.command()
def show(bundle: Bundle, json: options.Json = False) -> None:
    """Print what the evidence says, the decision first. Checks nothing: `evidence verify` does.

    Example: i2i-unlearn evidence show artifacts/evidence
    """
    from i2i_unlearn.evidence.show import all_lines, read_unchecked

    statement = read_unchecked(bundle)
    if json:
        print_json(statement.content)
        return
    for line in all_lines(statement.predicate):
        typer.echo(line)
