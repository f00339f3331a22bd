"""Who may ask: whoever holds the key, or where there is none, programs of this machine and no foreign web page."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sojourn.records import LOCAL_USER
from sojourn.server.errors import Refused, problem_of, response_of
from sojourn.server.service import Options

#: What anybody may read, whoever they are.
PUBLIC = frozenset({"/health", "/ready", "/openapi.json"})

#: Web pages of this machine, whatever their port.
LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
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
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            return None if path in PUBLIC else _without_key(headers, self._options.api_key)
        # a web page of elsewhere could have its name point here, or post a form to here
        if self._options.local_only and _host_of(headers.get("host", "")) not in _LOCAL_NAMES:
            return Refused("host_not_allowed", "this server answers on localhost alone; set SOJOURN_API_KEY to open it")
        origin = headers.get("origin")
        if origin is None or scope["method"] in _SAFE or re.fullmatch(LOCAL_ORIGIN, origin):
            return None
        if urlsplit(origin).netloc == headers.get("host"):
            return None
        return Refused(
            "origin_not_allowed", "web pages of other places may not do this; set SOJOURN_API_KEY to let them"
        )


def _without_key(headers: Headers, key: str) -> Refused | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secrets.compare_digest(token.strip().encode(), key.encode()):
        return None
    return Refused("unauthorized", "send the server's key as `Authorization: Bearer KEY`")


def _host_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
