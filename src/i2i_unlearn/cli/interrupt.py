"""What Ctrl-C ends, ends with one line and exit code 130."""

import atexit
import os
import signal
import sys
from collections.abc import Callable

STOPPED = 130


def ended(run: Callable[[], object]) -> None:
    """Call `run`; Ctrl-C ends this process with exit code 130.

    Python ends by the signal instead, whatever the code, where Ctrl-C came within `exec`, which makes data classes.
    """
    try:
        run()
    except SystemExit as end:
        if end.code != STOPPED:
            raise
    except KeyboardInterrupt:
        print("i2i-unlearn: stopped: run the same command again to continue", file=sys.stderr)
    else:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)
