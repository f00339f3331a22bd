"""`python -m benchmarks profile NAME [CASE]`: one case under cProfile, the dearest functions by their own time."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import NAMES, Case, benchmark

#: How many functions are shown.
SHOWN = 30

#: From here on a profiler sees every thread at once, and its figures of two threads are a muddle.
_ONE_FOR_ALL = (3, 12)


def main(arguments: Sequence[str]) -> int:
    """Run the case and print what it cost, thread by thread where that can be told; 2 for a wrong name."""
    case = _chosen(arguments)
    if case is None:
        print(f"usage: python -m benchmarks profile {{{','.join(NAMES)}}} [CASE]", file=sys.stderr)
        return 2
    print(f"{arguments[0]}: {case.name}\n")
    loop, threads = cProfile.Profile(), _Threads()
    if sys.version_info < _ONE_FOR_ALL:
        threads.watch()
    with tempfile.TemporaryDirectory(prefix="sojourn-profile-") as directory:
        loop.runcall(asyncio.run, benchmark(arguments[0]).run(case.params, Path(directory)))
    _show("the event loop", [loop])
    for name, profiles in threads.by_name.items():
        _show(f"threads {name}", profiles)
    return 0


def _chosen(arguments: Sequence[str]) -> Case | None:
    if not 1 <= len(arguments) <= 2 or arguments[0] not in NAMES:
        return None
    cases = {case.name: case for case in benchmark(arguments[0]).cases(quick=False)}
    if len(arguments) == 1:
        return next(iter(cases.values()))
    if arguments[1] not in cases:
        print(f"cases of {arguments[0]}: {', '.join(cases)}", file=sys.stderr)
    return cases.get(arguments[1])


class _Threads:
    """Profiles of the threads that begin from now on, together by the beginning of their name."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[cProfile.Profile]] = {}

    def watch(self) -> None:
        """Profile every thread that is started."""
        run = threading.Thread.run

        def profiled(thread: threading.Thread) -> None:
            profile = cProfile.Profile()
            self.by_name.setdefault(thread.name.rstrip("0123456789_"), []).append(profile)
            profile.runcall(run, thread)

        threading.Thread.run = profiled  # type: ignore[method-assign, assignment]


def _show(what: str, profiles: Sequence[cProfile.Profile]) -> None:
    print(f"==== {what}")
    stats = pstats.Stats(profiles[0])
    for profile in profiles[1:]:
        stats.add(profile)
    stats.sort_stats("tottime").print_stats(SHOWN)
