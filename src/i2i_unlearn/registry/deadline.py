"""Are the requests of a run overdue? A step of the Kubeflow pipeline; on the command line, `request list` tells."""

import datetime
from pathlib import Path

from i2i_unlearn.data.request import read_request
from i2i_unlearn.support.errors import UserError

OVERDUE, IN_TIME = "overdue", "in time"

Facts = dict[str, float | str]


def run(requests_folder: str | Path, requests: str, today: datetime.date | None = None) -> Facts:
    """Look at the requests with these ids (separated by commas) on the day `today` (None = now, UTC).

    Returns:
        outcome (overdue | in time), overdue (ids), first_due, days_left (negative = days past it) and message.

    Raises:
        UserError: a request is missing or wrong, or none is named.
    """
    today = today or datetime.datetime.now(datetime.UTC).date()
    ids = [id_.strip() for id_ in requests.split(",") if id_.strip()]
    if not ids:
        raise UserError("no request is named; file one with `i2i-unlearn request add`")
    found = [read_request(Path(requests_folder) / f"{id_}.yaml") for id_ in ids]
    dues = {request.id: request.last_day(today) for request in found}
    overdue = [id_ for id_, due in dues.items() if due < today]
    first = min(dues.values())
    days = (first - today).days
    message = (
        f"OVERDUE: {', '.join(overdue)}; the first was due on {first}, {-days} days ago"
        if overdue
        else f"the first request is due on {first}, in {days} days"
    )
    return {
        "outcome": OVERDUE if overdue else IN_TIME,
        "overdue": ", ".join(overdue),
        "first_due": first.isoformat(),
        "days_left": days,
        "message": message,
    }
