"""Large answers, made and sent piece by piece, so that nobody else waits for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse

from sojourn.server.wire.base import Wire

#: A list that is longer is sent in pieces.
LONG = 100

#: So is one whose items have more characters than these.
LARGE = 256 * 1024

#: Items that are encoded at once, and lines that are sent at once; fewer where they have so many characters.
PIECE, SIZE = 50, 64 * 1024

T = TypeVar("T")


def is_long(items: Sequence[Any], sizes: Iterable[int] = ()) -> bool:
    """Whether a list is better sent in pieces: of so many items, or of some that are so large."""
    return len(items) > LONG or sum(sizes) > LARGE


def in_pieces(
    name: str, items: Sequence[T], make: Callable[[T], Wire], rest: Mapping[str, Any] | None = None
) -> StreamingResponse:
    """A JSON object whose field `name` is a long list, with its other fields behind it."""
    return StreamingResponse(_object(name, items, make, rest or {}), media_type="application/json")


async def _object(
    name: str, items: Sequence[T], make: Callable[[T], Wire], rest: Mapping[str, Any]
) -> AsyncIterator[str]:
    yield f'{{"{name}":['
    piece, separator = _Piece(), ""
    for one in items:
        if piece.add(separator + make(one).model_dump_json(by_alias=True, exclude_unset=True)):
            yield piece.taken()
            await asyncio.sleep(0)
        separator = ","
    yield piece.taken()
    fields = "".join(f',"{field}":{json.dumps(value)}' for field, value in rest.items())
    yield f"]{fields}}}"


async def lines_in_pieces(lines: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Lines, several at once."""
    async with aclosing(lines):
        piece = _Piece()
        async for line in lines:
            if piece.add(line):
                yield piece.taken()
                await asyncio.sleep(0)
        yield piece.taken()


class _Piece:
    """What is sent at once."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0

    def add(self, text: str) -> bool:
        """One more; True where it is time to send them."""
        self._texts.append(text)
        self._size += len(text)
        return len(self._texts) == PIECE or self._size >= SIZE

    def taken(self) -> str:
        """All of them; the next piece is empty."""
        found, self._texts, self._size = "".join(self._texts), [], 0
        return found
