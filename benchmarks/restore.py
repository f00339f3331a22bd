"""A session of 2,000 messages comes back from storage, and its newest messages are shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.engines import engine, make_long
from benchmarks.harness import Case, Figures, Results, Row, median, percentile
from benchmarks.workload import Talk, running

MESSAGES = 2000
ENGINES = ("pydantic-ai", "scripted")


def cases(*, quick: bool) -> Sequence[Case]:
    times = 5 if quick else 15
    return [Case(name, {"engine": name, "messages": MESSAGES, "times": times}) for name in ENGINES]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    path, talk = directory / "sojourn.db", Talk(600, 600)
    watched = engine(params["engine"], talk)
    await make_long(path, "long", watched, talk, params["messages"])
    called, whole, again, newest, everything, messages = [], [], [], [], [], 0
    async with running(path, watched) as (runtime, _):
        session = runtime.session("long")
        await runtime.send("warm", talk.next()[0])  # the first turn of a process loads what the engine needs
        for _ in range(params["times"]):
            await session.unload()
            began = time.perf_counter()
            await session.send(talk.next()[0])
            called.append(watched.called - began)
            whole.append(time.perf_counter() - began)
            began = time.perf_counter()
            await session.send(talk.next()[0])
            again.append(watched.called - began)
            began = time.perf_counter()
            await session.history(limit=50)
            newest.append(time.perf_counter() - began)
            began = time.perf_counter()
            messages = len(await session.history())
            everything.append(time.perf_counter() - began)
        if messages < params["messages"]:
            raise AssertionError(f"{messages} messages came back")
    measured = {"called": called, "whole": whole, "again": again, "newest": newest, "everything": everything}
    return {f"{name}_ms": percentile(times, 50) * 1000 for name, times in measured.items()}


def rows(results: Results) -> Sequence[Row]:
    found = []
    for name in results:
        called, newest = median(results, name, "called_ms"), median(results, name, "newest_ms")
        others = ", ".join(f"{median(results, name, f'{what}_ms'):.1f}" for what in ("again", "whole", "everything"))
        found += [
            Row(
                f"restore: {name}, 2,000 messages, send to engine called, ms p50", f"{called:.1f}", "≤ 50", called <= 50
            ),
            Row(f"restore: {name}, newest 50, ms p50", f"{newest:.2f}", "≤ 4", newest <= 4),
            Row(f"restore: {name}, the same send when live; restored whole turn; all messages, ms p50", others),
        ]
    return found
