"""What all benchmarks share: cases run in fresh processes and directories, figures, rows of the final table."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

#: What a run of a case measured, by name.
Figures = dict[str, float]

#: The runs of every case, by the case's name, in the order of the repetitions.
Results = Mapping[str, Sequence[Figures]]

ROOT = Path(__file__).resolve().parent.parent

#: Every benchmark, in the order in which they run.
NAMES = ("turns", "drivers", "stored", "restore", "memory", "loop", "wire", "startup", "server", "watchers")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure; each repetition of it gets a process and a directory of its own."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the final table; without a target it only informs."""

    what: str
    figure: str
    target: str = ""
    ok: bool | None = None


class Benchmark(Protocol):
    """What a module of this package that measures something has."""

    def cases(self, *, quick: bool) -> Sequence[Case]:
        """What to run."""

    def repetitions(self, *, quick: bool) -> int:
        """How often."""

    async def run(self, params: Mapping[str, Any], directory: Path) -> Figures:
        """Measure one case; called in its own process."""

    def rows(self, results: Results) -> Sequence[Row]:
        """What the figures say."""


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name."""
    return cast(Benchmark, import_module(f"benchmarks.{name}"))


def measure(name: str, *, quick: bool) -> dict[str, list[Figures]]:
    """Run all cases of a benchmark, their repetitions interleaved so that a slow minute meets all of them alike."""
    chosen = benchmark(name)
    cases, repetitions = chosen.cases(quick=quick), chosen.repetitions(quick=quick)
    results: dict[str, list[Figures]] = {case.name: [] for case in cases}
    for repetition in range(repetitions):
        # every other round backwards, so that nobody always comes after the same neighbour
        for case in cases if repetition % 2 == 0 else reversed(cases):
            began = time.monotonic()
            results[case.name].append(run_case(name, case))
            took = time.monotonic() - began
            print(f"  {name} {repetition + 1}/{repetitions} {case.name}: {took:.1f} s", file=sys.stderr, flush=True)
    return results


def run_case(name: str, case: Case) -> Figures:
    """One repetition in a fresh process and directory; raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory(prefix=f"sojourn-bench-{name}-", dir=os.environ.get("BENCH_DIR")) as directory:
        command = [sys.executable, "-m", "benchmarks.child", name, json.dumps(dict(case.params)), directory]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} {case.name}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


# ------------------------------------------------------------------------------------------------------------- figures


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile; raises IndexError for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def median(results: Results, case: str, figure: str) -> float:
    """The median of a figure over the repetitions."""
    return statistics.median(found[figure] for found in results[case])


def ratio(results: Results, over: str, under: str, figure: str) -> tuple[float, float, float]:
    """(median, least, greatest) of the ratio of two cases, each repetition against its neighbour."""
    pairs = zip(results[over], results[under], strict=True)
    found = [one[figure] / other[figure] for one, other in pairs]
    return statistics.median(found), min(found), max(found)


def ratio_text(found: tuple[float, float, float]) -> str:
    """A ratio with its range."""
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def written_bytes() -> int:
    """What this process has sent to the disk so far; 0 where the system does not say."""
    return _counted("/proc/self/io", "write_bytes:")


def rss_bytes(process: int | str = "self") -> int:
    """The memory that a process occupies now, this one unless another is named."""
    return _counted(f"/proc/{process}/status", "VmRSS:") * 1024


def descriptors(process: int | str = "self") -> int:
    """How many files a process has open, this one unless another is named."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def _counted(path: str, name: str) -> int:
    try:
        text = Path(path).read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0)


def sync_ms(directory: Path, count: int = 40) -> float:
    """How long the disk takes to make 4 KiB durable, median."""
    path = directory / "probe"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        return statistics.median(_timed(lambda: _write_through(handle)) for _ in range(count)) * 1000
    finally:
        os.close(handle)
        path.unlink()


def _write_through(handle: int) -> None:
    os.write(handle, b"x" * 4096)
    os.fdatasync(handle)


def _timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# -------------------------------------------------------------------------------------------------------------- report


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned plain text."""
    lines = [("", "figure", "target", ""), *((row.what, row.figure, row.target, _verdict(row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _verdict(row: Row) -> str:
    return "" if row.ok is None else "ok" if row.ok else "MISS"


def as_json(results: Mapping[str, Results], rows: Sequence[Row]) -> str:
    """Everything that was measured."""
    return json.dumps({"results": results, "rows": [asdict(row) for row in rows]}, indent=1)
