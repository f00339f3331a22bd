"""What is said into a running turn (steer) and after it (follow-up)."""

from __future__ import annotations

import re
from typing import Literal

from fastapi import APIRouter

from sojourn.records import InputKind, QueuedInput
from sojourn.server import bodies, shapes, wire
from sojourn.server.errors import Refused
from sojourn.server.routes.common import SessionId, may_fail
from sojourn.server.service import Caller
from sojourn.sessions.scope import Scope

router = APIRouter(tags=["queue"])

Line = Literal["steer", "follow-up"]

_KINDS: dict[str, frozenset[InputKind]] = {
    "steer": frozenset({InputKind.STEER}),
    # what waits for a turn of its own is said after this one as well
    "follow-up": frozenset({InputKind.FOLLOW_UP, InputKind.MESSAGE}),
}
_ID = re.compile(r"msg_([0-9]{1,15})")


@router.get(
    "/{line}/{session_id}", response_model=wire.Queue, response_model_exclude_unset=True, responses=may_fail(404)
)
async def get_line(line: Line, session_id: SessionId, caller: Caller) -> wire.Queue:
    """What is in line or held, in order."""
    found = [shapes.queued(one) for one in await _in_line(caller, session_id, line)]
    return wire.Queue(messages=found, count=len(found))


@router.post(
    "/{line}/{session_id}", status_code=201, response_model=wire.QueuedAnswer, responses=may_fail(404, 413, 429)
)
async def put_in_line(line: Line, session_id: SessionId, body: bodies.Queued, caller: Caller) -> wire.QueuedAnswer:
    """Put something in line; in a session at rest it is a message and runs at once."""
    say = caller.steer if line == "steer" else caller.follow_up
    queued = await say(session_id, body.content, create=False)
    return wire.QueuedAnswer(
        queued=True, id=shapes.queued_id(queued.position), position=queued.position, turn=queued.turn
    )


@router.delete("/{line}/{session_id}", response_model=wire.ClearedAnswer, responses=may_fail(404))
async def clear_line(line: Line, session_id: SessionId, caller: Caller) -> wire.ClearedAnswer:
    """Take everything out of the line."""
    removed = [await caller.remove(session_id, one.position) for one in await _in_line(caller, session_id, line)]
    return wire.ClearedAnswer(cleared=True, count=sum(removed))


@router.delete("/{line}/{session_id}/{message_id}", response_model=wire.RemovedAnswer, responses=may_fail(404))
async def remove_from_line(line: Line, session_id: SessionId, message_id: str, caller: Caller) -> wire.RemovedAnswer:
    """Take one out of the line."""
    found = _ID.fullmatch(message_id)
    there = {one.position for one in await _in_line(caller, session_id, line)}
    if found is None or int(found[1]) not in there or not await caller.remove(session_id, int(found[1])):
        code = "steer_message_not_found" if line == "steer" else "follow_up_message_not_found"
        raise Refused(code, f"session {session_id!r} has no such message in line; it may run already")
    return wire.RemovedAnswer(removed=True, id=message_id)


async def _in_line(caller: Scope, session: str, line: Line) -> list[QueuedInput]:
    return [one for one in await caller.inbox(session) if one.kind in _KINDS[line]]
