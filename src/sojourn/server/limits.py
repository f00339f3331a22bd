"""How much a request may send, and how long it may take over it."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sojourn.server.errors import Problem, response_of
from sojourn.server.service import Options, path_of

#: Where what is sent may be large: content, arguments that a person changed, exported sessions.
_LARGE = ("/api/message", "/api/steer/", "/api/follow-up/", "/api/approvals/", "/api/sessions/import")


class Limits:
    """Refuses headers and a body that are too large, before they are read, and a body that stops coming."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._options.max_headers:
            sentence = f"the headers have more than {self._options.max_headers:,} bytes, as many as are taken"
            await response_of(Problem("headers_too_large", sentence, {}, {}), scope)(scope, receive, send)
            return
        most = self._options.max_body
        if not path_of(scope).startswith(_LARGE):
            most = min(most, self._options.max_other_body)
        if _announced(scope) > most:
            problem = Problem("body_too_large", _too_large(most), {"limit": most}, {})
            await response_of(problem, scope)(scope, receive, send)
            return
        size, more = 0, True

        async def limited() -> Message:
            nonlocal size, more
            if not more:
                return await receive()  # only news that the client has left
            message = await self._soon(receive)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > most:
                raise HTTPException(413, _too_large(most))
            return message

        await self._app(scope, limited, send)

    async def _soon(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._options.body_timeout):
                return await receive()
        except TimeoutError:
            seconds = f"{self._options.body_timeout:g}"
            raise HTTPException(408, f"nothing of the body came for {seconds} s") from None


def _too_large(most: int) -> str:
    return f"the body has more than {most:,} bytes, as many as are taken; send less at once"


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
