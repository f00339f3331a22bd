"""The HTTP server: a crowd larger than its memory, and how long its own code holds the event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Figures, Results, Row, median

#: How long callers wait for a place, milliseconds, in the two crowds.
IMPATIENT, PATIENT = 100, 30_000

_HELD = (
    "nothing", "message", "description", "history page", "history whole", "turns", "load", "export", "import", "events",
    "list", "list chosen", "search",
)  # fmt: skip


def cases(*, quick: bool) -> Sequence[Case]:
    people, places = (200, 40) if quick else (1000, 200)
    crowd = {"what": "crowd", "people": people, "places": places, "messages": 3}
    held = {
        "what": "serverloop",
        "engine": "scripted",
        "stored": 5000 if quick else 100_000,
        "times": 3 if quick else 9,
    }
    return [
        Case("patient", {**crowd, "wait_ms": PATIENT}),
        Case("impatient", {**crowd, "wait_ms": IMPATIENT}),
        Case("loop", held),
    ]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    found: Figures = await import_module(f"benchmarks.{params['what']}").run(params, directory)
    return found


def rows(results: Results) -> Sequence[Row]:
    return [*_crowd(results, "patient"), *_crowd(results, "impatient"), *_loop(results)]


def _crowd(results: Results, case: str) -> Sequence[Row]:
    def of(figure: str) -> float:
        return median(results, case, figure)

    def worst(figure: str) -> float:
        return max(found[figure] for found in results[case])

    bad = sum(found[name] for found in results[case] for name in ("wrong", "lost", "surplus", "exit_code"))
    grown = max(found["peak_mb"] - found["early_mb"] for found in results[case])
    return [
        Row(f"server: {case}, answers that are neither right nor 503, lost, doubled", f"{bad:.0f}", "0", bad == 0),
        Row(
            f"server: {case}, 503 with Retry-After; sessions live at the end",
            f"{of('refused'):,.0f}; {worst('live'):.0f}",
        ),
        Row(f"server: {case}, turns/s", f"{of('turns_per_s'):.0f}"),
        Row(f"server: {case}, ms p50, p99 of an answer", f"{of('p50_ms'):,.0f}, {of('p99_ms'):,.0f}"),
        Row(
            f"server: {case}, ms p50, p99 with all tries",
            f"{of('waited_p50_ms'):,.0f}, {of('waited_p99_ms'):,.0f}",
        ),
        Row(
            f"server: {case}, MB idle, at most in the first third, at most",
            f"{of('before_mb'):.0f}, {of('early_mb'):.0f}, {of('peak_mb'):.0f}",
        ),
        Row(f"server: {case}, MB more after the first third, worst", f"{grown:.1f}", "≤ 64", grown <= 64),
        Row(f"server: {case}, open files idle, at most", f"{of('files_before'):.0f}, {worst('files_peak'):.0f}"),
    ]


def _loop(results: Results) -> Sequence[Row]:
    found = []
    for name in _HELD:
        typical, took = median(results, "loop", f"{name}_ms"), median(results, "loop", f"{name}_took_ms")
        cpu, worst = median(results, "loop", f"{name}_cpu_ms"), max(one[f"{name}_worst_ms"] for one in results["loop"])
        bound = name != "nothing"
        found.append(
            Row(
                f"server: longest hold, {name}, ms p50 (worst; CPU; whole request)",
                f"{typical:.1f} ({worst:.1f}; {cpu:.1f}; {took:.0f})",
                "≤ 50" if bound else "", typical <= 50 if bound else None,
            )
        )  # fmt: skip
    return found
