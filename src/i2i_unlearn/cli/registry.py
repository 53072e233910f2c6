"""Commands `registry promote`, `rollback`, `restore` and `check`: which version is champion."""

from typing import Annotated

import typer

from i2i_unlearn.cli import ledger, lineage, options
from i2i_unlearn.cli.next_step import next_step
from i2i_unlearn.cli.output import print_json, show

app = typer.Typer(help="Registered versions: promote, roll back, check, trace.", no_args_is_help=True)
app.add_typer(ledger.app, name="ledger")
app.registered_commands += lineage.app.registered_commands

By = Annotated[
    str,
    typer.Option(help="Who decides; default: $I2I_UNLEARN_ACTOR, the account, git's or the system's user."),
]
Reason = Annotated[str, typer.Option(help="Reason to record.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Report whether it would succeed, with every reason it would not. Changes nothing."),
]
LedgerFile = Annotated[str, typer.Option("--ledger", help="Promotion ledger; default: promote.ledger.")]


@app.command()
def promote(
    version: Annotated[str, typer.Option(help="Version to promote; default: the one with the alias candidate.")] = "",
    accept_undecided: Annotated[
        str,
        typer.Option(metavar="REASON", help="Why to promote although the gate could not decide; needs --by. Recorded."),
    ] = "",
    by: By = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    json: options.Json = False,
    origin: Annotated[
        str, typer.Option("--from", help="Copy the version from this MLflow first (URI); goes with --to.")
    ] = "",
    target: Annotated[str, typer.Option("--to", help="MLflow (URI) where it is promoted; goes with --from.")] = "",
    ledger_file: LedgerFile = "",
    requests: options.Requests = options.REQUESTS,
    params: options.Params = options.PARAMS,
) -> None:
    """Make a registered version the champion.

    It must have passed the gate, and nothing may have changed since. With --from and --to, the version (default: the
    candidate) is copied from one registry to another and promoted there. An original is copied, and becomes champion
    if there is none.

    Example: i2i-unlearn registry promote --version 2 --by "R. Smith" --reason "ticket 42"
    """
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.stages import promote as stage

    content = load_params(params)
    config, register_config = PromoteConfig.from_params(content), RegisterConfig.from_params(content)
    facts = stage.run(
        config.with_ledger(ledger_file),
        register_config,
        version=version or None,
        accept_undecided=accept_undecided,
        by=by,
        reason=reason,
        dry_run=dry_run,
        origin=origin,
        target=target,
        requests=requests,
    )
    then = next_step("registry promote", str(facts["outcome"]), version=facts["version"])
    show(facts, json, str(facts["message"]), str(facts["forgotten"]), then)


@app.command()
def rollback(
    by: By = "",
    reason: Reason = "",
    version: Annotated[
        str, typer.Option(help="Version that becomes champion again; default: the one before, by the promotion ledger.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if that version knows erased images; the reason is recorded.")
    ] = False,
    dry_run: DryRun = False,
    json: options.Json = False,
    ledger_file: LedgerFile = "",
    params: options.Params = options.PARAMS,
) -> None:
    """Make an earlier champion the champion again.

    Example: i2i-unlearn registry rollback --by "R. Smith" --reason "seams in portraits, ticket 43"
    """
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.registry import rollback as stage

    content = load_params(params)
    config, register_config = PromoteConfig.from_params(content), RegisterConfig.from_params(content)
    facts = stage.run(
        config.with_ledger(ledger_file),
        register_config,
        version=version or None,
        by=by,
        reason=reason,
        force=force,
        dry_run=dry_run,
    )
    show(facts, json, str(facts["message"]))


@app.command()
def restore(
    by: By = "",
    reason: Reason = "",
    json: options.Json = False,
    ledger_file: LedgerFile = "",
    params: options.Params = options.PARAMS,
) -> None:
    """Give the alias champion back to the promoted version.

    That is the one that the promotion ledger names, for when somebody moved or removed the alias by hand. The
    ledger records it.

    Example: i2i-unlearn registry restore --by "R. Smith" --reason "alias removed in the UI, ticket 44"
    """
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.registry import restore as stage

    content = load_params(params)
    config, register_config = PromoteConfig.from_params(content), RegisterConfig.from_params(content)
    facts = stage.run(config.with_ledger(ledger_file), register_config, by=by, reason=reason)
    show(facts, json, str(facts["message"]))


@app.command("keep-table")
def keep_table(
    version: Annotated[str, typer.Option(help="The original; default: the newest one that is registered.")] = "",
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    json: options.Json = False,
    ledger_file: LedgerFile = "",
    params: options.Params = options.PARAMS,
) -> None:
    """Keep what an original answers to every image.

    Evaluations can then go on after its weights are destroyed. The table names images by code and holds no pixels. It
    is made with the operators and the seed of params.yaml; later evaluations must use the same.

    Example: i2i-unlearn registry keep-table --version 1
    """
    from i2i_unlearn.config.sections import EvaluateConfig, PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.registry import original_table as stage

    content = load_params(params)
    config, register = EvaluateConfig.from_params(content, policies={}), RegisterConfig.from_params(content)
    ledger = PromoteConfig.from_params(content).with_ledger(ledger_file).ledger
    facts = stage.keep_table(images, splits, config, register, version=version, ledger=ledger)
    size = f"{facts['num_images']:,} images, {facts['num_bytes']:,} bytes"
    show(facts, json, f"Kept with {facts['model_name']} version {facts['version']}: {size}, in run {facts['run_id']}")


@app.command()
def check(
    json: options.Json = False,
    ledger_file: LedgerFile = "",
    params: options.Params = options.PARAMS,
) -> None:
    """Compare the champion in MLflow with the promotion ledger.

    Checks which version it is, its weights and its tags. Exit code 3 if something differs.

    Example: i2i-unlearn registry check --json
    """
    from dataclasses import asdict

    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.registry import check as stage

    content = load_params(params)
    config = PromoteConfig.from_params(content).with_ledger(ledger_file)
    checked = stage.check(config, RegisterConfig.from_params(content).model_name)
    if json:
        print_json(asdict(checked))
    else:
        for finding in checked.findings:
            typer.echo(finding)
        if checked.settled:
            typer.echo(f"written down now: {checked.settled}")
        if not checked.findings:
            typer.echo(f"{checked.model_name}: champion is version {checked.champion or 'none'}, as recorded")
    raise typer.Exit(3 if checked.findings else 0)
