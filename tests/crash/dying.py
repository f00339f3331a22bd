"""A store that dies at a chosen operation, as the process around it would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sojourn.stores.sqlite.store import SqliteStore
from tests.model.runtime_nodes import OPERATIONS, Killed, Traffic


class DyingStore(SqliteStore):
    """Dies before or after its operation number `at` (from 1); 0 means never."""

    def __init__(self, path: str, traffic: Traffic, at: int = 0, *, after: bool = False) -> None:
        super().__init__(path, synchronous="OFF")  # processes die here, power stays
        self._at, self._after, self._traffic = at, after, traffic
        #: The operations that were begun, by name.
        self.begun: list[str] = []
        self.died = asyncio.Event()
        for name in OPERATIONS:
            setattr(self, name, partial(self._operate, name, getattr(self, name)))

    async def _operate(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        if self.died.is_set():
            raise Killed
        self.begun.append(name)
        fatal = len(self.begun) == self._at
        if fatal and not self._after:
            self._die()
        answer = await self._traffic.count(operation(*args, **options))
        if fatal or self.died.is_set():
            self._die()
        return answer

    def _die(self) -> None:
        self.died.set()
        raise Killed


async def stop_everything() -> None:
    """Every task but this one ends where it stands."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
