"""`python -m benchmarks [NAME…] [--quick] [--json FILE]`, or `python -m benchmarks profile NAME`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import profiling
from benchmarks.harness import NAMES, Results, Row, as_json, benchmark, measure, table


def main() -> int:
    """Measure what was asked for and print one table; 1 if a target is missed."""
    if sys.argv[1:2] == ["profile"]:
        return profiling.main(sys.argv[2:])
    wanted = _arguments()
    results: dict[str, Results] = {}
    rows: list[Row] = []
    for name in wanted.names or NAMES:
        results[name] = measure(name, quick=wanted.quick)
        rows += benchmark(name).rows(results[name])
        rows.append(Row(f"{name}: 4 KiB durable on this disk, ms p50", _disk(results[name])))
    print(table(rows))
    if wanted.json:
        Path(wanted.json).write_text(as_json(results, rows), encoding="utf-8")
    return int(any(row.ok is False for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs: a look, not a measurement")
    parser.add_argument("--json", metavar="FILE", help="write every figure there as well")
    wanted = parser.parse_args()
    if unknown := [name for name in wanted.names if name not in NAMES]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)} and profile NAME")
    return wanted


def _disk(results: Results) -> str:
    probes = [found["sync_ms"] for runs in results.values() for found in runs]
    return f"{min(probes):.2f} to {max(probes):.2f}"


if __name__ == "__main__":
    sys.exit(main())
