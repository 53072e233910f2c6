"""Run a pipeline again and again: the check of the registry, every day."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from i2i_unlearn.pipeline.cluster.connect import Pipelines, called
from i2i_unlearn.pipeline.cluster.submit import Order, experiment_id, identified, order
from i2i_unlearn.pipeline.cron import check_cron
from i2i_unlearn.support.errors import UserError


def schedule(
    api: Pipelines,
    package: Path,
    params: Sequence[str],
    *,
    name: str,
    cron: str,
    experiment: str,
    service_account: str = "",
) -> tuple[str, bool]:
    """Have the package run at these times; return the recurring run's id, and whether it was there already.

    One of this name is not made twice: lost answers and repeated commands leave one.

    Raises:
        UserError: the package, a parameter or `cron` is wrong; one of this name runs something else, as another
            account or at other times, or is paused; the API cannot be reached or refuses.
    """
    check_cron(cron)
    wanted = order(package, params, experiment=experiment, name=name, service_account=service_account)
    for known in named(api, name):
        _same_or_error(known, wanted, cron)
        return identified(known.recurring_run_id, "recurring run"), True
    made = api.client.create_recurring_run(
        experiment_id=experiment_id(api, experiment),
        job_name=name,
        cron_expression=cron,
        no_catchup=True,  # one check after a pause says as much as ten
        max_concurrency=1,
        params=dict(wanted.arguments),
        pipeline_package_path=str(package),
        service_account=service_account or None,
    )
    return identified(made.recurring_run_id, "recurring run"), False


def named(api: Pipelines, name: str) -> list[Any]:
    """Recurring runs of this name."""
    page = api.client.list_recurring_runs(page_size=100, namespace=api.namespace, filter=called(name))
    return [one for one in page.recurring_runs or [] if one.display_name == name]


def _same_or_error(known: Any, wanted: Order, cron: str) -> None:
    there = known.trigger and known.trigger.cron_schedule and known.trigger.cron_schedule.cron
    if there != cron:
        raise _other(wanted, f"with the times {there or 'of an interval'!r}, not {cron!r}")
    given = (known.runtime_config and known.runtime_config.parameters) or {}
    if given != dict(wanted.arguments):
        raise _other(wanted, f"with other parameters ({given or 'none'})")
    if not _runs(known, wanted.package):
        raise _other(wanted, f"and runs another package than {wanted.package}, perhaps an older one")
    if wanted.service_account and known.service_account != wanted.service_account:
        raise _other(wanted, f"and runs as {known.service_account or 'the default account'!r}")
    if known.status == "DISABLED" or (not known.status and known.mode == "DISABLE"):
        raise UserError(f"the recurring run {wanted.name!r} exists but is paused; enable it in Kubeflow's pages")


def _other(wanted: Order, found: str) -> UserError:
    return UserError(
        f"a recurring run {wanted.name!r} exists {found}; delete it in Kubeflow's pages, or choose another --name"
    )


def _runs(known: Any, package: Path) -> bool:
    """Whether it has the package's specification. Where the API tells none, only an uploaded version is another."""
    told = known.pipeline_spec
    if not told:
        return known.pipeline_version_reference is None
    spec, *platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    if "pipeline_spec" not in told:
        return bool(told == spec)
    return bool(told["pipeline_spec"] == spec and (told.get("platform_spec") or {}) == (platform or [{}])[0])
