"""Stores that break one promise of approvals each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sojourn.abc import (
    Accepted,
    Acquired,
    Append,
    Appended,
    ApprovalRow,
    Cancelled,
    Claim,
    Decided,
    Entry,
    NewCall,
    NewInput,
    RememberedRow,
    Runnable,
    SessionRow,
    Verdict,
    approval_decided_body,
)
from sojourn.records import ApprovalStatus, EffectStatus, EntryKind, Remember, TurnStatus
from sojourn.stores.memory import MemoryStore


class TheLastVerdictCounts(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        for asked in self._find(user, id).approvals.values():
            if asked.id == approval and asked.status in {ApprovalStatus.APPROVED, ApprovalStatus.DENIED}:
                asked.status = ApprovalStatus.PENDING
        return await super().decide(user, id, approval, verdict)


class AnyVerdictAgainIsTheSame(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        for asked in self._find(user, id).approvals.values():
            if asked.id == approval and asked.status is verdict.status:
                verdict = replace(verdict, changed=asked.changed)
        return await super().decide(user, id, approval, verdict)


class DecidesInAnySession(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        self._find(user, id)
        everywhere = [a for s in self.database.sessions.values() for a in s.approvals.values()]
        where = next((a.session for a in everywhere if (a.user, a.id) == (user, approval)), id)
        return await super().decide(user, where, approval, verdict)


class DecidesForOthers(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        everywhere = [a for s in self.database.sessions.values() for a in s.approvals.values()]
        whose = next((a.user for a in everywhere if (a.session, a.id) == (id, approval)), user)
        return await super().decide(whose, id, approval, verdict)


class LateVerdictsCount(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        for asked in self._find(user, id).approvals.values():
            if asked.id == approval:
                asked.expires = None
        return await super().decide(user, id, approval, verdict)


class ExpiresAMomentLate(MemoryStore):
    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        return await super().expire(now - 1, limit)


class ExpiresEverythingAtOnce(MemoryStore):
    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        return await super().expire(now, 1000)


class ExpiryWakesNobody(MemoryStore):
    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        await super().expire(now, limit)
        return []


class OneAnswerIsEnough(MemoryStore):
    def _is_asked(self, s: Any) -> bool:
        return not any(a.status is not ApprovalStatus.PENDING for a in s.approvals.values())


class AnswersLeaveNoEntry(MemoryStore):
    def _answer(self, s: Any, answer: ApprovalRow) -> None:
        super()._answer(s, answer)
        s.log.pop()
        s.row.version -= 1


class AnswersTakeTheSession(MemoryStore):
    def _answer(self, s: Any, answer: ApprovalRow) -> None:
        super()._answer(s, answer)
        s.row.fence += 1


class AnswersGoBehindTheLine(MemoryStore):
    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        s = self._find(user, id)
        if s.current and s.current.status is TurnStatus.QUEUED and s.row.queued:
            s.row.current = None
        return await super().acquire(user, id, claim, now)


class WhoWaitsIsRunnable(MemoryStore):
    def _orphaned(self, s: Any) -> bool:
        return super()._orphaned(s) or s.row.status == "waiting"


class WhoWaitsIsStillOwned(MemoryStore):
    async def append(self, write: Append) -> Appended:
        answer = await super().append(write)
        if answer.asked and answer.next is None:
            self._find(write.session.user, write.session.id).row.owner = self._node
        return answer


class AskedCallsStayStarted(MemoryStore):
    async def append(self, write: Append) -> Appended:
        started = [NewCall(call.seq, call.index, call.tool, call.digest) for call in write.started]
        return await super().append(replace(write, started=started))


class SupersededStaysOpen(MemoryStore):
    def _withdraw(self, s: Any, status: ApprovalStatus, now: int) -> None:
        if status is not ApprovalStatus.SUPERSEDED:
            super()._withdraw(s, status, now)


class WithdrawnIsLogged(MemoryStore):
    def _withdraw(self, s: Any, status: ApprovalStatus, now: int) -> None:
        for asked in s.approvals.values():
            if asked.status is ApprovalStatus.PENDING:
                body = approval_decided_body(asked)
                self._log(s, [Entry(0, EntryKind.APPROVAL_DECIDED, asked.turn, body)], now)
        super()._withdraw(s, status, now)


class LaterMessagesQueueBehindTheWait(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        turn = s.current if s else None
        if turn is None or turn.status is not TurnStatus.WAITING:
            return await super().accept(new, claim)
        turn.status = TurnStatus.RUNNING
        try:
            return await super().accept(new, None)
        finally:
            turn.status = TurnStatus.WAITING


class CancelOnlyMarksWhoWaits(MemoryStore):
    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        s = self._find(user, id)
        if s.current and s.current.status is TurnStatus.WAITING and turn in {None, s.row.current}:
            s.current.cancel_requested = True
            return Cancelled(replace(s.row), [], s.row.current)
        return await super().request_cancel(user, id, turn, clear=clear, now=now)


class OldAnswersAreToldAgain(MemoryStore):
    def _decided(self, s: Any, turn: int) -> list[ApprovalRow]:
        return [replace(a) for a in s.approvals.values() if a.status is not ApprovalStatus.PENDING]


class DecidedQuestionsLeave(MemoryStore):
    def _decided(self, s: Any, turn: int) -> list[ApprovalRow]:
        found = super()._decided(s, turn)
        for answer in found:
            del s.approvals[answer.seq, answer.index]
        return found


class QuestionsOfEverybody(MemoryStore):
    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        if id is not None:
            return await super().approvals(user, id, pending=pending, limit=limit)
        users = sorted({other for other, _ in self.database.sessions})
        pages = [await MemoryStore.approvals(self, other, pending=pending, limit=limit) for other in users]
        return [row for page in pages for row in page][:limit]


class NewestQuestionsFirst(MemoryStore):
    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        return (await super().approvals(user, id, pending=pending, limit=1000))[::-1][:limit]


class RemembersForEverybody(MemoryStore):
    def _is_remembered(self, asked: ApprovalRow) -> bool:
        return any(
            super(RemembersForEverybody, self)._is_remembered(replace(asked, user=known.row.user))
            for known in self.database.remembered
        )


class RemembersInEverySession(MemoryStore):
    def _is_remembered(self, asked: ApprovalRow) -> bool:
        return any(
            super(RemembersInEverySession, self)._is_remembered(replace(asked, session=known.row.session or ""))
            for known in self.database.remembered
        )


class ExactIsNotExact(MemoryStore):
    def _is_remembered(self, asked: ApprovalRow) -> bool:
        return any(
            super(ExactIsNotExact, self)._is_remembered(replace(asked, digest=known.row.digest or ""))
            for known in self.database.remembered
        )


class FleetingStays(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        return await super().decide(user, id, approval, replace(verdict, fleeting=False))


class RemembersTheNo(MemoryStore):
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        got = await super().decide(user, id, approval, verdict)
        if verdict.remember and verdict.status is ApprovalStatus.DENIED:
            self._remember(replace(got.approvals[0]), verdict.remember, verdict)
        return got


class WhatWaitsStaysAsked(MemoryStore):
    def _remember(self, asked: ApprovalRow, remember: Remember, verdict: Verdict) -> list[Any]:
        super()._remember(asked, remember, verdict)
        return []


class TheYesSpreadsToOthers(MemoryStore):
    def _remember(self, asked: ApprovalRow, remember: Remember, verdict: Verdict) -> list[Any]:
        mine = super()._remember(asked, remember, verdict)
        theirs = [(s, a) for s, a in self._open_questions() if a.user != asked.user and a.tool == asked.tool]
        return mine + [(s, replace(a, status=verdict.status, decided=verdict.now, by=verdict.by)) for s, a in theirs]


class AnybodyForgets(MemoryStore):
    async def forget(self, user: str, remembered: str) -> bool:
        whose = (known.row.user for known in self.database.remembered if known.row.id == remembered)
        return await super().forget(next(whose, user), remembered)


class ForgettingTakesBack(MemoryStore):
    async def forget(self, user: str, remembered: str) -> bool:
        for s in self.database.sessions.values():
            s.approvals = {place: a for place, a in s.approvals.items() if a.user != user or a.by is None}
        return await super().forget(user, remembered)


class ResetKeepsTheQuestions(MemoryStore):
    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        kept = dict(self._find(user, id).approvals)
        row = await super().reset(user, id, now)
        self._find(user, id).approvals.update(kept)
        return row


class WhatIsRememberedOutlivesItsSession(MemoryStore):
    def _forget_session(self, s: Any) -> None:
        s.approvals.clear()


class TheUsersYesEndsWithTheSession(MemoryStore):
    def _forget_session(self, s: Any) -> None:
        super()._forget_session(s)
        self.database.remembered = [known for known in self.database.remembered if known.row.user != s.row.user]


class ForkInheritsTheQuestions(MemoryStore):
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        row = await super().fork(user, id, new_id, at=at, title=title, now=now)
        child = self._find(user, new_id)
        child.approvals = {
            p: replace(a, session=new_id) for p, a in self._find(user, id).approvals.items() if p[0] <= row.version
        }
        return row


class ForkLosesIntendedCalls(MemoryStore):
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        row = await super().fork(user, id, new_id, at=at, title=title, now=now)
        child = self._find(user, new_id)
        child.effects = {p: e for p, e in child.effects.items() if e.status is not EffectStatus.INTENDED}
        return row


class IntendedCallsAreNotOpen(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        got = await super().accept(new, claim)
        return replace(got, open_calls=[e for e in got.open_calls if e.status is not EffectStatus.INTENDED])


class GoesOnWithoutItsTail(MemoryStore):
    async def append(self, write: Append) -> Appended:
        answer = await super().append(write)
        follows = answer.next if answer.asked else None
        return replace(answer, next=replace(follows, tail=[])) if follows else answer


class WhatIsRememberedIsUnordered(MemoryStore):
    async def remembered(self, user: str, id: str | None = None) -> Sequence[RememberedRow]:
        return sorted(await super().remembered(user, id), key=lambda row: row.id)


class HandsOutItsOwnQuestions(MemoryStore):
    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        copies = await super().approvals(user, id, pending=pending, limit=limit)
        return [self._find(user, row.session).approvals[row.seq, row.index] for row in copies]
