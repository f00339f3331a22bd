"""Sessions: what they are called, what was said in them, and what becomes of them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from pydantic import Field, WithJsonSchema

from sojourn.clock import from_ms
from sojourn.errors import SessionChanged, SessionExists
from sojourn.records import Direction, SessionOrder, SessionStatus
from sojourn.server import bodies, described, shapes, wire
from sojourn.server.pieces import in_pieces, is_long
from sojourn.server.routes.common import SessionId, TurnNumber, may_fail, note
from sojourn.server.service import Caller
from sojourn.sessions.searching import MAX_QUERY

router = APIRouter(prefix="/api", tags=["sessions"])

#: How many sessions a page has unless another size is asked for.
PAGE = 100

_TAGGED: dict[str, Any] = {
    "headers": {"ETag": {"description": "changes with the session", "schema": {"type": "string"}}}
}

#: A time since 1970; the last one is the end of the year 9999.
Milliseconds = Annotated[int, Field(ge=0, le=253_402_300_799_999)]


@router.get("/sessions", response_model=wire.SessionList, response_model_exclude_unset=True, responses=may_fail())
async def list_sessions(
    caller: Caller,
    query: Annotated[
        str | None, Query(alias="q", max_length=MAX_QUERY, description="words of the title or of a message")
    ] = None,
    *,
    status: Annotated[list[SessionStatus] | None, Query(description="they do this, or one of these")] = None,
    parent: Annotated[
        str | None,
        WithJsonSchema(described.SESSION_ID),
        Query(alias="parentSessionId", description="they were forked from this session"),
    ] = None,
    since: Annotated[Milliseconds | None, Query(alias="activeSince", description="active then or later")] = None,
    before: Annotated[Milliseconds | None, Query(alias="activeBefore", description="not active then or later")] = None,
    order: Annotated[SessionOrder, Query(description="what they go by")] = SessionOrder.ACTIVITY,
    direction: Annotated[
        Direction | None, Query(description="without it the newest or the smallest id comes first")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="how many at most")] = PAGE,
    after: Annotated[str | None, Query(description="the `next` of the page before, in the same order")] = None,
) -> wire.SessionList | Response:
    """A page of sessions, newest activity first unless another order is asked for."""
    page = await caller.sessions(
        query=query, status=status, parent=parent, active_since=None if since is None else from_ms(since),
        active_before=None if before is None else from_ms(before), order=order, direction=direction, limit=limit,
        after=after,
    )  # fmt: skip
    if is_long(page.sessions):
        return in_pieces("sessions", page.sessions, shapes.session_meta, {"next": page.next})
    return wire.SessionList(sessions=[shapes.session_meta(one) for one in page.sessions], next=page.next)


@router.post(
    "/sessions", status_code=201, response_model=wire.OneSession, response_model_exclude_unset=True,
    responses={200: {"model": wire.OneSession, "description": "it was there already"}, **may_fail()},
)  # fmt: skip
async def create_session(
    request: Request, response: Response, caller: Caller, body: Annotated[bodies.NewSession | None, Body()] = None
) -> wire.OneSession:
    """Begin a session; one that is there already is given as it is."""
    wanted = body or bodies.NewSession()
    try:
        session = await caller.create(wanted.session_id, title=wanted.title)
    except SessionExists as there:
        session = await caller.get(there.session)
        response.status_code = 200
    note(request, session=session.id)
    return wire.OneSession(session=shapes.session_meta(session))


@router.get(
    "/sessions/{session_id}", response_model=wire.OneSessionDetail, response_model_exclude_unset=True,
    responses={200: _TAGGED, 304: {"description": "it is as If-None-Match says"}, **may_fail(404)},
)  # fmt: skip
async def get_session(
    session_id: SessionId,
    response: Response,
    caller: Caller,
    known: Annotated[str | None, Header(alias="If-None-Match", description="an ETag that is known")] = None,
) -> wire.OneSessionDetail | Response:
    """What is known of a session, with an ETag."""
    session = await caller.get(session_id)
    tag = _etag(shapes.session_meta(session))
    if _names(known, tag):
        return Response(status_code=304, headers={"etag": tag})
    response.headers["etag"] = tag
    detail = wire.SessionDetail(**shapes.session_fields(session), history=session.message_count)
    return wire.OneSessionDetail(session=detail)


@router.patch(
    "/sessions/{session_id}", response_model=wire.OneSession, response_model_exclude_unset=True,
    responses={
        200: _TAGGED, 412: {"model": wire.ErrorAnswer, "description": "it is not as If-Match says"}, **may_fail(404)
    },
)  # fmt: skip
async def rename_session(
    session_id: SessionId,
    body: bodies.Rename,
    response: Response,
    caller: Caller,
    expected: Annotated[str | None, Header(alias="If-Match", description="the ETag that it must have")] = None,
) -> wire.OneSession:
    """Give a session another title; with `If-Match` only if it is as it was then."""
    seen = None
    if expected is not None and expected.strip() != "*":  # that only asks for a session that is there
        seen = await caller.get(session_id)
        if not _names(expected, _etag(shapes.session_meta(seen))):
            raise SessionChanged(session_id)
    meta = shapes.session_meta(await caller.rename(session_id, body.title, unless_changed=seen))
    response.headers["etag"] = _etag(meta)
    return wire.OneSession(session=meta)


@router.delete("/sessions/{session_id}", response_model=wire.SessionStatusAnswer, responses=may_fail())
async def delete_session(session_id: SessionId, caller: Caller) -> wire.SessionStatusAnswer:
    """Remove every trace of a session, also while it is busy; one that is not there is gone already."""
    await caller.delete(session_id)
    return wire.SessionStatusAnswer(status="deleted", session_id=session_id)


@router.get(
    "/sessions/{session_id}/history", response_model=wire.History, response_model_exclude_unset=True,
    responses=may_fail(404),
)  # fmt: skip
async def get_history(
    session_id: SessionId,
    caller: Caller,
    limit: Annotated[int | None, Query(ge=1, le=1000, description="the newest so many; all without it")] = None,
    before: Annotated[int | None, Query(ge=0, le=2**53, description="only messages with a smaller `seq`")] = None,
) -> wire.History | Response:
    """Messages as they were said, oldest first: all, or a window of them."""
    session = await caller.get(session_id)
    messages = await caller.history(session_id, before=before, limit=limit)
    busy = shapes.is_busy(session)
    more = {"before": messages[0].seq} if limit is not None and len(messages) == limit else {}
    if is_long(messages, map(shapes.size, messages)):
        return in_pieces("history", messages, shapes.message, {"isBusy": busy, **more})
    return wire.History(history=[shapes.message(one) for one in messages], is_busy=busy, **more)


@router.get(
    "/sessions/{session_id}/load", response_model=wire.OneSessionLoaded, response_model_exclude_unset=True,
    responses=may_fail(404),
)  # fmt: skip
async def load_session(session_id: SessionId, caller: Caller) -> wire.OneSessionLoaded:
    """What a client needs that opens a session; nothing is loaded into memory by it."""
    return wire.OneSessionLoaded(session=shapes.session_loaded(await caller.get(session_id)))


@router.post(
    "/sessions/{session_id}/fork", status_code=201, response_model=wire.OneSession, response_model_exclude_unset=True,
    responses=may_fail(404, 409),
)  # fmt: skip
async def fork_session(
    session_id: SessionId, caller: Caller, body: Annotated[bodies.Fork | None, Body()] = None
) -> wire.OneSession:
    """A new session with the same history, up to the end of a finished turn."""
    wanted = body or bodies.Fork()
    child = await caller.fork(session_id, at=wanted.at, new_id=wanted.session_id, title=wanted.title)
    return wire.OneSession(session=shapes.session_meta(child))


@router.post("/sessions/{session_id}/cancel", response_model=wire.CancelAnswer, responses=may_fail(404))
async def cancel_turn(
    session_id: SessionId, caller: Caller, body: Annotated[bodies.Cancel | None, Body()] = None
) -> wire.CancelAnswer:
    """Cancel what runs; what is in line runs on, unless it is to be cleared as well."""
    wanted = body or bodies.Cancel()
    queued = await caller.inbox(session_id) if wanted.clear_queue else []
    cancelled = await caller.cancel(session_id, turn=wanted.turn, clear=wanted.clear_queue)
    left = {one.position for one in await caller.inbox(session_id)} if queued else set()
    cleared = sum(one.position not in left for one in queued)
    return wire.CancelAnswer(
        cancelled=cancelled, session_id=session_id, queue_cleared=wanted.clear_queue, cleared_count=cleared
    )


@router.post("/reset", response_model=wire.SessionStatusAnswer, responses=may_fail(404))
async def reset_session(body: bodies.SessionName, request: Request, caller: Caller) -> wire.SessionStatusAnswer:
    """Forget history and queue, keep the session; what runs is cut."""
    note(request, session=body.session_id)
    await caller.reset(body.session_id)
    return wire.SessionStatusAnswer(status="reset initiated", session_id=body.session_id)


@router.post("/sessions/{session_id}/generate-title", response_model=wire.TitleAnswer, responses=may_fail(404))
async def generate_title(session_id: SessionId, caller: Caller) -> wire.TitleAnswer:
    """The title: what it was given, or made from the first message; null before there is one."""
    return wire.TitleAnswer(title=(await caller.get(session_id)).title, session_id=session_id)


@router.post(
    "/sessions/{session_id}/clear-context", response_model=wire.SessionStatusAnswer,
    responses=may_fail(404, 409),
)  # fmt: skip
async def clear_context(session_id: SessionId, caller: Caller) -> wire.SessionStatusAnswer:
    """Send the model only what comes after, from now on; the history stays, and is shown as before."""
    await caller.clear_context(session_id)
    return wire.SessionStatusAnswer(status="context cleared", session_id=session_id)


@router.post("/sessions/{session_id}/unload", response_model=wire.UnloadAnswer, responses=may_fail(409))
async def unload_session(session_id: SessionId, caller: Caller) -> wire.UnloadAnswer:
    """Drop a session from memory now; it comes back by itself."""
    return wire.UnloadAnswer(unloaded=await caller.unload(session_id), session_id=session_id)


@router.get("/sessions/{session_id}/state", response_model=wire.StateAnswer, responses=may_fail(404))
async def get_state(session_id: SessionId, caller: Caller) -> wire.StateAnswer:
    """What the agent's tools keep of the session."""
    return wire.StateAnswer(state=shapes.sendable(dict(await caller.state(session_id))), session_id=session_id)


@router.put("/sessions/{session_id}/state", response_model=wire.StateAnswer, responses=may_fail(404, 409))
async def put_state(session_id: SessionId, body: bodies.State, caller: Caller) -> wire.StateAnswer:
    """Replace it, while no turn runs."""
    await caller.set_state(session_id, body.state)
    return wire.StateAnswer(state=shapes.sendable(body.state), session_id=session_id)


@router.get("/sessions/{session_id}/turns", response_model=wire.TurnList, responses=may_fail(404))
async def get_turns(session_id: SessionId, caller: Caller) -> wire.TurnList | Response:
    """The session's turns, oldest first."""
    turns = await caller.turns(session_id)
    if is_long(turns):
        return in_pieces("turns", turns, shapes.turn)
    return wire.TurnList(turns=[shapes.turn(one) for one in turns])


@router.get("/sessions/{session_id}/turns/{turn}", response_model=wire.TurnInfo, responses=may_fail(404))
async def get_turn(session_id: SessionId, turn: TurnNumber, caller: Caller) -> wire.TurnInfo:
    """One turn: where it stands and what it has used."""
    return shapes.turn(await caller.turn(session_id, turn))


@router.post("/sessions/{session_id}/resume", response_model=wire.TurnNumbers, responses=may_fail(404))
async def resume_turns(session_id: SessionId, caller: Caller) -> wire.TurnNumbers:
    """Let held turns run."""
    return wire.TurnNumbers(turns=list(await caller.resume(session_id)), session_id=session_id)


@router.post("/sessions/{session_id}/discard", response_model=wire.TurnNumbers, responses=may_fail(404))
async def discard_turns(
    session_id: SessionId, caller: Caller, body: Annotated[bodies.Discard | None, Body()] = None
) -> wire.TurnNumbers:
    """Cancel held turns, or one of them."""
    turn = None if body is None else body.turn
    return wire.TurnNumbers(turns=list(await caller.discard(session_id, turn=turn)), session_id=session_id)


def _etag(meta: wire.SessionMetadata) -> str:
    return f'"{hashlib.sha256(meta.model_dump_json().encode()).hexdigest()[:32]}"'


def _names(header: str | None, tag: str) -> bool:
    """Whether a header of entity tags names this one."""
    return header is not None and (
        header.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in header.split(",")]
    )
