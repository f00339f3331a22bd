"""Turns in memory: accept, acquire, append, cancel, resume, discard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sojourn.abc import (
    MAX_TAIL,
    Acceptance,
    Accepted,
    Acquired,
    Append,
    Appended,
    Cancelled,
    Claim,
    Entry,
    InputRow,
    NewInput,
    Runnable,
    SessionRow,
    StaleClaim,
    TurnEnd,
    TurnRow,
)
from sojourn.errors import IdempotencyConflict, OwnershipLost, SessionBusy, SessionNotFound, TurnNotFound
from sojourn.records import ApprovalStatus, Effect, EntryKind, SessionStatus, TurnStatus
from sojourn.stores.common import CANCELLED, DISCARDED, SUPERSEDED, ended_body
from sojourn.stores.memory.approvals import MemoryApprovals
from sojourn.stores.memory.database import OPEN_CALLS, StoredSession

_LINE = (TurnStatus.QUEUED, TurnStatus.HELD)

#: What ends when something else is said.
_SUPERSEDED = (TurnStatus.HELD, TurnStatus.WAITING)


class MemoryTurns(MemoryApprovals):
    """Turns, and the line before them."""

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        self._write()
        s = self.database.sessions.get((new.user, new.id))
        if s is None and not new.create:
            raise SessionNotFound(new.id)
        known = s and new.key is not None and next((t for t in s.turns.values() if t.key == new.key), None)
        if s and known:
            return self._attach(s, known, new)
        if s and new.reject and (s.row.queued or s.row.status in {SessionStatus.RUNNING, SessionStatus.QUEUED}):
            raise SessionBusy(new.id)
        current = s.current if s else None
        clear = not s or (self._free(s.row) and not s.row.queued and (not current or current.status in _SUPERSEDED))
        opens = claim is not None and clear
        if opens and s and claim and _stale(s.row, claim):
            return Accepted(Acceptance.STALE, replace(s.row), _new_turn(0, new))
        created = s is None
        s = s or self._create(new.user, new.id, new.title, new.now)
        if current and current.status in _SUPERSEDED:
            self._end_unowned(s, current, TurnEnd(TurnStatus.CANCELLED, SUPERSEDED), new.now)
        s.row.active = max(new.now, s.row.active)
        s.row.title = new.title if s.row.title is None else s.row.title
        s.row.turns += 1
        turn = s.turns[s.row.turns] = _new_turn(s.row.turns, new)
        s.position += 1
        s.inbox[s.position] = InputRow(s.position, turn.turn, new.body, new.text, held=False)
        s.row.queued += 1
        self._settle(s)
        if not opens or claim is None:
            row = replace(s.row)
            return Accepted(Acceptance.QUEUED, row, replace(turn), created=created, orphaned=self._orphaned(s))
        got = self._open_next(s, 0 if created else claim.version, new.now)
        return Accepted(
            Acceptance.OPENED, got.session, got.turn, tail=got.tail, open_calls=got.open_calls, created=created
        )

    def _attach(self, s: StoredSession, turn: TurnRow, new: NewInput) -> Accepted:
        if turn.digest != new.digest:
            raise IdempotencyConflict(new.id, new.key or "")
        if turn.status is TurnStatus.HELD:
            self._unhold(s, [turn.turn])
        return Accepted(Acceptance.ATTACHED, replace(s.row), replace(turn), orphaned=self._orphaned(s))

    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        self._write()
        s = self._find(user, id)
        if not self._orphaned(s):
            return None
        if _stale(s.row, claim):
            raise StaleClaim
        turn = s.current
        if turn is None:
            return self._open_next(s, claim.version, now)
        interrupted = turn.status is TurnStatus.RUNNING
        turn.status = TurnStatus.RUNNING
        s.row.owner = self._node
        s.row.fence += 1
        s.row.active = max(now, s.row.active)
        self._settle(s)
        return self._acquired(s, turn, claim.version, continued=True, interrupted=interrupted)

    async def append(self, write: Append) -> Appended:
        self._write()
        s, turn = self._owned(write)
        self._log(s, write.entries, write.now)
        for call in write.started:
            s.effects[call.seq, call.index] = Effect(seq=call.seq, index=call.index, tool=call.tool, status=call.status)
        for effect in write.finished:
            if known := s.effects.get((effect.seq, effect.index)):
                s.effects[effect.seq, effect.index] = replace(known, status=effect.status)
        s.row.active = max(write.now, s.row.active)
        if write.usage is not None:
            s.row.usage = write.usage
        if write.turn_usage is not None:
            turn.usage = write.turn_usage
        if write.attempts is not None:
            turn.attempts = write.attempts
        if write.end is None:
            return Appended(s.row.version, cancel_requested=turn.cancel_requested)
        if write.end.status is TurnStatus.WAITING:
            return self._wait(s, turn, write.end, write)
        return self._end(s, turn, write)

    def _owned(self, write: Append) -> tuple[StoredSession, TurnRow]:
        """What is written to, if its writer is who may."""
        s = next((s for s in self.database.sessions.values() if s.row.key == write.session.key), None)
        turn = s.turns.get(write.turn) if s else None
        if not s or not turn or turn.status is not TurnStatus.RUNNING or s.row.owner != self._node:
            raise OwnershipLost(write.session.id)
        if (s.row.fence, s.row.version) != (write.fence, write.version):
            raise OwnershipLost(write.session.id)
        return s, turn

    def _wait(self, s: StoredSession, turn: TurnRow, end: TurnEnd, write: Append) -> Appended:
        """Stop for people, unless what is remembered has decided everything already."""
        written = s.row.version
        turn.usage = end.usage
        asked = self._ask(s, write)
        if not self._is_asked(s):
            following = self._acquired(s, turn, written, continued=True, interrupted=False)
            return Appended(s.row.version, asked=asked, next=replace(following, decided=[replace(q) for q in asked]))
        turn.status, turn.reason = TurnStatus.WAITING, end.reason
        s.row.owner = None
        self._settle(s)
        return Appended(s.row.version, asked=asked, tail=self._after(s, written))

    def _end(self, s: StoredSession, turn: TurnRow, write: Append) -> Appended:
        end = write.end or TurnEnd(TurnStatus.FAILED)
        version = s.row.version
        turn.status, turn.reason, turn.usage = end.status, end.reason, end.usage
        if end.status.final:
            turn.ended, turn.ended_seq = write.now, version
            s.row.current = None
        if end.status is TurnStatus.HELD:
            for item in s.inbox.values():
                item.held = True
                s.turns[item.turn].status = TurnStatus.HELD
            s.row.held, s.row.queued = s.row.held + s.row.queued, 0
        if end.status.final and s.row.queued:
            return Appended(version, next=self._open_next(s, version, write.now))
        s.row.owner = None
        self._settle(s)
        return Appended(version)

    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        line = [item.turn for item in s.inbox.values() if not item.held]
        chosen = turn if turn is not None else s.row.current or (line[0] if line else None)
        wanted = [chosen] if chosen is not None else []
        if clear and s.row.current and s.turns[s.row.current].status in _LINE:
            wanted.append(s.row.current)  # it was in line or held before, and is in the history already
        if clear:
            wanted += [item.turn for item in s.inbox.values()]
        done, running = [], None
        for number in dict.fromkeys(wanted):
            found = s.turns[number]
            if found.status is TurnStatus.RUNNING and not self._free(s.row):
                found.cancel_requested, running = True, number
            elif not found.status.final:
                self._end_unowned(s, found, TurnEnd(TurnStatus.CANCELLED, CANCELLED), now)
                done.append(number)
        return Cancelled(replace(s.row), done, running)

    async def resume(self, user: str, id: str, now: int) -> Sequence[int]:
        self._write()
        s = self._find(user, id)
        held = [t.turn for t in s.turns.values() if t.status is TurnStatus.HELD]
        self._unhold(s, held)
        return held

    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        held = [t for t in s.turns.values() if t.status is TurnStatus.HELD and turn in {None, t.turn}]
        for found in held:
            self._end_unowned(s, found, TurnEnd(TurnStatus.CANCELLED, DISCARDED), now)
        return [found.turn for found in held]

    async def runnable(self, limit: int = 20) -> Sequence[Runnable]:
        self._check_open()
        found = [s.row for s in self.database.sessions.values() if self._orphaned(s)]
        found.sort(key=lambda row: row.active)
        return [Runnable(row.user, row.id) for row in found[:limit]]

    async def cancels(self) -> Sequence[tuple[int, int]]:
        self._check_open()
        return [
            (s.row.key, s.row.current)
            for s in self.database.sessions.values()
            if s.row.owner == self._node and s.row.current and s.turns[s.row.current].cancel_requested
        ]

    # -- the moves behind them

    def _open_next(self, s: StoredSession, known: int, now: int) -> Acquired:
        position, item = next((p, i) for p, i in sorted(s.inbox.items()) if not i.held)
        del s.inbox[position]
        row, turn = s.row, s.turns[item.turn]
        row.queued -= 1
        row.owner, row.current = self._node, item.turn
        row.fence += 1
        row.active = max(now, row.active)
        self._log(s, [Entry(0, EntryKind.TURN_OPENED, item.turn, item.body, item.text)], now)
        turn.status, turn.attempts, turn.started, turn.opened_seq = TurnStatus.RUNNING, 1, now, row.version
        self._settle(s)
        return self._acquired(s, turn, known, continued=False, interrupted=False)

    def _acquired(self, s: StoredSession, turn: TurnRow, known: int, *, continued: bool, interrupted: bool) -> Acquired:
        return Acquired(
            replace(s.row),
            replace(turn),
            tail=self._after(s, known),
            continued=continued,
            interrupted=interrupted,
            open_calls=[e for _, e in sorted(s.effects.items()) if e.status in OPEN_CALLS],
            decided=self._decided(s, turn.turn),
        )

    def _unhold(self, s: StoredSession, held: Sequence[int]) -> None:
        for number in held:
            s.turns[number].status = TurnStatus.QUEUED
            for item in s.inbox.values():
                if item.turn == number and item.held:
                    item.held = False
                    s.row.held -= 1
                    s.row.queued += 1
        self._settle(s)

    def _end_unowned(self, s: StoredSession, turn: TurnRow, end: TurnEnd, now: int) -> None:
        """End a turn that no live node runs; one that was in the history says so there. What it used stays."""
        end = replace(end, usage=turn.usage)
        if turn.status is TurnStatus.WAITING:
            why = ApprovalStatus.SUPERSEDED if end.reason == SUPERSEDED else ApprovalStatus.CANCELLED
            self._withdraw(s, why, now)
        turn.status, turn.reason, turn.ended = end.status, end.reason, now
        if s.row.current == turn.turn:
            s.row.current, s.row.owner = None, None
            s.row.fence += 1
            self._log(s, [Entry(0, EntryKind.TURN_ENDED, turn.turn, ended_body(end), end.reason or "")], now)
            turn.ended_seq = s.row.version
        for position, item in list(s.inbox.items()):
            if item.turn == turn.turn:
                del s.inbox[position]
                s.row.held -= item.held
                s.row.queued -= not item.held
        s.row.active = max(now, s.row.active)
        self._settle(s)


def _new_turn(number: int, new: NewInput) -> TurnRow:
    return TurnRow(
        turn=number, status=TurnStatus.QUEUED, attempts=0, key=new.key, digest=new.digest, accepted=new.now,
        started=None, ended=None, reason=None, usage="{}", opened_seq=None, ended_seq=None, cancel_requested=False,
    )  # fmt: skip


def _stale(row: SessionRow, claim: Claim) -> bool:
    return claim.key != row.key or not 0 <= row.version - claim.version <= MAX_TAIL
