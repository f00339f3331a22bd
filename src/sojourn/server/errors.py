"""Errors on the wire: one table from code to status, and one JSON shape for all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from sojourn.errors import InvalidInput, SessionLimitExceeded, SojournError

#: After how many seconds to try again where nothing better is known.
RETRY_AFTER = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """What an error is on the wire."""

    status: int
    scope: str
    type: str


def _kinds(status: int, type: str, **codes: str) -> dict[str, Kind]:
    return {code: Kind(status, scope, type) for scope, names in codes.items() for code in names.split()}


#: Every code that a client may see, and its status. What is not in it is an internal error.
KINDS: dict[str, Kind] = {
    **_kinds(
        400, "user",
        session="session_id_invalid fork_point_invalid export_invalid",
        request="invalid_input malformed_json bad_request",
        agent="agent_unsupported",
    ),
    **_kinds(401, "forbidden", request="unauthorized"),
    **_kinds(403, "forbidden", request="origin_not_allowed host_not_allowed"),
    **_kinds(
        404, "not_found",
        session="session_not_found turn_not_found",
        approval="approval_not_found",
        queue="steer_message_not_found follow_up_message_not_found",
        request="route_not_found remembered_not_found",
    ),
    **_kinds(405, "user", request="method_not_allowed"),
    **_kinds(408, "timeout", request="request_timeout"),
    **_kinds(
        409, "conflict",
        session="session_exists session_busy session_reentrant turn_cancelled turn_held",
        approval="approval_decided",
    ),
    **_kinds(412, "conflict", session="session_changed"),
    **_kinds(413, "user", request="body_too_large content_too_large"),
    **_kinds(415, "user", request="unsupported_media_type"),
    **_kinds(422, "conflict", session="idempotency_conflict"),
    **_kinds(431, "user", request="headers_too_large"),
    **_kinds(429, "rate_limit", queue="inbox_full"),
    **_kinds(
        500, "system",
        request="internal_error",
        config="config_invalid",
        storage="storage_error storage_read_only storage_corrupt storage_foreign storage_too_new",
    ),
    **_kinds(502, "third_party", llm="turn_failed model_failed model_request_limit prompt_failed"),
    **_kinds(502, "third_party", mcp="mcp_server_unavailable"),
    **_kinds(
        503, "system",
        session="session_max_sessions_exceeded ownership_lost",
        agent="runtime_closed",
        storage="storage_unavailable",
    ),
    **_kinds(507, "system", storage="storage_full"),
}  # fmt: skip

_INTERNAL = "internal_error"
_BY_STATUS = {
    400: "bad_request", 404: "route_not_found", 405: "method_not_allowed", 408: "request_timeout",
    413: "body_too_large", 415: "unsupported_media_type",
}  # fmt: skip

#: What an error says of itself beside its sentence. Never what was found: that may be somebody's text or key.
_CONTEXT = ("session", "turn", "approval", "state", "key", "limit", "max_sessions", "line")
_NAMES = {"session": "sessionId", "approval": "approvalId", "max_sessions": "maxSessions"}


class Refused(SojournError):
    """A request that the server itself refuses; `code` is a row of the table."""

    def __init__(self, code: str, sentence: str, **context: Any) -> None:
        self.refused, self.context = code, context
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it."""

    code: str
    message: str
    context: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def kind(self) -> Kind:
        """Its row of the table."""
        return KINDS[self.code]


def problem_of(error: BaseException) -> Problem:
    """What a client may know of an error; of one that nobody expected nothing."""
    if isinstance(error, Refused):
        headers = {"www-authenticate": "Bearer"} if error.refused == "unauthorized" else {}
        return Problem(error.refused, str(error), error.context, headers)
    if isinstance(error, SojournError) and error.code in KINDS:
        known = {_NAMES.get(name, name): found for name in _CONTEXT if (found := _plain(error, name)) is not None}
        if isinstance(error, InvalidInput):
            known["field"] = getattr(error, "what", "content")
        return Problem(error.code, str(error), known, _headers(error))
    return Problem(_INTERNAL, "the server failed at this; its log says more under the traceId", {}, {})


def _plain(error: SojournError, name: str) -> Any:
    found = getattr(error, name, None)
    return found if isinstance(found, str | int) else None


def _headers(error: SojournError) -> dict[str, str]:
    if KINDS[error.code].status != HTTPStatus.SERVICE_UNAVAILABLE:
        return {}
    wait = error.retry_after if isinstance(error, SessionLimitExceeded) else RETRY_AFTER
    return {"retry-after": str(max(1, math.ceil(wait)))}


def body_of(problem: Problem, trace_id: str, endpoint: str, method: str) -> dict[str, Any]:
    """The one shape of all errors."""
    shape: dict[str, Any] = {
        "code": problem.code,
        "message": problem.message,
        "scope": problem.kind.scope,
        "type": problem.kind.type,
        "traceId": trace_id,
        "endpoint": endpoint,
        "method": method,
    }
    return {**shape, "context": dict(problem.context)} if problem.context else shape


def response_of(problem: Problem, scope: Mapping[str, Any]) -> Response:
    """The answer to a request (its ASGI scope) that ended in this."""
    state = scope.get("state", {})
    state["code"] = problem.code
    body = body_of(problem, state.get("trace_id", ""), scope["path"], scope["method"])
    # escaped, since it may name what was sent, and half a character cannot be encoded
    return Response(json.dumps(body), problem.kind.status, headers=dict(problem.headers), media_type="application/json")


def install(app: FastAPI) -> None:
    """Let the application answer every error in this shape."""

    async def ours(request: Request, error: Exception) -> Response:
        return response_of(problem_of(error), request.scope)

    async def invalid(request: Request, error: Exception) -> Response:
        issues = error.errors() if isinstance(error, RequestValidationError) else []
        return response_of(_invalid(issues), request.scope)

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else ""
        headers = (error.headers or {}) if isinstance(error, HTTPException) else {}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(_allowed(app, request.scope))}
        problem = _http(status, detail, headers, request.scope)
        return response_of(problem, request.scope)

    app.add_exception_handler(SojournError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _allowed(app: FastAPI, scope: Mapping[str, Any]) -> list[str]:
    """The methods that the path has, over all its routes."""
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]


def _http(status: int, detail: str, headers: Mapping[str, str], scope: Mapping[str, Any]) -> Problem:
    code = _BY_STATUS.get(status, "bad_request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else _INTERNAL)
    sentence = {
        404: f"there is nothing at {scope['path'][:200]!r}; the paths are in {scope.get('root_path', '')}/openapi.json",
        405: f"{scope['method']} is not possible here; possible: {headers.get('Allow', 'another method')}",
    }.get(status, detail)
    return Problem(code, sentence, {}, headers)


def _invalid(issues: Sequence[Any]) -> Problem:
    """What is wrong with a request, without what it said."""
    if any(issue["type"] == "json_invalid" for issue in issues):
        return Problem("malformed_json", "the body is no JSON; send JSON with content-type: application/json", {}, {})
    found = [{"path": ".".join(map(str, issue["loc"])), "message": _sentence(issue)} for issue in issues[:20]]
    sentence = "; ".join(f"{one['path']}: {one['message']}" for one in found)
    return Problem("invalid_input", sentence, {"issues": found}, {})


def _sentence(issue: Mapping[str, Any]) -> str:
    if issue["type"] == "model_attributes_type" and tuple(issue["loc"]) == ("body",):
        return "found no JSON object; send one with content-type: application/json"
    text = str(issue["msg"])
    return text[:1].lower() + text[1:]
