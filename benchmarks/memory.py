"""5,000 sessions are visited once each, 100 live at a time: what stays in memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.filling import fill
from benchmarks.harness import Case, Figures, Results, Row, descriptors, median, rss_bytes
from benchmarks.workload import Talk, running, scripted

LIVE = 100
TURNS = 5


def cases(*, quick: bool) -> Sequence[Case]:
    return [Case("visits", {"sessions": 1000 if quick else 5000})]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    path, talk, sessions = directory / "sojourn.db", Talk(1024, 1024), params["sessions"]
    async with running(path, scripted(talk)) as (runtime, _):
        for _ in range(TURNS):
            await runtime.send("template", talk.next()[0])
    fill(path, "template", sessions)
    async with running(path, scripted(talk), max_sessions=LIVE) as (runtime, _):
        for number in range(LIVE):
            await runtime.send(f"copy-{number + 1:06d}", talk.next()[0])
        before, files = _occupied()
        began = time.perf_counter()
        half = 0
        for number in range(LIVE, sessions):
            if number == sessions // 2:
                half, _ = _occupied()
            await runtime.send(f"copy-{number + 1:06d}", talk.next()[0])
        took = time.perf_counter() - began
        after, files_after = _occupied()
        live = (await runtime.statistics()).live
    return {
        "before_mb": before / 1e6,
        "half_mb": half / 1e6,
        "after_mb": after / 1e6,
        "grown_mb": (after - before) / 1e6,
        "visits_per_s": (sessions - LIVE) / took,
        "files": files_after,
        "files_grown": files_after - files,
        "live": live,
    }


def _occupied() -> tuple[int, int]:
    gc.collect()
    return rss_bytes(), descriptors()


def rows(results: Results) -> Sequence[Row]:
    def of(figure: str) -> float:
        return median(results, "visits", figure)

    worst = max(found["grown_mb"] for found in results["visits"])
    live = max(found["live"] for found in results["visits"])
    return [
        Row("memory: MB more after the last visit than after 100, worst", f"{worst:.1f}", "≤ 15", worst <= 15),
        Row(
            "memory: MB after 100 visits, after half, after the last",
            ", ".join(f"{of(f'{when}_mb'):.1f}" for when in ("before", "half", "after")),
        ),
        Row("memory: live sessions at the end", f"{live:.0f}", f"≤ {LIVE}", live <= LIVE),
        Row("memory: open files at the end, and how many more", f"{of('files'):.0f}, {of('files_grown'):.0f}"),
        Row("memory: visits/s, one after the other", f"{of('visits_per_s'):,.0f}"),
    ]
