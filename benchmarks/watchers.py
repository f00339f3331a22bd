"""What people who watch a session cost its turns: one session, nobody, ten and a hundred watching over HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Case, Figures, Results, Row, median, percentile, ratio, ratio_text
from benchmarks.workload import Talk, running, scripted
from sojourn.server.app import make_app
from sojourn.server.running import listen, make_server
from sojourn.sessions.runtime import Runtime

#: How many watch.
CROWDS = (0, 10, 100)

#: Pieces of an answer, and turns before those that are timed.
DELTAS, WARM = 10, 5

#: Watches from a process of its own: says when all are connected, is told the last event's id, says when all had it.
_WATCH = r"""
import asyncio, sys
async def main(host, port, count):
    readers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, port, limit=2**20)
        writer.write(b"GET /api/sessions/s/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert b" 200 " in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0]
        readers.append((reader, writer))
    ends, known = [bytearray() for _ in readers], asyncio.Event()
    async def follow(index):
        while piece := await readers[index][0].read(65536):
            ends[index] = (ends[index] + piece)[-4096:]
            known.set()
    tasks = [asyncio.create_task(follow(index)) for index in range(count)]
    print("here", flush=True)
    last = (await asyncio.to_thread(sys.stdin.readline)).strip().encode()
    while not all(b"id: %b\n" % last in end for end in ends):
        known.clear()
        await known.wait()
    print("all", flush=True)
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def cases(*, quick: bool) -> Sequence[Case]:
    turns = 100 if quick else 400
    return [Case(f"{count}", {"watchers": count, "turns": turns}) for count in CROWDS]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    """Turns one after the other while they watch, and how long after the last one everybody had its end."""
    talk = Talk()
    async with running(directory / "sojourn.db", scripted(talk, DELTAS)) as (runtime, _), _served(runtime) as port:
        await runtime.create("s")
        async with _watching(port, params["watchers"]) as watching:
            for _ in range(WARM):
                await runtime.send("s", talk.next()[0])
            times: list[float] = []
            began, used = time.perf_counter(), time.process_time()
            for _ in range(params["turns"]):
                since = time.perf_counter()
                await runtime.send("s", talk.next()[0])
                times.append(time.perf_counter() - since)
            took, ended = time.perf_counter() - began, time.perf_counter()
            last = (await runtime.history("s", limit=1))[-1].seq + 1
            await _caught_up(watching, last)
            behind, used = time.perf_counter() - ended, time.process_time() - used
    return {
        "turns_per_s": params["turns"] / took,
        "p50_ms": percentile(times, 50) * 1000,
        "p99_ms": percentile(times, 99) * 1000,
        "cpu_ms": used / params["turns"] * 1000,
        "behind_ms": behind * 1000,
    }


@asynccontextmanager
async def _served(runtime: Runtime) -> AsyncIterator[int]:
    with listen("127.0.0.1", 0) as listening:
        server, started = make_server(make_app(runtime), runtime), asyncio.Event()
        serving = asyncio.create_task(server.run_until_told([listening], started.set))
        await started.wait()
        try:
            yield listening.getsockname()[1]
        finally:
            server.stop()
            await serving


@asynccontextmanager
async def _watching(port: int, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in which so many watch; all of them are connected."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _WATCH, "127.0.0.1", str(port), str(count),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        await _heard(process, b"here\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _caught_up(process: asyncio.subprocess.Process, last: int) -> None:
    if process.stdin is None:
        raise AssertionError
    process.stdin.write(b"%d\n" % last)
    await _heard(process, b"all\n")


async def _heard(process: asyncio.subprocess.Process, wanted: bytes) -> None:
    if process.stdout is None:
        raise AssertionError
    if await process.stdout.readline() != wanted:
        raise RuntimeError("the watchers failed")


def rows(results: Results) -> Sequence[Row]:
    found = []
    for count in CROWDS:
        case = str(count)
        found.append(
            Row(
                f"watchers: {count}, turns/s; ms p50, p99 of a turn; CPU ms of one with its watchers",
                f"{median(results, case, 'turns_per_s'):.0f}; {median(results, case, 'p50_ms'):.1f}, "
                f"{median(results, case, 'p99_ms'):.1f}; {median(results, case, 'cpu_ms'):.1f}",
            )
        )
        if count:
            found += [
                Row(f"watchers: {count}, ms after the last turn until all had its end",
                    f"{median(results, case, 'behind_ms'):.0f}"),
                Row(f"watchers: {count}, turns/s over those with nobody watching",
                    ratio_text(ratio(results, case, "0", "turns_per_s"))),
            ]  # fmt: skip
    return found
