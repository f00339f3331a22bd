"""Which failures of a model request may pass by themselves, so that asking again is worth it.

The libraries of the providers are known by the names of their exceptions: a library that was not imported raised
nothing, and importing it to find that out costs seconds.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_ai import exceptions

_LOST = "the connection to the model's provider was lost"
UNREACHABLE = "the model's provider could not be reached"
_SLOW = "the model's provider did not answer in time"
_LIMITED = "the model's provider limits requests"
_OVERLOADED = "the model's provider is overloaded"
_FAILED = "the model's provider failed"
_CONFLICT = "the model's provider was not ready for the request"

#: What an HTTP status says. 409 is how some providers report a lock that could not be had in time; their own
#: libraries repeat it too.
_STATUSES = {408: _SLOW, 409: _CONFLICT, 425: _CONFLICT, 429: _LIMITED, 503: _OVERLOADED, 504: _SLOW, 529: _OVERLOADED}
#: Not implemented, and a version of HTTP that is not spoken: the next answer is the same.
_SETTLED_STATUSES = {501, 505}

#: A 429 that is no limit of a rate but an account without money: waiting does not help.
_NO_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_error", "ServiceQuotaExceededException"}
)

_CATEGORIES: tuple[tuple[type[exceptions.ModelAPIError], str], ...] = (
    (exceptions.ModelTimeoutError, _SLOW),
    (exceptions.ModelRequestTimeout, _SLOW),
    (exceptions.ModelRateLimitError, _LIMITED),
    (exceptions.ModelOverloadedError, _OVERLOADED),
    (exceptions.ModelUnavailableError, _OVERLOADED),
    (exceptions.ModelServerError, _FAILED),
)

#: Exceptions of HTTP libraries and providers' libraries, by package and name, the special before the general.
_NAMES: dict[tuple[str, str], str] = {
    **{
        (package, name): reason
        for package in ("httpx", "httpx2", "httpcore", "httpcore2")
        for name, reason in {
            "ConnectError": UNREACHABLE,
            "ConnectTimeout": UNREACHABLE,
            "ProxyError": UNREACHABLE,
            "TimeoutException": _SLOW,
            "NetworkError": _LOST,
            "RemoteProtocolError": _LOST,
        }.items()
    },
    **{
        (package, name): reason
        for package in ("openai", "anthropic", "groq")
        for name, reason in {"APITimeoutError": _SLOW, "APIConnectionError": UNREACHABLE}.items()
    },
    ("anthropic", "OverloadedError"): _OVERLOADED,
    ("botocore", "ReadTimeoutError"): _SLOW,
    ("botocore", "ConnectTimeoutError"): UNREACHABLE,
    ("botocore", "ConnectionClosedError"): _LOST,
    ("botocore", "ResponseStreamingError"): _LOST,
    ("botocore", "HTTPClientError"): _LOST,
    ("botocore", "EndpointConnectionError"): UNREACHABLE,
    ("botocore", "ConnectionError"): UNREACHABLE,
    ("urllib3", "ReadTimeoutError"): _SLOW,
    ("urllib3", "ProtocolError"): _LOST,
    ("requests", "Timeout"): _SLOW,
    ("requests", "ConnectionError"): UNREACHABLE,
    ("aiohttp", "ServerTimeoutError"): _SLOW,
    ("aiohttp", "ClientConnectionError"): _LOST,
    ("aiohttp", "ClientPayloadError"): _LOST,
    ("google", "TransportError"): UNREACHABLE,
}

#: Failures that look like one of the network and are one of the configuration: an address or a header that cannot be
#: sent, a certificate that is not trusted.
_SETTLED_NAMES = frozenset({"UnsupportedProtocol", "LocalProtocolError", "InvalidURL", "TooManyRedirects"})

_GRPC = {
    "UNAVAILABLE": UNREACHABLE,
    "DEADLINE_EXCEEDED": _SLOW,
    "RESOURCE_EXHAUSTED": _LIMITED,
    "ABORTED": _CONFLICT,
    "INTERNAL": _FAILED,
}


@dataclass(frozen=True, slots=True)
class Passing:
    """A failure that may pass."""

    #: What happened, for people: no full stop, and nothing of what the provider sent but its status.
    reason: str
    #: Seconds that the provider asked to wait; None where it did not say.
    wait: float | None = None


def passing_failure(error: BaseException) -> Passing | None:
    """What is to be said and waited for if the error may pass, or None if asking again would fail the same way.

    Judges the error and its causes, whoever raised it: to be asked about failures of a model request only.
    """
    # Some libraries raise theirs beside the first error, or hide it. It may still say that asking again is useless;
    # that it is not, only a cause may say, because anything may be raised while something else is handled.
    if any(_settled(link) for link in _chain(error, beside=True)):
        return None
    chain = list(_chain(error))
    reason = next((verdict for link in chain if (verdict := _verdict(link)) is not None), "")
    if not reason:
        return None
    wait = next((wait for link in chain if (wait := _wait(link)) is not None), None)
    return Passing(reason, wait)


def _chain(error: BaseException, *, beside: bool = False) -> Iterator[BaseException]:
    """The error, what it was raised from (or beside), and so on; a group of one is what it holds."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            link = link.exceptions[0] if len(link.exceptions) == 1 else None
        else:
            link = link.__cause__ or (link.__context__ if beside else None)


def _settled(error: BaseException) -> bool:
    """Whether this alone, wherever it is in the chain, says that asking again is useless."""
    if isinstance(error, exceptions.ModelQuotaExceededError | exceptions.ModelRequestRejectedError):
        return True
    if isinstance(error, ssl.SSLCertVerificationError) or type(error).__name__ in _SETTLED_NAMES:
        return True
    return _code(error) in _NO_MONEY or _headers(error).get("x-should-retry", "").strip().lower() == "false"


def _verdict(error: BaseException) -> str | None:
    """Why the error may pass, "" if it does not, None if it does not say and its cause has to be asked."""
    category, status = _category(error), _status(error)
    if status is not None:
        reason = category or _status_reason(status)
        return reason and f"{reason} (HTTP {status})"
    return category or _transport(error) or _grpc(error) or _in_stream(error)


def _category(error: BaseException) -> str | None:
    return next((reason for kind, reason in _CATEGORIES if isinstance(error, kind)), None)


def _status_reason(status: int) -> str:
    if status in _STATUSES:
        return _STATUSES[status]
    return _FAILED if 500 <= status < 600 and status not in _SETTLED_STATUSES else ""  # noqa: PLR2004 - as HTTP has it


def _transport(error: BaseException) -> str | None:
    for kind in type(error).__mro__:
        if reason := _NAMES.get((kind.__module__.partition(".")[0], kind.__name__)):
            return reason
    if isinstance(error, exceptions.ModelConnectionError):
        return UNREACHABLE if error.phase in ("pool", "connect") else _LOST
    if isinstance(error, TimeoutError):
        return _SLOW
    return _LOST if isinstance(error, ConnectionError) else None


def _grpc(error: BaseException) -> str | None:
    if type(error).__module__.partition(".")[0] != "grpc":
        return None
    code = getattr(error, "code", None)
    return _GRPC.get(getattr(code(), "name", "")) if callable(code) else None


def _in_stream(error: BaseException) -> str | None:
    """An error without a known kind inside an answer: the request itself had been accepted."""
    return _FAILED if isinstance(error, exceptions.ModelAPIError) and error.in_stream else None


def _status(error: BaseException) -> int | None:
    """The HTTP status, from wherever the library keeps it; a redirect or a success is none."""
    found: Any = getattr(error, "status_code", None)
    if not isinstance(found, int):
        found = _aws(error).get("HTTPStatusCode")
    if not isinstance(found, int):
        # google.genai has it in `code`; gRPC has a method of that name.
        found = getattr(error, "code", None)
    if not isinstance(found, int):
        found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) and 400 <= found < 600 else None  # noqa: PLR2004 - as HTTP has it


def _code(error: BaseException) -> str | None:
    """The provider's own name for the error."""
    response = getattr(error, "response", None)
    aws = response.get("Error") if isinstance(response, dict) else None
    if isinstance(aws, dict):
        return str(aws.get("Code"))
    for name in ("provider_error_code", "provider_error_type", "code", "type"):
        if (found := getattr(error, name, None)) in _NO_MONEY:
            return str(found)
    return None


def _aws(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata") if isinstance(response, dict) else None
    return found if isinstance(found, dict) else {}


def _headers(error: BaseException) -> dict[str, str]:
    found: Any = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(found, Mapping):
        found = _aws(error).get("HTTPHeaders")
    return {str(key).lower(): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def _wait(error: BaseException) -> float | None:
    if isinstance(error, exceptions.ModelAPIError) and error.retry_after is not None:
        return error.retry_after
    headers = _headers(error)
    milliseconds = _seconds(headers.get("retry-after-ms"))
    return milliseconds / 1000 if milliseconds is not None else _retry_after(headers.get("retry-after"))


def _retry_after(value: str | None) -> float | None:
    """Seconds from a `Retry-After` header: a number of them, or a date."""
    if value is None:
        return None
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    # A provider's date can only be compared with the wall clock of this machine.
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
