"""What is said into a running turn (steer) and after it (follow-up)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request

from sojourn.records import InputKind, QueuedInput
from sojourn.server import bodies, shapes, wire
from sojourn.server.errors import Refused
from sojourn.server.routes.common import SessionId, may_fail, note
from sojourn.server.service import Caller
from sojourn.sessions.scope import Scope

_ID = re.compile(r"msg_([0-9]{1,15})")

InLine = Annotated[str, Path(description="its id, as listed", examples=["msg_7"])]


def _router(line: str, kinds: frozenset[InputKind], missing: str) -> APIRouter:
    """The routes of one of the two lines, which differ in what they hold alone."""
    router = APIRouter(prefix=f"/api/{line}", tags=["queue"])

    async def in_line(caller: Scope, session: str) -> list[QueuedInput]:
        return [one for one in await caller.inbox(session) if one.kind in kinds]

    @router.get(
        "/{session_id}", response_model=wire.Queue, response_model_exclude_unset=True, responses=may_fail(404),
        summary=f"List {line}s",
    )  # fmt: skip
    async def get_line(session_id: SessionId, caller: Caller) -> wire.Queue:
        """What is in line or held, in order."""
        found = [shapes.queued(one) for one in await in_line(caller, session_id)]
        return wire.Queue(messages=found, count=len(found))

    @router.post(
        "/{session_id}", status_code=201, response_model=wire.QueuedAnswer, responses=may_fail(404, 413, 429),
        summary=f"Put a {line} in line",
    )  # fmt: skip
    async def put_in_line(
        session_id: SessionId, body: bodies.Queued, request: Request, caller: Caller
    ) -> wire.QueuedAnswer:
        """Put something in line; in a session at rest it is a message and runs at once."""
        say = caller.steer if InputKind.STEER in kinds else caller.follow_up
        queued = await say(session_id, body.content, create=False)
        note(request, turn=queued.turn)
        return wire.QueuedAnswer(
            queued=True, id=shapes.queued_id(queued.position), position=queued.position, turn=queued.turn
        )

    @router.delete(
        "/{session_id}", response_model=wire.ClearedAnswer, responses=may_fail(404), summary=f"Remove all {line}s"
    )  # fmt: skip
    async def clear_line(session_id: SessionId, caller: Caller) -> wire.ClearedAnswer:
        """Take everything out of the line."""
        removed = [await caller.remove(session_id, one.position) for one in await in_line(caller, session_id)]
        return wire.ClearedAnswer(cleared=True, count=sum(removed))

    @router.delete(
        "/{session_id}/{message_id}", response_model=wire.RemovedAnswer, responses=may_fail(404),
        summary=f"Remove a {line}",
    )  # fmt: skip
    async def remove_from_line(session_id: SessionId, message_id: InLine, caller: Caller) -> wire.RemovedAnswer:
        """Take one out of the line."""
        found = _ID.fullmatch(message_id)
        there = {one.position for one in await in_line(caller, session_id)}
        if found is None or int(found[1]) not in there or not await caller.remove(session_id, int(found[1])):
            raise Refused(missing, f"session {session_id!r} has no such message in line; it may run already")
        return wire.RemovedAnswer(removed=True, id=message_id)

    return router


router = APIRouter()
router.include_router(_router("steer", frozenset({InputKind.STEER}), "steer_message_not_found"))
# what waits for a turn of its own is said after this one as well
router.include_router(
    _router("follow-up", frozenset({InputKind.FOLLOW_UP, InputKind.MESSAGE}), "follow_up_message_not_found")
)
