"""Durable turns: Sojourn against the floor and against its engine alone, one at a time and 16 at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.floor import DRIVERS, Facts, Floor, begin_sessions, prepare, session_ids
from benchmarks.harness import Case, Figures, Results, Row, median, percentile, ratio, ratio_text, written_bytes
from benchmarks.workload import Talk, running, scripted
from sojourn.abc import Entry, Run, SessionRow
from sojourn.records import LOCAL_USER, EntryKind, SessionStatus
from sojourn.sessions.views import session_of
from sojourn.stores.common import searchable

SESSIONS = 200

#: A turn in the session of that number.
_Turn = Callable[[int], Awaitable[None]]


def cases(*, quick: bool) -> Sequence[Case]:
    rounds = 4 if quick else 12
    base = {"rounds": rounds, "deltas": 1}
    return [
        Case("sojourn, 16 at once", {**base, "kind": "sojourn", "at_once": 16}),
        Case("floor, 16 at once", {**base, "kind": "floor", "at_once": 16}),
        Case("sojourn, 1 at once", {**base, "kind": "sojourn", "at_once": 1}),
        Case("floor, 1 at once", {**base, "kind": "floor", "at_once": 1}),
        Case("engine, 1 at once", {**base, "kind": "engine", "at_once": 1}),
        Case("floor, 16 at once, without the search index", {**base, "kind": "floor without search", "at_once": 16}),
        Case("floor, 1 at once, without the search index", {**base, "kind": "floor without search", "at_once": 1}),
        Case("sojourn, 16 at once, 20 deltas", {**base, "kind": "sojourn", "at_once": 16, "deltas": 20}),
        Case("sojourn, 1 at once, 20 deltas", {**base, "kind": "sojourn", "at_once": 1, "deltas": 20}),
        Case("engine, 1 at once, 20 deltas", {**base, "kind": "engine", "at_once": 1, "deltas": 20}),
    ]


def repetitions(*, quick: bool) -> int:
    return 2 if quick else 5


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    talk = Talk()
    async with _KINDS[params["kind"]](directory / "sojourn.db", talk, params["deltas"]) as turn:
        for number in range(SESSIONS):  # statement caches, allocators
            await turn(number)
        return await timed(turn, params["at_once"], params["rounds"])


async def timed(turn: _Turn, at_once: int, rounds: int) -> Figures:
    """So many rounds over all sessions, by so many workers that each have sessions of their own."""
    times: list[float] = []

    async def work(worker: int) -> None:
        for _ in range(rounds):
            for number in range(worker, SESSIONS, at_once):
                began = time.perf_counter()
                await turn(number)
                times.append(time.perf_counter() - began)

    wrote, began, used, looped = written_bytes(), time.perf_counter(), time.process_time(), time.thread_time()
    await asyncio.gather(*(work(worker) for worker in range(at_once)))
    took, count = time.perf_counter() - began, len(times)
    return {
        "turns_per_s": count / took,
        "p50_ms": percentile(times, 50) * 1000,
        "p99_ms": percentile(times, 99) * 1000,
        "cpu_ms": (time.process_time() - used) / count * 1000,
        "loop_cpu_ms": (time.thread_time() - looped) / count * 1000,
        "written_kb": (written_bytes() - wrote) / count / 1024,
    }


@asynccontextmanager
async def _sojourn(path: Path, talk: Talk, deltas: int) -> AsyncIterator[_Turn]:
    ids = session_ids(SESSIONS)
    async with running(path, scripted(talk, deltas), max_sessions=SESSIONS) as (runtime, _):
        await begin_sessions(runtime, ids, talk)

        async def turn(number: int) -> None:
            await runtime.send(ids[number], talk.next()[0])

        yield turn


@asynccontextmanager
async def floor_turn(path: Path, talk: Talk, driver: str, *, search: bool = True) -> AsyncIterator[_Turn]:
    """Turns as the floor does them."""
    plan, sessions = await prepare(path, SESSIONS, talk)
    if not search:
        plan.leave_out("INSERT INTO search ")
    plain = {text: searchable(text) for text in (*talk.said, *talk.answers)}
    floor = Floor(DRIVERS[driver](path))

    async def turn(number: int) -> None:
        for job in plan.turn(sessions[number], *talk.next(), plain):
            await floor.commit(job)

    yield turn
    floor.close()
    check_played(path, sessions)


def _floor(path: Path, talk: Talk, _: int) -> AbstractAsyncContextManager[_Turn]:
    return floor_turn(path, talk, "apsw")


def _floor_without_search(path: Path, talk: Talk, _: int) -> AbstractAsyncContextManager[_Turn]:
    return floor_turn(path, talk, "apsw", search=False)


@asynccontextmanager
async def _engine(_: Path, talk: Talk, deltas: int) -> AsyncIterator[_Turn]:
    engine = scripted(talk, deltas)
    session = session_of(
        SessionRow(
            key=1, user=LOCAL_USER, id="alone", title=None, created=0, active=0, messages=0, parent=None,
            status=SessionStatus.IDLE, usage="{}", owner=None, fence=0, version=0, first=1, turns=0, current=None,
            queued=0, held=0,
        )
    )  # fmt: skip

    async def turn(_: int) -> None:
        history = engine.history()
        history.extend([Entry(1, EntryKind.TURN_OPENED, 1, "{}", talk.next()[0])])
        async for _step in engine.run(Run(session, 1, 1, history)):
            pass

    yield turn


_KINDS: dict[str, Callable[[Path, Talk, int], AbstractAsyncContextManager[_Turn]]] = {
    "sojourn": _sojourn,
    "floor": _floor,
    "floor without search": _floor_without_search,
    "engine": _engine,
}


def check_played(path: Path, sessions: Sequence[Facts]) -> None:
    """Raise AssertionError unless what was played is what Sojourn would have stored."""
    driver = DRIVERS["apsw"](path)
    try:
        stored = driver.select("SELECT key, version, turns, status FROM sessions")
        logged = dict(driver.select("SELECT session, max(seq) FROM log GROUP BY session"))
    finally:
        driver.close()
    expected = {(facts["key"], facts["version"], facts["turn"], "idle") for facts in sessions}
    if set(stored) != expected or logged != {facts["key"]: facts["version"] for facts in sessions}:
        raise AssertionError("the floor did not write what Sojourn writes")


def rows(results: Results) -> Sequence[Row]:
    against = ratio(results, "sojourn, 16 at once", "floor, 16 at once", "turns_per_s")
    found = [
        Row("turns: turns/s against the floor, 16 at once", ratio_text(against), "≥ 0.5", against[0] >= 0.5),
        _added(results, "floor, 1 at once", target=1),
        _added(results, "engine, 1 at once"),
    ]
    return [*found, *(_told(results, case) for case in results if not case.startswith("engine"))]


def _added(results: Results, other: str, target: float | None = None) -> Row:
    """What Sojourn adds to a turn at one at a time: to the floor's durable writes, or to an engine with none at all."""
    pairs = zip(results["sojourn, 1 at once"], results[other], strict=True)
    added = statistics.median(ours["p50_ms"] - theirs["p50_ms"] for ours, theirs in pairs)
    name = f"turns: ms p50 added to the {other}"
    return Row(name, f"{added:.2f}") if target is None else Row(name, f"{added:.2f}", f"≤ {target}", added <= target)


def _told(results: Results, case: str) -> Row:
    def of(figure: str) -> float:
        return median(results, case, figure)

    return Row(
        f"turns: {case}",
        f"{of('turns_per_s'):,.0f}/s · p50 {of('p50_ms'):.2f} p99 {of('p99_ms'):.2f} ms · CPU {of('cpu_ms'):.2f} ms "
        f"(loop {of('loop_cpu_ms'):.2f}) · {of('written_kb'):.1f} kB",
    )
