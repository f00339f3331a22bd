"""Long sessions in the format of a real engine, and an engine that says when it was called."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from benchmarks.workload import Talk, running, scripted
from sojourn.abc import Engine, Entry, History, Run, Step, ToolFinished
from sojourn.records import LOCAL_USER, Effect, EntryKind, Message
from sojourn.stores.sqlite.store import SqliteStore

#: Turns that are really run; the rest of a long session are copies of them.
_REAL = 10


class Watched(Engine):
    """Another engine, that notes when it is called and stops there if told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.called = 0.0

    async def open(self) -> None:
        await self._engine.open()

    async def close(self) -> None:
        await self._engine.close()

    def history(self) -> History:
        return self._engine.history()

    async def run(self, run: Run) -> AsyncGenerator[Step]:
        self.called = time.perf_counter()
        async with aclosing(self._engine.run(run)) as steps:
            async for step in steps:
                yield step

    def unknown(self, history: History, call: Effect) -> ToolFinished:
        return self._engine.unknown(history, call)

    def interrupted(self, text: str) -> str:
        return self._engine.interrupted(text)

    def message(self, entry: Entry) -> Message | None:
        return self._engine.message(entry)


def engine(name: str, talk: Talk) -> Watched:
    """The engine of that name, which answers as `talk` says."""
    return Watched(scripted(talk) if name == "scripted" else _pydantic_ai(talk))


def _pydantic_ai(talk: Talk) -> Engine:
    # a second to load, and not every benchmark needs it
    from pydantic_ai import Agent  # noqa: PLC0415, TID251
    from pydantic_ai.messages import ModelMessage  # noqa: PLC0415, TID251
    from pydantic_ai.models.function import AgentInfo, FunctionModel  # noqa: PLC0415, TID251

    from sojourn.engine.agent import PydanticAIEngine  # noqa: PLC0415

    async def answer(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[str]:
        yield talk.next()[1]

    return PydanticAIEngine(Agent(FunctionModel(stream_function=answer)))


async def make_long(path: Path, id: str, watched: Engine, talk: Talk, messages: int) -> None:
    """A session of so many messages: some turns run by the engine, the others copies of what it stored."""
    async with running(path, watched) as (runtime, store):
        for _ in range(_REAL):
            await runtime.send("template", talk.next()[0])
        await _lengthen(store, id, messages // 2)


async def _lengthen(store: SqliteStore, id: str, turns: int) -> None:
    loaded = await store.load(LOCAL_USER, "template")
    if loaded is None:
        raise AssertionError("the template is gone")
    row, entries = loaded
    finished = await store.turns(LOCAL_USER, "template")
    each = [[entry for entry in entries if entry.turn == turn.turn] for turn in finished]
    log: list[Entry] = []
    rows = []
    for number in range(turns):
        first = len(log) + 1
        copied = each[number % len(each)]
        log += [replace(entry, seq=first + at, turn=number + 1) for at, entry in enumerate(copied)]
        turn = finished[number % len(finished)]
        rows.append(replace(turn, turn=number + 1, opened_seq=first, ended_seq=len(log)))
    spoken = sum(entry.kind in {EntryKind.TURN_OPENED, EntryKind.MESSAGE} for entry in log)
    await store.insert(
        replace(row, id=id, version=len(log), turns=turns, messages=spoken, first=1, current=None), log, rows
    )
