"""What goes over the wire to Kubeflow Pipelines: always with a time limit, and what goes wrong is one line.

The client that kfp brings along sets no time limit, follows a redirect to a log-in page, and takes any reply for an
answer: of a page of HTML it makes an object in which everything is None.
"""

import json
import re
from typing import Any

import urllib3
from kfp_server_api import ApiException, Configuration
from kfp_server_api.rest import RESTClientObject, RESTResponse

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


class PatientRest(RESTClientObject):  # type: ignore[misc]  # untyped
    """kfp's own HTTP client with limits.

    A connection is tried three times, and a read (GET) whose answer got lost twice. What makes or changes something is
    sent once: whether it arrived is then for the caller to look up.
    """

    def __init__(self, configuration: Configuration, timeout_s: float) -> None:
        retries = urllib3.Retry(total=None, connect=2, read=1, redirect=False, status=0, other=0, backoff_factor=0.5)
        configuration.retries = retries
        super().__init__(configuration)
        self.host = public(configuration.host)
        self.timeout_s = timeout_s
        self._configuration = configuration

    def request(self, method: str, url: str, **how: Any) -> RESTResponse:
        """Send; return a reply that is a JSON object.

        Raises:
            Unreachable, Refused: with a line that holds no token.
        """
        how["_request_timeout"] = (min(CONNECT_S, self.timeout_s), self.timeout_s)
        try:
            reply = super().request(method, url, **how)
        except ApiException as error:
            raise self._of_status(error, method) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(self._of_connection(error, method)) from None
        except (ValueError, UnicodeError):  # its message would hold the header with the token
            raise UserError(
                "the token for Kubeflow Pipelines is not a single line of plain characters; correct it"
            ) from None
        if not is_object(reply.data):
            raise Unreachable(
                f"Kubeflow Pipelines at {self.host} sent {kind_of(reply.data)} where JSON was expected; the address is "
                "not that of the API, or a log-in page is in front of it: correct --host or give a token"
            )
        return reply

    def _of_status(self, error: ApiException, method: str) -> UserError:
        where, status = f"Kubeflow Pipelines at {self.host}", error.status or 0
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

    def _of_connection(self, error: Exception, method: str) -> str:
        cause: Any = getattr(error, "reason", None) or error
        where = f"Kubeflow Pipelines at {self.host}"
        words = " ".join(str(cause).split())
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


def is_object(data: bytes) -> bool:
    """Whether a reply is a JSON object, as every answer of these APIs is."""
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def kind_of(data: bytes) -> str:
    """What came instead, in words."""
    if not data.strip():
        return "nothing"
    return "a page of HTML" if re.match(rb"\s*<(!doctype|html|head|body)", data, re.IGNORECASE) else "something else"


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


def about_a_reply(error: Exception, client: str) -> bool:
    """Whether an exception is about a reply or a setting, and not about us.

    It is where it comes through the packages whose names begin with `client`, or where the modules here, which do
    little else than read replies, found something else than the API's models have.
    """
    frame, modules = error.__traceback__, []
    while frame:
        modules.append(frame.tb_frame.f_globals.get("__name__", ""))
        frame = frame.tb_next
    if any(module.startswith(client) for module in modules):
        return True
    odd = isinstance(error, AttributeError | TypeError | KeyError | ValueError)
    return odd and modules[-1].startswith(__package__ or "i2i_unlearn.pipeline.cluster")
