"""How long a person waits for a command: a process each time, by the clock on the wall."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Figures, Results, Row, median, percentile

#: The command, and what it may take, seconds.
COMMANDS: Mapping[str, tuple[Sequence[str], float]] = {
    "version": (("--version",), 0.3),
    "sessions list": (("sessions", "list"), 1.0),
    "run": (("run", "My favourite colour is teal."), 2.0),
}


def cases(*, quick: bool) -> Sequence[Case]:
    times = 3 if quick else 10
    return [Case(name, {"command": list(command), "times": times}) for name, (command, _) in COMMANDS.items()]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    timed("run", "hello", home=directory)  # a database to look at, and warm caches of the system
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = [timed(*params["command"], home=directory) for _ in range(params["times"])]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": percentile(took, 50), "slowest": max(took), "cpu": used / params["times"]}


def timed(*arguments: str, home: Path) -> float:
    command = [sys.executable, "-c", "from sojourn.cli.app import main; main()", *arguments]
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, "SOJOURN_HOME": str(home)}, cwd=home, capture_output=True, check=True)
    return time.perf_counter() - began


def rows(results: Results) -> Sequence[Row]:
    found = []
    for name, (_, limit) in COMMANDS.items():
        took = median(results, name, "seconds")
        found.append(Row(f"startup: {name}, s p50", f"{took:.2f}", f"≤ {limit:g}", took <= limit))
        found.append(Row(f"startup: {name}, CPU s", f"{median(results, name, 'cpu'):.2f}"))
    return found
