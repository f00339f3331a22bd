"""One answer for all who ask the same at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Together:
    """Joins calls that have not begun. One that is under way is joined by nobody: what it finds may be old already."""

    def __init__(self) -> None:
        self._due: dict[Hashable, asyncio.Task[Any]] = {}

    async def __call__(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, called once for all who come with this key before it begins."""
        task = self._due.get(key)
        if task is None:
            task = self._due[key] = asyncio.create_task(self._begin(key, make), name="sojourn-together")
            task.add_done_callback(_seen)
        found: T = await asyncio.shield(task)
        return found

    async def _begin(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        del self._due[key]
        return await make()


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody may be left to see how it ended."""
    if not task.cancelled():
        task.exception()
