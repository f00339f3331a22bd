"""What the routes share: parameters, and the errors that every one of them may answer with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path, Query, Request
from pydantic import WithJsonSchema

from sojourn.server import described, wire

SessionId = Annotated[
    str,
    Path(
        description="1 to 128 of letters, digits and `._:@-`",
        examples=["support-42"],
        json_schema_extra=described.SESSION_ID,
    ),
]
OptionalSession = Annotated[
    str | None,
    WithJsonSchema(described.SESSION_ID),
    Query(alias="sessionId", description="about this session alone", examples=["support-42"]),
]
TurnNumber = Annotated[
    int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 2**53}), Path(description="a turn's number")
]
MadeId = Annotated[str, WithJsonSchema(described.MADE_ID), Path(max_length=128, description="its id, as listed")]
Key = Annotated[
    str | None,
    WithJsonSchema(described.KEY),
    Header(alias="Idempotency-Key", description="the same key with the same content never runs twice"),
]
LastEvent = Annotated[
    str | None,
    WithJsonSchema(described.EVENT_ID),
    Header(alias="Last-Event-ID", description="an event's id: what follows it is sent again"),
]

_TOLD = {
    400: "something in the request cannot be used",
    404: "there is no such thing",
    409: "not as things are now",
    413: "too large",
    422: "the key was used with other content",
    429: "too much is in line",
    502: "the agent or its model failed",
    503: "no place in memory, or the server is closing; see Retry-After",
}


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that are a route's own, for its description; 400 is always among them."""
    return {status: {"model": wire.ErrorAnswer, "description": _TOLD[status]} for status in (400, *statuses)}


def note(request: Request, *, session: str | None = None, turn: int | None = None) -> None:
    """Say in the log what a request was about."""
    if session is not None:
        request.scope["state"]["session"] = session
    if turn is not None:
        request.scope["state"]["turn"] = turn
