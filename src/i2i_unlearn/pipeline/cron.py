"""Times of a recurring run, as Kubeflow writes them."""

import re

from i2i_unlearn.support.errors import UserError

DAILY = "0 0 6 * * *"
"""Every day at six, in the time zone of Kubeflow's controller. Six fields: Kubeflow's cron begins with seconds."""
FIELDS = ("seconds", "minutes", "hours", "day of month", "month", "day of week")


def check_cron(cron: str) -> None:
    """Raise UserError unless `cron` has six fields of plausible characters; the server knows the rest."""
    fields = cron.split()
    if len(fields) != len(FIELDS):
        raise UserError(
            f"--cron {cron!r} has {len(fields)} fields, Kubeflow's has six ({', '.join(FIELDS)}); "
            f"every day at six is {DAILY!r}"
        )
    for field, meaning in zip(fields, FIELDS, strict=True):
        if not re.fullmatch(r"[0-9A-Za-z*?/,\-]+", field):
            raise UserError(f"--cron {cron!r}: {field!r} is not a valid {meaning}; every day at six is {DAILY!r}")
