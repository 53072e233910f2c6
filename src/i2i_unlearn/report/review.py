"""The review page: forget images and their completions, for the person who decides, and only for some days.

The report is kept (by MLflow, Kubeflow, DVC) and holds no forget image unless the settings say so. A person who must
see them anyway gets this separate page, which no stage writes and nothing registers.

A file cannot delete itself. Only its owner may read the page, it says its last day, and `i2i-unlearn review clean`
deletes pages whose day has passed. Copies of the file are beyond reach.
"""

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

from i2i_unlearn.evaluation.shown import PictureGrid
from i2i_unlearn.report import words
from i2i_unlearn.report.page import asset, by_set, sealed
from i2i_unlearn.report.pictures import grid_views
from i2i_unlearn.support.files import atomic_file, hide_from_git

_EXPIRES = re.compile(r'<meta name="i2i-unlearn-expires" content="(\d{4}-\d{2}-\d{2})">')
_HEAD_BYTES = 4096
"""The day is within these first bytes of the page, which is large."""


def write_review(
    grids: Sequence[PictureGrid], requests: Sequence[str], operator: str, expires: datetime.date, folder: Path
) -> Path:
    """Write the page into `folder`, readable by its owner alone, where git does not see it; return its path.

    `operator` says in a sentence what is hidden from the models; `expires` is the page's last day.

    Raises:
        UserError: the folder has a .gitignore of its own.
    """
    name = f"forget-images-{'-'.join(requests)[:60]}-until-{expires.isoformat()}.html"
    return write_owner_only(folder, name, render(grids, requests, operator, expires))


def write_owner_only(folder: Path, name: str, page: str) -> Path:
    """Write a page that `clean` will delete into `folder`; return its path. Errors as `write_review`."""
    folder.mkdir(parents=True, exist_ok=True)
    hide_from_git(folder, "review pages need a folder of their own, name another")
    out = folder / name
    with atomic_file(out) as aside:
        aside.chmod(0o600)
        aside.write_text(page, encoding="utf-8")
    return out


def render(grids: Sequence[PictureGrid], requests: Sequence[str], operator: str, expires: datetime.date) -> str:
    """The page as text. Equal input gives equal bytes."""
    views, cut = grid_views(grids)
    view = {
        "expires": expires.isoformat(),
        "requests": words.listed(requests),
        "operator": operator,
        "columns": [
            (words.COLUMNS.get(name, name), words.COLUMN_MEANINGS.get(name, ""))
            for name in words.in_order(dict.fromkeys(row for grid in grids for row in grid.rows), words.COLUMNS)
        ],
        "pictures": by_set(views),
        "pictures_cut": cut,
    }
    return sealed("review.html.j2", asset("page.js"), view)


def expiry_of(path: Path) -> datetime.date | None:
    """The last day of a review page; None where the file is something else. An impossible date is past."""
    with path.open("rb") as file:
        found = _EXPIRES.search(file.read(_HEAD_BYTES).decode("utf-8", errors="replace"))
    if not found:
        return None
    try:
        return datetime.date.fromisoformat(found.group(1))
    except ValueError:
        return datetime.date.min


def clean(folder: Path, today: datetime.date, *, everything: bool = False) -> tuple[list[Path], list[Path]]:
    """Delete the review pages in `folder` whose day has passed, or all of them; return deleted and kept ones.

    Other files are left alone, and so is what a link points to. Half-written pages of a killed run are deleted too.
    """
    deleted, kept = [], []
    for path in sorted(folder.glob(".*-images-*.new.*")) if folder.is_dir() else []:
        os.unlink(path)
        deleted.append(path)
    for path in sorted(folder.glob("*.html")) if folder.is_dir() else []:
        last = expiry_of(path)
        if last is None:
            continue
        if everything or last < today:
            os.unlink(path)
            deleted.append(path)
        else:
            kept.append(path)
    return deleted, kept
