"""What people decide about the calls of conversations, with a real process that dies at the worst moments."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.replay.callers import Shares
from tests.replay.conversations import many, write
from tests.replay.decisions import ASKED, DECIDED, INSIDE, Decisions, Kill
from tests.replay.ledger import Ledger
from tests.replay.stage import HERE

RISKY = frozenset({"reserve", "cancel_reservation"})


def decisions(folder: Path, copies: int, shares: Shares) -> Decisions:
    conversations, log = folder / "conversations.jsonl", folder / "tools.log"
    write(conversations, many(copies))
    return Decisions(
        conversations,
        folder,
        model=[str(HERE / "judge.py"), str(conversations), "{port}"],
        tools=[sys.executable, str(HERE / "tools.py"), str(conversations), str(log)],
        tool_log=log,
        risky=RISKY,
        shares=shares,
    )


async def test_what_people_decide_is_carried_out_once_and_what_they_deny_never(tmp_path: Path) -> None:
    played = decisions(tmp_path, 4, Shares(deny=0.25, disagree=0.2, change=0.3, remember=0.3))
    kills = [Kill(kind, after=2) for kind in (ASKED, DECIDED, INSIDE)]
    await played.decide(kills, at_once=8)
    figures = await played.judge_calls()
    assert (figures.ran_too_often, figures.never_ran, figures.denied_ran) == (0, 0, 0), figures
    assert figures.kills == {kill.kind: 1 for kill in kills}
    assert figures.denied + figures.changed


def test_the_judge_notices_calls_that_ran_twice_or_never_or_although_they_were_denied() -> None:
    ledger = Ledger(RISKY, lambda _: False)
    ledger.least.update(["twice", "never", "fine", "half denied"])
    ledger.most.update(["twice", "never", "fine", "half denied", "unknown"])
    ledger.denied.update(["denied", "half denied"])
    ran = Counter({"twice": 2, "fine": 1, "unknown": 1, "denied": 1, "half denied": 2})
    ledger.compare_runs(ran, ran)
    assert (ledger.figures.ran_too_often, ledger.figures.never_ran, ledger.figures.denied_ran) == (1, 1, 2)
