"""How long our own code holds the event loop: nobody else's stream may stutter because of a long session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.engines import Watched, engine, make_long
from benchmarks.filling import fill
from benchmarks.harness import Case, Figures, Results, Row, median, percentile
from benchmarks.workload import Talk, running
from sojourn.sessions.runtime import Runtime

MESSAGES = 2000
LISTED = 1000

#: No action is repeated for longer than this, seconds.
_ENOUGH = 4.0

#: How often the heart beats, seconds.
BEAT = 0.0005


def cases(*, quick: bool) -> Sequence[Case]:
    times = 5 if quick else 15
    return [Case(name, {"engine": name, "times": times}) for name in ("pydantic-ai", "scripted")]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


class Heart:
    """Beats on the loop; the longest pause between two beats is how long somebody held it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.longest, self.longest_cpu = 0.0, 0.0

    async def beat(self) -> None:
        """Go on until cancelled, or until the engine is called: what it does is not ours."""
        called = self._watched.called
        while self._watched.called == called:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(BEAT)
            end = time.perf_counter() if self._watched.called == called else self._watched.called
            self.longest = max(self.longest, end - wall - BEAT)
            if self._watched.called == called:
                self.longest_cpu = max(self.longest_cpu, time.thread_time() - cpu)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Beat meanwhile."""
        task = asyncio.create_task(self.beat())
        await asyncio.sleep(0)
        try:
            yield
            await asyncio.sleep(0)
        finally:
            # the pause that is still under way counts too
            await asyncio.sleep(2 * BEAT)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    path, talk = directory / "sojourn.db", Talk(600, 600)
    watched = engine(params["engine"], talk)
    await make_long(path, "long", watched, talk, MESSAGES)
    fill(path, "template", LISTED)
    figures: Figures = {}
    async with running(path, watched) as (runtime, _):
        await runtime.send("warm", talk.next()[0])
        for name, action in _actions(runtime, talk).items():
            found = await _several(watched, action, runtime, params["times"])
            figures[f"{name}_ms"] = percentile((wall for wall, _ in found), 50) * 1000
            figures[f"{name}_worst_ms"] = max(wall for wall, _ in found) * 1000
            figures[f"{name}_cpu_ms"] = percentile((cpu for _, cpu in found), 50) * 1000
    return figures


def _actions(runtime: Runtime, talk: Talk) -> dict[str, Callable[[], Awaitable[object]]]:
    async def export() -> list[str]:
        return [line async for line in runtime.export("long")]

    return {
        "nothing": lambda: asyncio.sleep(0.05),
        "restore": lambda: runtime.send("long", talk.next()[0]),
        "history": lambda: runtime.history("long"),
        "export": export,
        "list": lambda: runtime.sessions(limit=LISTED),
    }


async def _several(
    watched: Watched, action: Callable[[], Awaitable[object]], runtime: Runtime, times: int
) -> list[tuple[float, float]]:
    until = time.monotonic() + _ENOUGH
    found: list[tuple[float, float]] = []
    while len(found) < times and (not found or time.monotonic() < until):
        found.append(await _held(watched, action, runtime))
    return found


async def _held(watched: Watched, action: Callable[[], Awaitable[object]], runtime: Runtime) -> tuple[float, float]:
    """The longest hold in one go of the action, by the clock and by the loop's own CPU time."""
    await runtime.unload("long")
    heart = Heart(watched)
    async with heart.listening():
        await action()
    return heart.longest, heart.longest_cpu


def rows(results: Results) -> Sequence[Row]:
    told = {
        "restore": "restore of 2,000",
        "history": "history of 2,000",
        "export": "export of 2,000",
        "list": "list of 1,000",
        "nothing": "nothing, for comparison",
    }  # fmt: skip
    found = []
    for case in results:
        for name, what in told.items():
            typical, used = median(results, case, f"{name}_ms"), median(results, case, f"{name}_cpu_ms")
            worst = max(one[f"{name}_worst_ms"] for one in results[case])
            bound = name != "nothing"
            found.append(
                Row(
                    f"loop: {case}, longest hold, {what}, ms p50 (worst; CPU)",
                    f"{typical:.1f} ({worst:.1f}; {used:.1f})",
                    "≤ 50" if bound else "", typical <= 50 if bound else None,
                )
            )  # fmt: skip
    return found
