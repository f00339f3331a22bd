"""The recorded conversations, where they lie beside the project, with what changes something left to people.

Five callers decide each question at once, half of them in another process, and the agent's process is killed between
asking and deciding, between deciding and running, and inside the run.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.test_recordings import RECORDINGS
from tests.replay.callers import Shares
from tests.replay.decisions import ASKED, DECIDED, DONE, ELSEWHERE, INSIDE, PARTLY, Decisions, Kill
from tests.replay.ledger import Figures

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded conversations are not beside the project")

SEED = int(os.environ.get("SOJOURN_SEED", "7"))

SERIAL, PARALLEL = "airline-dev.jsonl", "airline-parallel.jsonl"

#: Replies before a kill.
AT_LEAST, AT_MOST = 5, 30


def risky() -> frozenset[str]:
    """The tools that change something, as the recordings' own tools say."""
    spec = importlib.util.spec_from_file_location("replay_tools", RECORDINGS / "replay_tools.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return frozenset(module.RISKY)


def decisions(folder: Path, name: str, shares: Shares) -> Decisions:
    conversations, log = RECORDINGS / name, folder / "tools.log"
    # the recorded results do not tell of arguments that people changed
    loose = ["--loose-tools"] if shares.change else []
    return Decisions(
        conversations,
        folder,
        model=[str(RECORDINGS / "replay_llm.py"), str(conversations), "--port", "{port}", *loose],
        tools=[sys.executable, str(RECORDINGS / "replay_tools.py"), str(conversations), "--log", str(log)],
        tool_log=log,
        risky=risky(),
        shares=shares,
    )


def kills(kinds: Sequence[str], times: int) -> list[Kill]:
    chosen = [Kill(kind, Random(SEED * 100 + n).randint(AT_LEAST, AT_MOST)) for n, kind in enumerate([*kinds] * times)]
    Random(SEED).shuffle(chosen)
    return chosen


@pytest.mark.parametrize(
    ("name", "kinds", "times"),
    [
        (SERIAL, (ASKED, DECIDED, ELSEWHERE), 5),
        (SERIAL, (INSIDE, DONE), 6),
        (PARALLEL, (ASKED, PARTLY, DECIDED, ELSEWHERE), 1),
        (PARALLEL, (INSIDE, DONE), 2),
    ],
    ids=["kills before", "kills inside", "parallel, kills before", "parallel, kills inside"],
)
async def test_what_everybody_approves_is_run_once(
    tmp_path: Path, name: str, kinds: Sequence[str], times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    played = decisions(tmp_path, name, Shares(SEED))
    figures = await judged(played, kills(kinds, times), capsys)
    assert figures.denied == figures.changed == figures.remembered == 0
    assert set(figures.kills) == set(kinds)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        (SERIAL, Shares(SEED, deny=0.3, disagree=0.2)),
        (PARALLEL, Shares(SEED, deny=0.3, disagree=0.2)),
        (SERIAL, Shares(SEED, deny=0.2, remember=0.5)),
        (PARALLEL, Shares(SEED, deny=0.2, remember=0.5)),
        (SERIAL, Shares(SEED, deny=0.2, disagree=0.1, change=0.6)),
        (PARALLEL, Shares(SEED, deny=0.2, disagree=0.1, change=0.6, remember=0.3)),
    ],
    ids=["denied", "parallel, denied", "remembered", "parallel, remembered", "changed", "parallel, all of it"],
)
async def test_what_people_deny_change_and_remember_is_done_as_they_say(
    tmp_path: Path, name: str, shares: Shares, capsys: pytest.CaptureFixture[str]
) -> None:
    played = decisions(tmp_path, name, shares)
    figures = await judged(played, kills((ASKED, DECIDED, ELSEWHERE, INSIDE, DONE), 2 if name == SERIAL else 1), capsys)
    assert figures.denied
    assert bool(figures.changed) is (shares.change > 0)
    assert bool(figures.remembered) is (shares.remember > 0)


async def judged(played: Decisions, moments: Sequence[Kill], capsys: pytest.CaptureFixture[str]) -> Figures:
    await played.decide(moments, seconds=900)
    figures = await played.judge_calls()
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}, {played.conversations.name}, {played.shares}: {figures}\n")
    assert figures.conversations == len(played.recorded())
    assert figures.ran_too_often == figures.never_ran == figures.denied_ran == figures.mismatches == 0
    return figures
