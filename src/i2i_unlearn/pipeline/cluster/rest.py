"""What goes over the wire to Kubeflow Pipelines: always with a time limit, and what goes wrong is one line.

The client that kfp brings along sets no time limit, follows a redirect to a log-in page, and takes any reply for an
answer: of a page of HTML it makes an object in which everything is None.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import urllib3
from kfp_server_api import ApiException
from kfp_server_api.rest import RESTClientObject

from i2i_unlearn.support.errors import UserError

CONNECT_S = 10.0
MAX_REASON = 400
"""Characters of the server's own words that are passed on."""


class Unreachable(UserError):  # noqa: N818  like the other ways a command ends
    """Nobody answers there, or not in time, or not as Kubeflow Pipelines does. Trying again may help."""


class Refused(UserError):  # noqa: N818
    """The API answered, and said no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """HTTP's, for example 404."""


class PatientRest:
    """Mixin for the HTTP client of a generated API client: time limits, and one line for what goes wrong.

    A connection is tried again, and so is a read (GET) whose answer got lost. What makes or changes something is sent
    once: whether it arrived is then for the caller to look up.
    """

    service: str
    """What answers, in words."""
    api_exception: type[Exception]
    """What the generated client raises for a status other than 2xx."""
    reconnects: int
    token_source: str
    not_json: str
    """What to do where something else than JSON comes back."""

    def __init__(self, configuration: Any, timeout_s: float) -> None:
        configuration.retries = urllib3.Retry(
            total=None, connect=self.reconnects, read=1, redirect=False, status=0, other=0, backoff_factor=0.5
        )
        super().__init__(configuration)  # type: ignore[call-arg]  # of the generated client
        self.where = f"{self.service} at {public(configuration.host)}"
        self.timeout_s = timeout_s
        self._configuration = configuration

    def request(self, method: str, url: str, **how: Any) -> Any:
        """Send; return a reply that is a JSON object, or a log.

        Raises:
            Unreachable, Refused: with a line that holds no token.
        """
        how["_request_timeout"] = (min(CONNECT_S, self.timeout_s), self.timeout_s)
        try:
            reply = super().request(method, url, **how)  # type: ignore[misc]  # of the generated client
        except self.api_exception as error:
            raise self._of_status(error, method) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            cause = getattr(error, "reason", None) or error
            raise Unreachable(self._of_connection(cause, " ".join(str(cause).split()), method)) from None
        except ValueError:  # its message would hold the header with the token
            raise UserError(f"{self.token_source} is not a single line of plain characters; correct it") from None
        data = reply.data if how.get("_preload_content", True) and not url.endswith("/log") else b"{}"
        if not is_object(data):
            raise Unreachable(f"{self.where} sent {kind_of(data)} where JSON was expected; {self.not_json}")
        return reply

    def _of_status(self, error: Any, method: str) -> UserError:
        raise NotImplementedError

    def _of_connection(self, cause: Exception, words: str, method: str) -> str:
        raise NotImplementedError


class KubeflowRest(PatientRest, RESTClientObject):  # type: ignore[misc]  # untyped
    """kfp's own HTTP client with limits."""

    service, api_exception, reconnects = "Kubeflow Pipelines", ApiException, 2
    token_source = "the token for Kubeflow Pipelines"
    not_json = "the address is not that of the API, or a log-in page is in front of it: correct --host or give a token"

    def _of_status(self, error: ApiException, method: str) -> UserError:
        where, status = self.where, error.status or 0
        said = self.without_token(said_in(error.body))
        if status == 0:
            return Unreachable(f"{where}: {self.without_token(' '.join(str(error.reason).split()))[:MAX_REASON]}")
        if 300 <= status < 400:
            return Refused(
                f"{where} redirects ({status}), probably to a log-in page; give a token or correct --host",
                status,
            )
        if status == 401:
            return Refused(f"{where} does not accept the token (401{said}); give a valid one with --token-file", status)
        if status == 403:
            return Refused(
                f"{where} forbids this (403{said}); ask for the right in that namespace, or name another: --namespace",
                status,
            )
        if status == 404:
            return Refused(f"{where} has no such thing (404{said}); check the id, the name and --host", status)
        if status >= 500:
            doubt = "" if method == "GET" else "; check with `pipeline list` whether it was done,"
            return Refused(
                f"{where} failed ({status}{said}){doubt}; try again, then look at the log of ml-pipeline", status
            )
        hint = "; name the namespace with --namespace" if "namespace" in said.lower() else "; correct what it names"
        return Refused(f"{where} refuses ({status}{said}){hint}", status)

    def _of_connection(self, cause: Exception, words: str, method: str) -> str:
        where = self.where
        if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE" in words or "SSL" in words:
            found = re.search(
                r"certificate verify failed: [^()\[\]']+|[Hh]ostname[^()\[\]\"]+|WRONG_VERSION_NUMBER", words
            )
            reason = found[0].strip() if found else "TLS"
            return f"{where}: the secure connection failed ({reason}); correct --ca-file or the address in --host"
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            cause_words = "no connection"
            if "refused" in words:
                cause_words = "connection refused"
            elif isinstance(cause, urllib3.exceptions.NameResolutionError):
                cause_words = "unknown host name"
            return f"{where} cannot be reached ({cause_words}); start the port-forward or correct --host"
        doubt = "" if method == "GET" else "; it may have been done all the same: check with `pipeline list`"
        if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
            return f"{where} gave no answer in {self.timeout_s:g} s{doubt or '; try again, or raise --timeout'}"
        return f"{where}: the connection was lost ({type(cause).__name__}){doubt or '; try again'}"

    def without_token(self, text: str) -> str:
        """What a server says may repeat what it was sent."""
        token = self._configuration.api_key.get("authorization")
        return text.replace(token, "[token]") if token else text


def public(address: str) -> str:
    """The address without user name and password."""
    return re.sub(r"//[^/?#\s]*@", "//", address)


def is_object(data: bytes | str) -> bool:
    """Whether a reply is a JSON object, as every answer of these APIs is."""
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def kind_of(data: bytes | str) -> str:
    """What came instead, in words."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    if not text.strip():
        return "nothing"
    return "a page of HTML" if re.match(r"\s*<(!doctype|html|head|body)", text, re.IGNORECASE) else "something else"


def said_in(body: Any) -> str:
    """`: message` of an error reply (grpc-gateway's JSON, or a line of text); empty for a page."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        told = json.loads(text)
    except ValueError:
        told = "" if text.lstrip().startswith("<") else text
    if isinstance(told, dict):
        told = told.get("message") or told.get("error") or told.get("error_message") or ""
    words = " ".join(str(told).split())[:MAX_REASON]
    return f": {words}" if words else ""


@contextlib.contextmanager
def only_of_replies(client: str, message: str) -> Iterator[None]:
    """Turn what a generated client raises about a reply or a setting into one line; let faults of ours through.

    An exception is about a reply where it comes through the packages whose names begin with `client`, or where the
    modules here, which do little else than read replies, found something else than the API's models have. `message`
    has a place {words} for what it says.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frame, modules = error.__traceback__, []
        while frame:
            modules.append(frame.tb_frame.f_globals.get("__name__", ""))
            frame = frame.tb_next
        odd = isinstance(error, AttributeError | TypeError | KeyError | ValueError)
        ours = odd and modules[-1].startswith(__package__ or "i2i_unlearn.pipeline.cluster")
        if not ours and not any(module.startswith(client) for module in modules):
            raise
        words = " ".join(str(getattr(error, "reason", None) or error).split())[:MAX_REASON]
        raise Unreachable(message.replace("{words}", words)) from error
