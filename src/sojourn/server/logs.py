"""One line of JSON for each request: what was asked and how it went, with ids and without a word of what was said."""

from __future__ import annotations

import json
import logging
import time
import traceback
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sojourn.server.errors import problem_of, response_of

logger = logging.getLogger("sojourn.server")


class RequestLog:
    """The outermost layer: gives a request its trace id, logs it, and answers where everything else has failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["trace_id"] = trace = uuid.uuid4().hex
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), (b"x-trace-id", trace.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - nobody above answers in our shape
            _report(error, trace)
            if not status:
                await response_of(problem_of(error), scope)(scope, receive, sending)
        finally:
            logger.info("%s", _line(scope, state, status, time.monotonic() - began))


def _line(scope: Scope, state: dict[str, Any], status: int, seconds: float) -> str:
    route = getattr(scope.get("route"), "path", None)
    session = scope.get("path_params", {}).get("session_id") or state.get("session")
    told = {
        "event": "request",
        "method": scope["method"],
        # never the path itself, which may hold anything
        "path": route or "-",
        "status": status,
        "ms": round(seconds * 1000, 1),
        "user": state.get("user"),
        "session": session,
        "turn": state.get("turn"),
        "code": state.get("code"),
        "trace": state["trace_id"],
    }
    return json.dumps({name: found for name, found in told.items() if found is not None})


def _report(error: Exception, trace: str) -> None:
    """Where it broke, without its words: they may quote what somebody said."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    told = {"event": "internal_error", "error": type(error).__name__, "trace": trace, "frames": frames[-20:]}
    logger.error("%s", json.dumps(told))
