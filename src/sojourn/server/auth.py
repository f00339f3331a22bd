"""Who may ask: whoever holds the key, or where there is none, programs of this machine and no foreign web page."""

from __future__ import annotations

import ipaddress
import re
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sojourn.records import LOCAL_USER
from sojourn.server.errors import Refused, problem_of, response_of
from sojourn.server.service import Options, path_of

#: What anybody may read, whoever they are.
PUBLIC = frozenset({"/health", "/ready", "/openapi.json"})

#: Web pages of this machine, whatever their port.
LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Lets a request through, or says why not."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            scope["state"]["user"] = LOCAL_USER
            if (refused := self._refusal(scope)) is not None:
                await response_of(problem_of(refused), scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        if self._options.api_key is not None:
            return None if path_of(scope) in PUBLIC else _without_key(headers, self._options.api_key)
        # a web page of elsewhere could have its name point here, or post a form to here
        if self._options.local_only and not is_here(_host_of(headers.get("host", ""))):
            return Refused("host_not_allowed", "this server answers on localhost alone; set SOJOURN_API_KEY to open it")
        origin = headers.get("origin")
        if origin is None or scope["method"] in _SAFE or re.fullmatch(LOCAL_ORIGIN, origin):
            return None
        if origin.partition("://")[2] == headers.get("host"):
            return None
        return Refused(
            "origin_not_allowed", "web pages of other places may not do this; set SOJOURN_API_KEY to let them"
        )


def _without_key(headers: Headers, key: str) -> Refused | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secrets.compare_digest(token.strip().encode(), key.encode()):
        return None
    return Refused("unauthorized", "send the server's key as `Authorization: Bearer KEY`")


def is_here(host: str) -> bool:
    """Whether this name or address is of this machine alone, wherever it is asked."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
