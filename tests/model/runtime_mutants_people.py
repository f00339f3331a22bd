"""Bugs to plant in what people decide and in what is said into and after a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sojourn.abc import Append, ApprovalRow, Decided, Runnable, Verdict
from sojourn.records import ApprovalStatus, Effect, EffectStatus, TurnStatus
from sojourn.sessions import desk
from sojourn.sessions.chores import Chores
from sojourn.sessions.runtime import Runtime
from sojourn.sessions.turn_run import TurnRun
from sojourn.stores.memory import MemoryStore
from sojourn.stores.memory.database import Remembered, StoredSession


def run_what_was_allowed_again_after_a_crash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TurnRun, "_allowed", lambda *_: [])


def start_what_was_denied(patch: pytest.MonkeyPatch) -> None:
    def careless(_: TurnRun, waiting: Sequence[Effect]) -> list[Effect]:
        return [replace(effect, status=EffectStatus.STARTED) for effect in waiting]

    patch.setattr(TurnRun, "_allowed", careless)


def let_the_last_decision_win(patch: pytest.MonkeyPatch) -> None:
    decide = MemoryStore.decide

    async def decide_again(self: MemoryStore, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        found = self.database.sessions.get((user, id))
        for place, row in list(found.approvals.items()) if found else []:
            decided = row.status in {ApprovalStatus.APPROVED, ApprovalStatus.DENIED}
            if found and row.id == approval and decided and row.status is not verdict.status:
                found.approvals[place] = replace(row, status=ApprovalStatus.PENDING)
        return await decide(self, user, id, approval, verdict)

    patch.setattr(MemoryStore, "decide", decide_again)


def start_the_turn_again_with_a_decision_made_twice(patch: pytest.MonkeyPatch) -> None:
    decide = MemoryStore.decide

    async def decide_twice(self: MemoryStore, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        decided = await decide(self, user, id, approval, verdict)
        found = self.database.sessions[user, id]
        turn = found.current
        if decided.again and turn is not None and turn.status is TurnStatus.RUNNING:
            row = decided.approvals[0]
            place = row.seq, row.index
            found.effects[place] = replace(found.effects[place], status=EffectStatus.INTENDED)
        return decided

    patch.setattr(MemoryStore, "decide", decide_twice)


def leave_superseded_questions_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_withdraw", lambda *_: None)


def remember_in_every_session(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: MemoryStore, asked: ApprovalRow) -> bool:
        known = [found.row for found in self.database.remembered]
        return any(row.user == asked.user and row.tool == asked.tool and not row.digest for row in known)

    patch.setattr(MemoryStore, "_is_remembered", leaky)


def remember_for_every_user(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: MemoryStore, asked: ApprovalRow) -> bool:
        known = [found.row for found in self.database.remembered]
        same = [row for row in known if row.session in {None, asked.session} and row.tool == asked.tool]
        return any(row.digest in {None, asked.digest} for row in same)

    patch.setattr(MemoryStore, "_is_remembered", leaky)


def remember_what_was_to_be_forgotten_with_its_process(patch: pytest.MonkeyPatch) -> None:
    def tenacious(self: MemoryStore, known: Remembered) -> bool:
        return True

    patch.setattr(MemoryStore, "_holds", tenacious)


def wake_nobody_for_a_decision(patch: pytest.MonkeyPatch) -> None:
    runnable = MemoryStore.runnable

    async def forgetful(self: MemoryStore, limit: int = 20) -> Sequence[Runnable]:
        found = await runnable(self, limit)
        sessions = self.database.sessions
        return [one for one in found if not any(q.decided for q in sessions[one.user, one.id].approvals.values())]

    patch.setattr(MemoryStore, "runnable", forgetful)
    patch.setattr(Runtime, "wake_soon", lambda *_: None)


def never_expire(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Chores) -> None:
        return

    patch.setattr(Chores, "expire", nothing)


def lose_a_steer_at_the_answer(patch: pytest.MonkeyPatch) -> None:
    def lose(self: MemoryStore, s: StoredSession, write: Append) -> bool:
        if write.end is not None and write.end.status is TurnStatus.COMPLETED:
            self._drop(s, [item for item in s.inbox.values() if item.kind == "steer" and not item.held])
        return False

    patch.setattr(MemoryStore, "_is_refused", lose)


def run_follow_ups_with_an_unrelated_message(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_hold_said", lambda *_: None)


def forget_the_state_when_it_leaves_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(desk, "state_after", lambda _: "{}")


def ask_nobody_again_after_a_crash(patch: pytest.MonkeyPatch) -> None:
    async def skip(self: TurnRun, *_: Any) -> None:
        await self._write(*self._closed_calls())

    ask = TurnRun._ask

    async def careless(self: TurnRun, *args: Any) -> Any:
        return await (skip(self) if self._attempt > 1 else ask(self, *args))

    patch.setattr(TurnRun, "_ask", careless)


PEOPLE_MUTANTS = [
    run_what_was_allowed_again_after_a_crash,
    start_what_was_denied,
    let_the_last_decision_win,
    start_the_turn_again_with_a_decision_made_twice,
    leave_superseded_questions_open,
    remember_in_every_session,
    remember_for_every_user,
    remember_what_was_to_be_forgotten_with_its_process,
    wake_nobody_for_a_decision,
    never_expire,
    lose_a_steer_at_the_answer,
    run_follow_ups_with_an_unrelated_message,
    forget_the_state_when_it_leaves_memory,
    ask_nobody_again_after_a_crash,
]

RARE_PEOPLE = {
    start_the_turn_again_with_a_decision_made_twice,
    remember_for_every_user,
    remember_what_was_to_be_forgotten_with_its_process,
    forget_the_state_when_it_leaves_memory,
}
