"""A hundred and more kills of real processes at random moments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.kills import Arena

SEED = int(os.environ.get("SOJOURN_SEED", "7"))


def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arena = Arena(tmp_path, seed=SEED)
    arena.kill_alone(70)
    arena.kill_one_of_two(50)
    arena.recover()
    with capsys.disabled():
        print(f"\nseed {SEED}: {arena.figures}")  # noqa: T201 - the figures are what it is about
    assert arena.figures.kills >= 100
    assert arena.figures.resumed
    assert arena.figures.unknown
