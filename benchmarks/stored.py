"""What grows with the number of stored sessions: nothing should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.filling import ALIKE, fill, fill_waiting
from benchmarks.harness import Case, Figures, Results, Row, median, percentile, ratio, ratio_text
from benchmarks.workload import Talk, running, scripted
from sojourn.sessions.runtime import Runtime

FEW, MANY = 100, 100_000

#: How many sessions wait for a person, among few and among many.
WAITING = 50

#: No figure is worth more than this, seconds.
_ENOUGH = 2.0


def cases(*, quick: bool) -> Sequence[Case]:
    many = 10_000 if quick else MANY
    count = 100 if quick else 400
    return [Case("few", {"stored": FEW, "count": count}), Case("many", {"stored": many, "count": count})]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    path, talk, count = directory / "sojourn.db", Talk(100, 200), params["count"]
    async with running(path, scripted(talk)) as (runtime, _):
        await runtime.send("template", talk.next()[0])
    fill(path, "template", params["stored"])
    fill_waiting(path, "template", WAITING)
    async with running(path, scripted(talk)) as (runtime, _):
        return await _measured(runtime, talk, count, params["stored"])


async def _measured(runtime: Runtime, talk: Talk, count: int, stored: int) -> Figures:
    async def create(number: int) -> None:
        await runtime.create(f"new-{number}")

    def page(**wanted: Any) -> Callable[[int], Awaitable[None]]:
        async def one(_: int) -> None:
            found = await runtime.sessions(**wanted, limit=20)
            if len(found.sessions) != 20:
                raise AssertionError(len(found.sessions))

        return one

    async def send(number: int) -> None:
        await runtime.send(f"sent-{number}", talk.next()[0])

    async def search(number: int) -> None:
        found = await runtime.sessions(query=f"unit{number % (stored // ALIKE):06d}", limit=20)
        if not found.sessions:
            raise AssertionError("nothing found")

    async def old(number: int) -> None:
        await runtime.send(f"copy-{1 + number * 37 % stored:06d}", talk.next()[0])

    middle = (await runtime.sessions(order="created", limit=min(stored // 2, 1000))).next
    actions = {
        "page": page(), "waiting": page(status="waiting"), "waiting_created": page(status="waiting", order="created"),
        "idle": page(status="idle", order="id"), "middle": page(order="created", after=middle), "create": create,
        "send": send, "old": old, "search": search,
    }  # fmt: skip
    figures: Figures = {}
    for name, action in actions.items():
        await _each(action, range(-20, -1) if name in {"create", "send"} else range(20))
        figures[f"{name}_ms"] = percentile(await _each(action, range(20, 20 + count)), 50) * 1000
    began = time.perf_counter()
    await asyncio.gather(*(create(10_000 + number) for number in range(count)))
    figures["created_per_s"] = count / (time.perf_counter() - began)
    figures["common_ms"] = percentile(await _each(lambda _: runtime.sessions(query="order"), range(2)), 50) * 1000
    return figures


async def _each(action: Callable[[int], Awaitable[object]], numbers: Sequence[int]) -> list[float]:
    """How long the action took for each number; for as many as fit into the time."""
    times: list[float] = []
    for number in numbers:
        if sum(times) > _ENOUGH:
            break
        began = time.perf_counter()
        await action(number)
        times.append(time.perf_counter() - began)
    return times


def rows(results: Results) -> Sequence[Row]:
    told = {
        "page": "newest 20",
        "waiting": "20 of those that wait",
        "waiting_created": "the same by creation",
        "idle": "20 idle ones by id",
        "middle": "20 from amid all by creation",
        "create": "create",
        "send": "send to a new session",
        "old": "send to a stored session",
        "search": "search of a rare word",
        "common": "search of a word that all have",
    }
    found = []
    for name, what in told.items():
        against = ratio(results, "many", "few", f"{name}_ms")
        each = ", ".join(f"{median(results, case, f'{name}_ms'):.2f}" for case in ("few", "many"))
        bound = name != "common"  # that one has more to find
        found.append(
            Row(
                f"stored: {what}, ms with many over few stored", f"{ratio_text(against)} · {each} ms",
                "≤ 1.5" if bound else "", against[0] <= 1.5 if bound else None,
            )
        )  # fmt: skip
    rates = [f"{median(results, case, 'created_per_s'):,.0f}" for case in ("few", "many")]
    return [*found, Row("stored: create/s, many at once, few and many stored", ", ".join(rates))]
