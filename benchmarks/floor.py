"""The floor: the statements of Sojourn's own hot path with parameters of the same size, and nothing on top of them.

A few turns are run through Sojourn and what reaches SQLite is recorded. Each parameter is then explained by what it
followed in all recordings (the session's key, its version plus one, the message, …), so that other turns of other
sessions can be played: the same rows and bytes at the same commit points, whatever the code has become meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

import apsw

from benchmarks.workload import Talk, running, scripted
from sojourn.records import LOCAL_USER
from sojourn.sessions.runtime import Runtime
from sojourn.stores.sqlite.rows import indexed
from sojourn.stores.sqlite.schema import connect
from sojourn.stores.sqlite.store import SqliteStore

#: What is known of a session and of what is said in it when a turn begins.
Facts = dict[str, Any]

#: Which facts count up, and how far from one of them a parameter may be.
_CANDIDATES = [(name, offset) for name in ("key", "turn", "version", "fence") for offset in range(-2, 6)]
_WORDED = ("said", "answer", "said_plain", "answer_plain", "id", "title")

#: Anything from here on is a time in milliseconds.
_TIMES = 1_600_000_000_000

#: Text without an explanation must vary by no more than this, to be replayed as it was.
_SLACK = 16


class _Seen(NamedTuple):
    sql: str
    bindings: tuple[Any, ...]
    rowid: int


@dataclass(slots=True)
class _Recording:
    facts: Facts
    seen: list[_Seen]
    after: Facts


class Ready(NamedTuple):
    """A statement to execute; `rowid` is the place of the parameter that is the last row's number, or -1."""

    sql: str
    bindings: tuple[Any, ...]
    rowid: int


Job = Sequence[Ready]
_Value = Callable[[Facts, int], Any]


class Plan:
    """The commits of a turn, ready to be played for any session."""

    def __init__(self, recordings: Sequence[_Recording]) -> None:
        shapes = {tuple(seen.sql for seen in one.seen) for one in recordings}
        if len(shapes) != 1:
            raise AssertionError("turns of a kind do not execute the same statements")
        self.jobs: list[list[tuple[str, list[_Value], int]]] = []
        for place, first in enumerate(recordings[0].seen):
            if first.sql.startswith("BEGIN"):
                self.jobs.append([])
            elif not first.sql.startswith("COMMIT"):
                self.jobs[-1].append(_explained(place, recordings))
        last = recordings[-1]
        self.steps = {name: last.after[name] - last.facts[name] for name in ("turn", "version", "fence")}

    def leave_out(self, beginning: str) -> None:
        """Play no statement that begins so."""
        self.jobs = [[one for one in job if not one[0].startswith(beginning)] for job in self.jobs]

    def turn(self, facts: Facts, said: str, answer: str, plain: dict[str, str]) -> list[Job]:
        """The commits of a session's next turn; moves its facts on."""
        now = time.time_ns() // 1_000_000
        facts |= {"said": said, "answer": answer, "said_plain": plain[said], "answer_plain": plain[answer]}
        ready: list[Job] = [
            [Ready(sql, tuple([value(facts, now) for value in values]), rowid) for sql, values, rowid in job]
            for job in self.jobs
        ]
        for name, step in self.steps.items():
            facts[name] += step
        return ready


def _explained(place: int, recordings: Sequence[_Recording]) -> tuple[str, list[_Value], int]:
    seen = [one.seen[place] for one in recordings]
    rowid, values = -1, []
    for column in range(len(seen[0].bindings)):
        found = [one.bindings[column] for one in seen]
        if len(set(found)) > 1 and found == [one.rowid for one in seen]:
            rowid = column
            values.append(_constant(0))
        else:
            values.append(_explain(found, [one.facts for one in recordings], seen[0].sql))
    return seen[0].sql, values, rowid


def _explain(found: Sequence[Any], facts: Sequence[Facts], sql: str) -> _Value:
    """How the parameter follows from the facts; raises AssertionError if it does not."""
    numbers, words = _all(found, int), _all(found, str)
    if numbers and min(found) > _TIMES:
        return lambda _, now: now
    if len(set(found)) == 1:
        return _constant(found[0])
    for name, offset in _CANDIDATES if numbers else ((name, None) for name in _WORDED):
        if all(value == _moved(known[name], offset) for value, known in zip(found, facts, strict=True)):
            return _fact(name, offset)
    if words and max(map(len, found)) - min(map(len, found)) <= _SLACK:
        return _constant(found[-1])
    raise AssertionError(f"nothing explains {found[:3]!r} in {sql!r}")


def _all(found: Sequence[Any], kind: type) -> bool:
    return all(isinstance(value, kind) for value in found)


def _moved(value: Any, offset: int | None) -> Any:
    return value if offset is None else value + offset


def _constant(value: Any) -> _Value:
    return lambda _, __: value


def _fact(name: str, offset: int | None) -> _Value:
    return (lambda facts, _: facts[name]) if offset is None else (lambda facts, _: facts[name] + offset)


# ----------------------------------------------------------------------------------------------------------- recording


#: Of which sessions turns are recorded: several sessions, several turns, so that nothing explains by accident.
_RECORDED = (2, 5, 5, 5, 11, 11, 3)


async def prepare(path: Path, count: int, talk: Talk) -> tuple[Plan, list[Facts]]:
    """Let Sojourn make a file with sessions of a turn or more; gives the plan of a turn, and each session's facts."""
    ids = session_ids(count)
    async with running(path, scripted(talk), max_sessions=count + 1) as (runtime, store):
        await begin_sessions(runtime, ids, talk)
        recordings = [await _record(runtime, store, ids[number], talk) for number in _RECORDED]
        facts = [await _facts(store, name) for name in ids]
    return Plan(recordings), facts


def session_ids(count: int) -> list[str]:
    """Names for so many sessions."""
    return [f"customer-{number:05d}" for number in range(count)]


async def begin_sessions(runtime: Runtime, ids: Iterable[str], talk: Talk, at_once: int = 16) -> None:
    """One turn in each, before anything is measured."""
    waiting = list(ids)

    async def work() -> None:
        while waiting:
            await runtime.send(waiting.pop(), talk.next()[0])

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _record(runtime: Runtime, store: SqliteStore, name: str, talk: Talk) -> _Recording:
    connection = store._writing  # noqa: SLF001 - what reaches SQLite can be seen nowhere else
    if connection is None:
        raise AssertionError("the store is not open")
    writing = connection
    said, answer = talk.next()
    facts = await _facts(store, name)
    facts |= {
        "said": said,
        "answer": answer,
        "said_plain": indexed(LOCAL_USER, said),
        "answer_plain": indexed(LOCAL_USER, answer),
    }
    seen: list[_Seen] = []

    def trace(_: object, sql: str, bindings: Any) -> bool:
        seen.append(_Seen(sql, tuple(bindings or ()), writing.last_insert_rowid()))
        return True

    writing.exec_trace = trace
    try:
        await runtime.send(name, said)
    finally:
        writing.exec_trace = None
    return _Recording(facts, seen, await _facts(store, name))


async def _facts(store: SqliteStore, name: str) -> Facts:
    row = await store.get(LOCAL_USER, name)
    return {
        "key": row.key, "turn": row.turns, "version": row.version, "fence": row.fence, "id": row.id,
        "title": row.title,
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- playing


class Driver(Protocol):
    """A connection that plays jobs."""

    def commit(self, jobs: Iterable[Job]) -> None:
        """All of them in one transaction."""

    def select(self, sql: str) -> list[Any]:
        """What a query finds."""

    def close(self) -> None:
        """Let the file go."""


class ApswDriver:
    """By apsw, opened as Sojourn opens it."""

    def __init__(self, path: Path) -> None:
        self._connection: apsw.Connection = connect(str(path))

    def commit(self, jobs: Iterable[Job]) -> None:
        execute, last = self._connection.execute, self._connection.last_insert_rowid
        execute("BEGIN IMMEDIATE")
        for job in jobs:
            for sql, bindings, rowid in job:
                if rowid >= 0:
                    bindings = (*bindings[:rowid], last(), *bindings[rowid + 1 :])  # noqa: PLW2901
                execute(sql, bindings).fetchall()
        execute("COMMIT")

    def select(self, sql: str) -> list[Any]:
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        self._connection.close()


class StandardDriver:
    """By the standard library's sqlite3, with the same settings."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.create_function("indexed", 2, indexed, deterministic=True)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "cache_size = -16000"):
            self._connection.execute(f"PRAGMA {setting}").fetchall()

    def commit(self, jobs: Iterable[Job]) -> None:
        execute, last = self._connection.execute, 0
        execute("BEGIN IMMEDIATE")
        for job in jobs:
            for sql, bindings, rowid in job:
                if rowid >= 0:
                    bindings = (*bindings[:rowid], last, *bindings[rowid + 1 :])  # noqa: PLW2901
                cursor = execute(sql, bindings)
                cursor.fetchall()
                last = cursor.lastrowid or last
        execute("COMMIT")

    def select(self, sql: str) -> list[Any]:
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        self._connection.close()


DRIVERS: dict[str, Callable[[Path], Driver]] = {"apsw": ApswDriver, "sqlite3": StandardDriver}


class Floor:
    """A thread that commits whatever is queued, in one transaction."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Job, asyncio.Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="floor-writer", daemon=True)
        self._thread.start()

    async def commit(self, job: Job) -> None:
        """Returns when the job is durable."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((job, done))
        await done

    def close(self) -> None:
        """Stop the thread and close the file."""
        self._queue.put(None)
        self._thread.join()
        self._driver.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            with suppress(Empty):
                while (job := self._queue.get_nowait()) is not None:
                    batch.append(job)
            self._driver.commit([job for job, _ in batch])
            self._loop.call_soon_threadsafe(_answer, [done for _, done in batch])


def _answer(futures: Sequence[asyncio.Future[None]]) -> None:
    for done in futures:
        done.set_result(None)
