"""Send a notification of a decision to a webhook, a command, or both. A failure here never changes the decision."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from i2i_unlearn.config.sections import PromoteConfig
from i2i_unlearn.support.errors import GateRefused

VARIABLE = "I2I_UNLEARN_NOTIFY_URL"
"""Replaces promote.notify_url, so that a secret address need not be in params.yaml."""
SCHEMA_VERSION = 1


def notify(config: PromoteConfig, event: str, about: Mapping[str, Any]) -> None:
    """Send `about` as JSON; `event` is promoted, refused, rolled back or found moved. Failures go to stderr."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps({"schema_version": SCHEMA_VERSION, "event": event, "time": time, **about}, sort_keys=True)
    for failure in _failures(config, content.encode()):
        print(f"i2i-unlearn: notification: {failure}; the decision stands ({event})", file=sys.stderr)


@contextmanager
def refusals_notified(config: PromoteConfig, about: Mapping[str, Any], *, dry_run: bool) -> Iterator[None]:
    """Notify of a refusal on its way to the caller; not in a dry run."""
    try:
        yield
    except GateRefused as refusal:
        if not dry_run:
            notify(config, "refused", {**about, "reasons": list(refusal.reasons), "message": str(refusal)})
        raise


def _failures(config: PromoteConfig, content: bytes) -> Iterator[str]:
    url = os.environ.get(VARIABLE) or config.notify_url
    if url and (failure := _post(url, content, config.notify_timeout_s)):
        yield failure
    if config.notify_command and (failure := _run(config.notify_command, content, config.notify_timeout_s)):
        yield failure


def _post(url: str, content: bytes, timeout_s: float) -> str:
    """Send it; return what went wrong, without the path, query or password of the address."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the address does not begin with http:// or https://"
    login, _, place = parts.netloc.rpartition("@")
    where = f"{parts.scheme}://{place}"
    headers = {"Content-Type": "application/json", "User-Agent": "i2i-unlearn"}
    if login:
        user, _, word = login.partition(":")
        pair = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(word)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    bare = urllib.parse.urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    request = urllib.request.Request(bare, content, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        return f"{where} answered {error.code}"
    except TimeoutError:
        return f"{where} did not answer within {timeout_s:g} s"
    except (OSError, ValueError) as error:  # their texts may repeat the address
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            return f"{where} did not answer within {timeout_s:g} s"
        return f"{where} cannot be reached ({type(cause).__name__})"


def _run(command: list[str], content: bytes, timeout_s: float) -> str:
    """Run it with the content on stdin; return what went wrong. Its output is discarded: it may contain a secret."""
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not finish within {timeout_s:g} s and was stopped"
    except OSError as error:
        return f"{command[0]} cannot be run ({error.strerror})"
    return f"{command[0]} exited with code {done.returncode}" if done.returncode else ""
