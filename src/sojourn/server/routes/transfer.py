"""Sessions as JSON Lines: out and in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from sojourn.errors import ExportInvalid
from sojourn.server import shapes, wire
from sojourn.server.pieces import lines_in_pieces
from sojourn.server.routes.common import SessionId, may_fail, note
from sojourn.server.service import Caller

router = APIRouter(prefix="/api", tags=["sessions"])

MEDIA_TYPE = "application/x-ndjson"

_LINES = {"schema": {"type": "string"}, "example": '{"sojourn":1,"id":"support-42","title":"Colours"}\n'}


@router.get(
    "/sessions/{session_id}/export", response_class=StreamingResponse,
    responses={200: {"description": "JSON Lines", "content": {MEDIA_TYPE: _LINES}}, **may_fail(404)},
)  # fmt: skip
async def export_session(session_id: SessionId, caller: Caller) -> StreamingResponse:
    """The session up to its last finished turn, line by line."""
    lines = caller.export(session_id)
    first = await anext(lines)  # before anything is sent: there may be no such session
    disposition = f'attachment; filename="{session_id}.jsonl"'
    return StreamingResponse(
        lines_in_pieces(_all(first, lines)), media_type=MEDIA_TYPE, headers={"content-disposition": disposition}
    )


async def _all(first: str, lines: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line


@router.post(
    "/sessions/import", status_code=201, response_model=wire.OneSession, response_model_exclude_unset=True,
    responses=may_fail(409, 413),
    openapi_extra={"requestBody": {"required": True, "content": {MEDIA_TYPE: _LINES}}},
)  # fmt: skip
async def import_session(
    request: Request,
    caller: Caller,
    new_id: Annotated[str | None, Query(alias="sessionId", description="another id than it had")] = None,
) -> wire.OneSession:
    """Store an exported session, whole or not at all."""
    session = await caller.load(_lines(request), id=new_id)
    note(request, session=session.id)
    return wire.OneSession(session=shapes.session_meta(session))


async def _lines(request: Request) -> AsyncGenerator[str]:
    rest, number = b"", 0
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield _text(line, number)
    if rest:
        yield _text(rest, number + 1)


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ExportInvalid(number, "bytes", "text in UTF-8") from error
