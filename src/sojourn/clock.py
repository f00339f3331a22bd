"""Time, injected: everything that waits or stamps takes it from a `Clock`, so that tests own it."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """What `call_later` gives: something that can be called off."""

    def cancel(self) -> None:
        """Forget the callback; harmless when it has run."""


class Clock(ABC):
    """Wall time for records, monotonic time for intervals, and callbacks after an interval."""

    @abstractmethod
    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970, UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never go back."""

    @abstractmethod
    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop after `delay` seconds of monotonic time."""

    def now(self) -> datetime:
        """Wall time as a UTC datetime."""
        return from_ms(self.now_ms())

    async def sleep(self, delay: float) -> None:
        """Wait for `delay` seconds of this clock's monotonic time."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()


class SystemClock(Clock):
    """The machine's own time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)


def from_ms(milliseconds: int) -> datetime:
    """A UTC datetime from milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
