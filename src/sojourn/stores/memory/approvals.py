"""Questions to people in memory: ask, decide, expire, remember, forget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sojourn.abc import (
    Append,
    ApprovalRow,
    Decided,
    Entry,
    NewApproval,
    RememberedRow,
    Runnable,
    Verdict,
    approval_decided_body,
)
from sojourn.errors import ApprovalDecided, ApprovalNotFound
from sojourn.records import ApprovalStatus, EffectStatus, EntryKind, Remember, TurnStatus
from sojourn.stores.common import REMEMBERED
from sojourn.stores.memory.base import MemoryNode
from sojourn.stores.memory.database import Remembered, StoredSession

_EXACT = frozenset({Remember.SESSION_EXACT, Remember.USER_EXACT})
_FOR_USER = frozenset({Remember.USER, Remember.USER_EXACT})
_PENDING = ApprovalStatus.PENDING

#: A question and the session that it was asked in.
_Question = tuple[StoredSession, ApprovalRow]


class MemoryApprovals(MemoryNode):
    """Questions, and what is remembered of their answers."""

    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        self._write()
        s = self._find(user, id)
        asked = next((found for found in s.approvals.values() if found.id == approval), None)
        if asked is None:
            raise ApprovalNotFound(id, approval)
        if asked.status is not _PENDING:
            if (asked.status, asked.changed) != (verdict.status, verdict.changed):
                raise ApprovalDecided(approval, asked.status.value, asked.by)
            return Decided([replace(asked)], [], again=True)
        if _is_overdue(asked, verdict.now):
            return self._conclude([(s, replace(asked, status=ApprovalStatus.EXPIRED, decided=verdict.now))])
        answer = replace(asked, status=verdict.status, decided=verdict.now, by=verdict.by)
        answers = [(s, replace(answer, reason=verdict.reason, changed=verdict.changed))]
        if verdict.remember is not None and verdict.status is ApprovalStatus.APPROVED:
            answers += self._remember(asked, verdict.remember, verdict)
        return self._conclude(answers)

    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        self._check_open()
        overdue = [(s, asked) for s, asked in self._open_questions() if _is_overdue(asked, now)]
        if overdue:
            self._write()
        overdue.sort(key=lambda found: (found[1].expires or 0, *_place(*found)))
        expired = [(s, replace(asked, status=ApprovalStatus.EXPIRED, decided=now)) for s, asked in overdue[:limit]]
        return self._conclude(expired).runnable

    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        self._check_open()
        sessions = self.database.sessions.values() if id is None else [self._find(user, id)]
        found = [
            (s, asked)
            for s in sessions
            for asked in s.approvals.values()
            if asked.user == user and (not pending or asked.status is _PENDING)
        ]
        found.sort(key=lambda item: (item[1].asked, *_place(*item)))
        return [replace(asked) for _, asked in found[:limit]]

    async def approval(self, user: str, approval: str) -> ApprovalRow:
        self._check_open()
        for s in self.database.sessions.values():
            for asked in s.approvals.values():
                if (asked.user, asked.id) == (user, approval):
                    return replace(asked)
        raise ApprovalNotFound(None, approval)

    async def remembered(self, user: str, id: str | None = None) -> Sequence[RememberedRow]:
        self._check_open()
        if id is not None:
            self._find(user, id)
        found = [
            replace(known.row)
            for known in self.database.remembered
            if known.row.user == user and id in {None, known.row.session} and self._holds(known)
        ]
        return sorted(found, key=lambda row: row.since)

    async def forget(self, user: str, remembered: str) -> bool:
        self._write()
        known = self.database.remembered
        kept = [other for other in known if (other.row.user, other.row.id) != (user, remembered)]
        self.database.remembered = kept
        return len(kept) < len(known)

    # -- asking

    def _ask(self, s: StoredSession, write: Append) -> list[ApprovalRow]:
        """Store a turn's questions; what is remembered answers some of them at once."""
        for new in write.asked:
            place = new.seq, new.index
            s.approvals[place] = _question(s, write, new)
            if call := s.effects.get(place):
                s.effects[place] = replace(call, status=EffectStatus.INTENDED)
        for new in write.asked:
            asked = s.approvals[new.seq, new.index]
            if self._is_remembered(asked):
                self._answer(s, replace(asked, status=ApprovalStatus.APPROVED, decided=write.now, by=REMEMBERED))
        return [replace(s.approvals[new.seq, new.index]) for new in write.asked]

    def _is_remembered(self, asked: ApprovalRow) -> bool:
        return any(
            known.row.user == asked.user
            and known.row.session in {None, asked.session}
            and _is_like(asked, known.row)
            and self._holds(known)
            for known in self.database.remembered
        )

    def _holds(self, known: Remembered) -> bool:
        return known.node is None or self._is_alive(known.node)

    # -- answering

    def _answer(self, s: StoredSession, answer: ApprovalRow) -> None:
        """Store how a question was decided, and say so in the session's log."""
        now = answer.decided or 0
        s.approvals[answer.seq, answer.index] = answer
        s.row.active = max(now, s.row.active)
        self._log(s, [Entry(0, EntryKind.APPROVAL_DECIDED, answer.turn, approval_decided_body(answer))], now)

    def _conclude(self, answers: Sequence[_Question]) -> Decided:
        """Store answers, and put those turns in line again that wait for nobody any more."""
        for s, answer in answers:
            self._answer(s, answer)
        runnable = []
        for s in {s.row.key: s for s, _ in answers}.values():
            waits = s.current is not None and s.current.status is TurnStatus.WAITING
            if s.current and waits and not self._is_asked(s):
                s.current.status = TurnStatus.QUEUED
                self._settle(s)
                runnable.append(Runnable(s.row.user, s.row.id))
        return Decided([replace(answer) for _, answer in answers], runnable)

    def _remember(self, asked: ApprovalRow, remember: Remember, verdict: Verdict) -> list[_Question]:
        """Keep the yes for what comes; the answers to what waits already and is like it."""
        exact, for_user = remember in _EXACT, remember in _FOR_USER
        row = RememberedRow(
            verdict.remembered, asked.user, None if for_user else asked.session, asked.tool,
            asked.arguments if exact else None, asked.digest if exact else None, verdict.now, verdict.by,
        )  # fmt: skip
        self.database.remembered.append(Remembered(row, self._node if verdict.fleeting else None))
        like = [
            (s, replace(other, status=ApprovalStatus.APPROVED, decided=verdict.now, by=verdict.by))
            for s, other in self._open_questions()
            if other is not asked
            and other.user == asked.user
            and row.session in {None, other.session}
            and _is_like(other, row)
        ]
        return sorted(like, key=lambda found: _place(*found))

    def _open_questions(self) -> Iterator[_Question]:
        for s in self.database.sessions.values():
            yield from ((s, asked) for asked in s.approvals.values() if asked.status is _PENDING)

    def _is_asked(self, s: StoredSession) -> bool:
        return any(asked.status is _PENDING for asked in s.approvals.values())

    # -- what became of them

    def _withdraw(self, s: StoredSession, status: ApprovalStatus, now: int) -> None:
        """Close what is still asked, because its turn ends; the turn's end says so in the log."""
        for place, asked in s.approvals.items():
            if asked.status is _PENDING:
                s.approvals[place] = replace(asked, status=status, decided=now)

    def _decided(self, s: StoredSession, turn: int) -> list[ApprovalRow]:
        """The answers that the turn has not acted upon yet, in the order of the calls."""
        return [
            replace(answer)
            for place, answer in sorted(s.approvals.items())
            if answer.turn == turn and (call := s.effects.get(place)) and call.status is EffectStatus.INTENDED
        ]

    def _forget_session(self, s: StoredSession) -> None:
        """Forget what was asked and remembered in it; what holds for all sessions of the user stays."""
        s.approvals.clear()
        own = (s.row.user, s.row.id)
        self.database.remembered = [r for r in self.database.remembered if (r.row.user, r.row.session) != own]


def _question(s: StoredSession, write: Append, new: NewApproval) -> ApprovalRow:
    return ApprovalRow(
        id=new.id, user=s.row.user, session=s.row.id, turn=write.turn, seq=new.seq, index=new.index, tool=new.tool,
        arguments=new.arguments, digest=new.digest, status=_PENDING, asked=write.now, expires=new.expires,
    )  # fmt: skip


def _place(s: StoredSession, asked: ApprovalRow) -> tuple[int, int, int]:
    return s.row.key, asked.seq, asked.index


def _is_overdue(asked: ApprovalRow, now: int) -> bool:
    return asked.expires is not None and asked.expires <= now


def _is_like(asked: ApprovalRow, known: RememberedRow) -> bool:
    return asked.tool == known.tool and known.digest in {None, asked.digest}
