"""What the core's tests share: runtimes on one database, scripts that wait for the test, stores listened to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from sojourn.abc import Engine, Run, SessionStore, Step
from sojourn.errors import RuntimeClosed
from sojourn.records import Event, EventKind, OnInterrupt, TurnStatus
from sojourn.sessions.runtime import Runtime, Settings, _State
from sojourn.stores.memory import MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, Script, ScriptedEngine, ScriptedHistory, answer
from tests.contract.backends import Backend

#: Nothing in a test takes longer, seconds.
SOON = 5


class World:
    """One database, one time, and the processes on them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.clock = FakeClock()
        self._runtimes: list[Runtime] = []

    async def runtime(
        self,
        script: Script | Engine | None = None,
        *,
        max_sessions: int = 100,
        ttl: float = 3600,
        wait: float = 10,
        on_interrupt: OnInterrupt = OnInterrupt.RESUME,
        close_wait: float = 0,
        store: SessionStore | None = None,
    ) -> Runtime:
        """An open runtime, as another process would have it."""
        settings = Settings(
            max_sessions=max_sessions,
            session_ttl=timedelta(seconds=ttl),
            admission_wait=timedelta(seconds=wait),
            on_interrupt=on_interrupt,
            close_wait=timedelta(seconds=close_wait),
        )
        engine = script if isinstance(script, Engine) else ScriptedEngine(script)
        runtime = Runtime(store or self.backend.make(), engine, settings, clock=self.clock)
        await runtime.__aenter__()
        self._runtimes.append(runtime)
        return runtime

    async def kill(self, runtime: Runtime) -> None:
        """End a runtime as SIGKILL does: nothing more is written, nothing is handed back."""
        runtime._state = _State.CLOSED
        await runtime.chores.stop()
        runtime.core.residency.close()
        owners = runtime._owners()
        store = runtime.core.store
        cut_off(store)
        for owner in owners:
            owner.cancel()
        await asyncio.gather(*owners, return_exceptions=True)
        await self.backend.kill(store)
        runtime.core.feeds.end_all()
        runtime.core.outcomes.settle_all(RuntimeClosed())

    async def close(self) -> None:
        async with asyncio.timeout(SOON):
            for runtime in self._runtimes:
                await runtime.close()


def lose_lease(store: SessionStore) -> None:
    """Others take this node for dead, though it lives."""
    assert isinstance(store, MemoryStore | SqliteStore)
    if isinstance(store, MemoryStore):
        store.database.live_nodes.discard(store._node)
    else:
        store._locks.release(tidy=False)


def cut_off(store: SessionStore) -> None:
    """What is written from now on never arrives."""

    async def never(_: Any, *__: Any) -> Any:
        raise RuntimeClosed

    for name in ("append", "accept", "acquire"):
        around(store, name, never)


def around(store: SessionStore, name: str, wrap: Callable[..., Awaitable[Any]]) -> None:
    """Let `wrap(call, *arguments)` stand between the core and one of a store's operations; `call()` does it."""
    inner = getattr(store, name)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        return await wrap(lambda: inner(*args, **kwargs), *args)

    setattr(store, name, wrapped)


class Stage:
    """A script that answers at once, except that messages beginning with "wait" wait for `let`."""

    def __init__(self) -> None:
        self._began: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._doors: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.played: list[str] = []
        self.cut: list[str] = []

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        text = said(history)
        self.played.append(text)
        self._began[text].set()
        try:
            if text.startswith("wait"):
                await self._doors[text].wait()
        except asyncio.CancelledError:
            self.cut.append(text)
            raise
        async for step in answer(f"you said: {text}"):
            yield step

    async def began(self, text: str) -> None:
        """Until the turn of this message has come to the engine."""
        async with asyncio.timeout(SOON):
            await self._began[text].wait()

    def let(self, *texts: str) -> None:
        """The turns of these messages may go on."""
        for text in texts:
            self._doors[text].set()


def said(history: ScriptedHistory) -> str:
    """What the user said last."""
    return next(text for role, text in reversed(history.told) if role == "user")


async def until(condition: Callable[[], object]) -> None:
    """Let everything go on until the condition holds, for what waits for a thread's I/O."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - the condition is about things that have no event
            await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Its result, which must come soon."""
    async with asyncio.timeout(SOON):
        return await awaitable


async def all_of(events: AsyncIterator[Event]) -> list[Event]:
    """Every event up to the end, which must come soon."""
    async with asyncio.timeout(SOON):
        return [event async for event in events]


async def some_of(events: AsyncIterator[Event], stop: Callable[[Event], bool]) -> list[Event]:
    """Events up to the first that is as wanted; then the stream is left."""
    found = []
    async with asyncio.timeout(SOON):
        async for event in events:
            found.append(event)
            if stop(event):
                break
    await events.aclose()  # type: ignore[attr-defined]
    return found


def text_of(events: Sequence[Event]) -> str:
    """The pieces of text, put together."""
    return "".join(event.text for event in events if event.kind is EventKind.TEXT)


def kinds(events: Sequence[Event]) -> list[str]:
    """What happened, without the text that was seen meanwhile."""
    return [str(event.kind) for event in events if event.kind is not EventKind.TEXT]


async def told(runtime: Runtime, id: str) -> list[tuple[str, str]]:
    """(role, text) of a session's history."""
    return [(str(message.role), message.text) for message in await runtime.history(id)]


async def in_line(runtime: Runtime, length: int, id: str = "s") -> None:
    """Until so many inputs are in line."""
    async with asyncio.timeout(SOON):
        while len(await runtime.inbox(id)) < length:  # noqa: ASYNC110 - see until
            await asyncio.sleep(0)


async def becomes(runtime: Runtime, status: TurnStatus, turn: int = 1, id: str = "s") -> None:
    """Until a turn's status is as wanted."""
    async with asyncio.timeout(SOON):
        while (await runtime.turn(id, turn)).status is not status:  # noqa: ASYNC110 - see until
            await asyncio.sleep(0)
