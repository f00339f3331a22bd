"""Large answers, made and sent piece by piece, so that nobody else waits for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from fastapi.responses import StreamingResponse

from sojourn.records import Message
from sojourn.server import shapes

#: Messages that are encoded at once.
PIECE = 50


def history_stream(messages: Sequence[Message], *, busy: bool, limit: int | None) -> StreamingResponse:
    """A long history, as `wire.History` has it."""
    return StreamingResponse(_history(messages, busy=busy, limit=limit), media_type="application/json")


async def _history(messages: Sequence[Message], *, busy: bool, limit: int | None) -> AsyncIterator[str]:
    yield '{"history":['
    for start in range(0, len(messages), PIECE):
        piece = [shapes.message(one) for one in messages[start : start + PIECE]]
        texts = [one.model_dump_json(by_alias=True, exclude_unset=True) for one in piece]
        yield ("," if start else "") + ",".join(texts)
        await asyncio.sleep(0)
    more = f',"before":{messages[0].seq}' if limit is not None and len(messages) == limit else ""
    yield f'],"isBusy":{json.dumps(busy)}{more}}}'
