"""apsw against the standard library's sqlite3: the same statements of Sojourn's hot path, one by one and in groups."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from benchmarks.floor import DRIVERS, Driver, Facts, Job, Plan, prepare
from benchmarks.harness import Case, Figures, Results, Row, median, percentile, ratio, ratio_text, written_bytes
from benchmarks.turns import SESSIONS, check_played, floor_turn, timed
from benchmarks.workload import Talk
from sojourn.records import LOCAL_USER
from sojourn.stores.sqlite.rows import indexed

#: How many turns are committed together in a group.
GROUP = 16


def cases(*, quick: bool) -> Sequence[Case]:
    rounds = 4 if quick else 12
    kinds = {"one by one": 1, "groups of 16": GROUP, "thread, 16 at once": 0}
    return [
        Case(f"{driver}, {kind}", {"driver": driver, "group": group, "rounds": rounds})
        for kind, group in kinds.items()
        for driver in DRIVERS
    ]


def repetitions(*, quick: bool) -> int:
    return 2 if quick else 5


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    path, talk = directory / "sojourn.db", Talk()
    if not params["group"]:
        async with floor_turn(path, talk, params["driver"]) as turn:
            return await timed(turn, GROUP, params["rounds"])
    plan, sessions = await prepare(path, SESSIONS, talk)
    driver = DRIVERS[params["driver"]](path)
    figures = _played(driver, _turns(plan, sessions, talk, params["group"], params["rounds"]), params["group"])
    driver.close()
    check_played(path, sessions)
    return figures


def _turns(plan: Plan, sessions: list[Facts], talk: Talk, group: int, rounds: int) -> Iterator[list[list[Job]]]:
    plain = {text: indexed(LOCAL_USER, text) for text in (*talk.said, *talk.answers)}
    for together in _groups(sessions, group, rounds):
        yield [plan.turn(facts, *talk.next(), plain) for facts in together]


def _played(driver: Driver, played: Iterator[list[list[Job]]], group: int) -> Figures:
    times: list[float] = []
    wrote, used, took = written_bytes(), 0.0, 0.0
    for turns in played:
        began, cpu = time.perf_counter(), time.process_time()
        for jobs in _columns(turns):
            driver.commit(jobs)
        times.append(time.perf_counter() - began)
        used, took = used + time.process_time() - cpu, took + times[-1]
    count = len(times) * group
    return {
        "turns_per_s": count / took,
        "p50_ms": percentile(times, 50) * 1000,
        "p99_ms": percentile(times, 99) * 1000,
        "cpu_ms": used / count * 1000,
        "written_kb": (written_bytes() - wrote) / count / 1024,
    }


def _groups(sessions: list[Facts], group: int, rounds: int) -> Iterator[list[Facts]]:
    whole = len(sessions) // group * group
    for _ in range(rounds):
        for at in range(0, whole, group):
            yield sessions[at : at + group]


def _columns(turns: Sequence[list[Job]]) -> Iterator[list[Job]]:
    """The first commits of all turns, then the second ones."""
    for jobs in zip(*turns, strict=True):
        yield list(jobs)


def rows(results: Results) -> Sequence[Row]:
    versions = f"apsw {apsw.apsw_version()} · sqlite3 with SQLite {sqlite3.sqlite_version}"
    found = [Row("drivers: versions", versions)]
    for kind in ("one by one", "groups of 16", "thread, 16 at once"):
        against = ratio(results, f"apsw, {kind}", f"sqlite3, {kind}", "turns_per_s")
        found.append(Row(f"drivers: turns/s of apsw over sqlite3, {kind}", ratio_text(against)))
    return [*found, *(_told(results, case) for case in results)]


def _told(results: Results, case: str) -> Row:
    rate, used = median(results, case, "turns_per_s"), median(results, case, "cpu_ms")
    return Row(f"drivers: {case}", f"{rate:,.0f}/s · CPU {used:.2f} ms · {median(results, case, 'written_kb'):.1f} kB")
