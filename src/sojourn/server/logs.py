"""One line of JSON for each request: what was asked and how it went, with ids and without a word of what was said."""

from __future__ import annotations

import json
import logging
import time
import traceback
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sojourn.errors import InvalidSessionId
from sojourn.records import check_session_id
from sojourn.server.errors import problem_of, response_of

logger = logging.getLogger("sojourn.server")


class JsonLines(logging.Formatter):
    """Each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        told = getattr(record, "told", None) or {"message": record.getMessage()}
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name, **told}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


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
            _log(logging.INFO, _line(scope, state, status, time.monotonic() - began))


def _log(level: int, told: Mapping[str, Any]) -> None:
    logger.log(level, "%s", json.dumps(told), extra={"told": told})


def _line(scope: Scope, state: dict[str, Any], status: int, seconds: float) -> dict[str, Any]:
    route = getattr(scope.get("route"), "path", None)
    told = {
        "event": "request",
        "method": scope["method"],
        # never the path itself, which may hold anything
        "path": route or "-",
        "status": status,
        "ms": round(seconds * 1000, 1),
        "user": state.get("user"),
        "session": _session(scope, state),
        "turn": state.get("turn"),
        "code": state.get("code"),
        "trace": state["trace_id"],
    }
    return {name: found for name, found in told.items() if found is not None}


def _session(scope: Scope, state: dict[str, Any]) -> str | None:
    """The id of the session that it was about; what is no id may be anything, and is not logged."""
    named = scope.get("path_params", {}).get("session_id") or state.get("session")
    try:
        return None if named is None else check_session_id(named)
    except InvalidSessionId:
        return None


def _report(error: Exception, trace: str) -> None:
    """Where it broke, without its words: they may quote what somebody said."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    told = {"event": "internal_error", "error": type(error).__name__, "trace": trace, "frames": frames[-20:]}
    _log(logging.ERROR, told)
