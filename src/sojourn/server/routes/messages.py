"""Saying something: and leaving, waiting for the answer, or following the turn."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from sojourn.server import bodies, described, shapes, wire
from sojourn.server.calls import Calls
from sojourn.server.routes.common import Key, LastEvent, SessionId, may_fail, note
from sojourn.server.service import Caller, Serving
from sojourn.server.sse import EventStream
from sojourn.server.streams import session_stream, turn_stream

router = APIRouter(prefix="/api", tags=["messages"])

_TURN: dict[str, Any] = {"headers": {"X-Turn": {"description": "the turn's number", "schema": {"type": "integer"}}}}

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the events, as server-sent events",
        "content": {
            "text/event-stream": {
                "schema": described.EVENT,
                "example": 'id: 1\nevent: llm:thinking\ndata: {"name":"llm:thinking","sessionId":"support-42"}\n\n',
            }
        },
    }
}


@router.post(
    "/message",
    status_code=202,
    response_model=wire.MessageAccepted,
    responses={202: _TURN, **may_fail(409, 413, 422, 429, 503)},
    summary="Say something and leave",
)
async def post_message(
    body: bodies.NewMessage, request: Request, response: Response, caller: Caller, key: Key = None
) -> wire.MessageAccepted:
    """Answers when the input is durable; its turn runs when there is a place for it."""
    note(request, session=body.session_id)
    turn = await caller.submit(body.session_id, body.content, key=key, busy=body.busy)
    note(request, turn=turn.turn)
    response.headers["x-turn"] = str(turn.turn)
    return wire.MessageAccepted(accepted=True, session_id=body.session_id, turn=turn.turn)


@router.post(
    "/message-sync",
    response_model=wire.MessageAnswer,
    response_model_exclude_unset=True,
    responses=may_fail(409, 413, 422, 502, 503),
    summary="Say something and wait for the answer",
)
async def post_message_sync(
    body: bodies.NewMessage, request: Request, caller: Caller, key: Key = None
) -> wire.MessageAnswer:
    """Answers when the turn ends, or stops for people: then `finishReason` is `waiting`."""
    note(request, session=body.session_id)
    reply = await caller.send(body.session_id, body.content, key=key, busy=body.busy)
    note(request, turn=reply.turn)
    calls = Calls(caller, body.session_id)
    asked = [shapes.approval(one, await calls.id_of(one)) for one in reply.approvals]
    return shapes.reply(body.session_id, reply, asked)


@router.post(
    "/message-stream",
    status_code=200,
    response_class=EventStream,
    responses={200: {**_STREAM[200], **_TURN}, **may_fail(409, 413, 422, 503)},
    summary="Say something and follow the turn",
)
async def post_message_stream(
    body: bodies.NewMessage,
    request: Request,
    caller: Caller,
    service: Serving,
    *,
    key: Key = None,
    last: LastEvent = None,
    until: Annotated[
        str, Query(pattern="^(end|waiting)$", description="where a turn that waits for people ends it")
    ] = "end",
) -> EventStream:
    """The turn's events; the last one is `run:complete`. A busy session's turn waits in line."""
    note(request, session=body.session_id)
    turn, events = await caller.begin(body.session_id, body.content, key=key, busy=body.busy, after=last)
    note(request, turn=turn.turn)
    stream = turn_stream(caller, body.session_id, turn.turn, events, after=last, until_waiting=until == "waiting")
    return EventStream(stream, heartbeat=service.options.heartbeat, headers={"x-turn": str(turn.turn)})


@router.get(
    "/sessions/{session_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={**_STREAM, **may_fail(404, 503)},
    summary="Follow a session",
)
async def get_events(session_id: SessionId, caller: Caller, service: Serving, last: LastEvent = None) -> EventStream:
    """What happens in the session from now on, or behind `Last-Event-ID`, whether it is busy or not."""
    events, shared = await caller.follow(session_id, after=last), service.watched.of(caller.user, session_id)
    stream = session_stream(caller, session_id, events, shared, after=last)
    return EventStream(stream, heartbeat=service.options.heartbeat, headers={})
