"""Large answers, made and sent piece by piece, so that nobody else waits for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse

from sojourn.server.wire.base import Wire

#: A list that is longer is sent in pieces.
LONG = 100

#: Items that are encoded at once, and lines that are sent at once.
PIECE = 50

T = TypeVar("T")


def in_pieces(
    name: str, items: Sequence[T], make: Callable[[T], Wire], rest: Mapping[str, Any] | None = None
) -> StreamingResponse:
    """A JSON object whose field `name` is a long list, with its other fields behind it."""
    return StreamingResponse(_object(name, items, make, rest or {}), media_type="application/json")


async def _object(
    name: str, items: Sequence[T], make: Callable[[T], Wire], rest: Mapping[str, Any]
) -> AsyncIterator[str]:
    yield f'{{"{name}":['
    for start in range(0, len(items), PIECE):
        piece = [make(one).model_dump_json(by_alias=True, exclude_unset=True) for one in items[start : start + PIECE]]
        yield ("," if start else "") + ",".join(piece)
        await asyncio.sleep(0)
    fields = "".join(f',"{field}":{json.dumps(value)}' for field, value in rest.items())
    yield f"]{fields}}}"


async def lines_in_pieces(lines: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Lines, several at once."""
    async with aclosing(lines):
        piece: list[str] = []
        async for line in lines:
            piece.append(line)
            if len(piece) == PIECE:
                yield "".join(piece)
                piece.clear()
                await asyncio.sleep(0)
        yield "".join(piece)
