"""A few random kills of real processes; the many are in tests/acceptance."""

from __future__ import annotations

from pathlib import Path

from tests.crash.kills import Arena


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=1)
    arena.kill_alone(3)
    arena.recover()
    assert arena.figures.accepted


def test_two_processes_on_one_file_outlive_each_other(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=2)
    arena.kill_one_of_two(2)
    arena.recover()
    assert arena.figures.accepted
