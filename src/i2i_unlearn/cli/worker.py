"""A process that runs commands one after the other: `python -m i2i_unlearn.cli.worker` (support/workers.py).

Libraries are imported once for all of them. `requests/run.py` starts it by name.
"""

import io
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from i2i_unlearn.cli.main import app, prepare
from i2i_unlearn.support.errors import GateRefused, UserError
from i2i_unlearn.support.workers import serve


def compute(job: dict[str, Any]) -> dict[str, Any]:
    """Run the command with the arguments `job["args"]`.

    Returns:
        printed: what it printed, and refused: the gate's reasons, where it refused.

    Raises:
        UserError: the command's own, or the arguments are wrong.
    """
    with suppress(OSError):  # Linux: so that the peak of memory that a stage records is its own
        Path("/proc/self/clear_refs").write_text("5")
    refused: tuple[str, ...] = ()
    with redirect_stdout(io.StringIO()) as printed:
        try:
            get_command(app)(args=job["args"], standalone_mode=False)
        except GateRefused as refusal:
            refused = refusal.reasons
        except typer.Abort:
            sys.exit(130)
        except OSError as error:
            if error.filename is None:
                raise
            raise UserError(f"{error.filename}: {error.strerror}") from None
        except typer.TyperException as error:
            raise UserError(f"i2i-unlearn {' '.join(job['args'])}: {error.format_message()}") from None
    return {"printed": printed.getvalue(), "refused": refused}


if __name__ == "__main__":
    prepare()
    serve(compute)
