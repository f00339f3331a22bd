"""Turns in memory: accept, acquire, append."""

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
    Claim,
    Entry,
    NewInput,
    Runnable,
    SessionRow,
    StaleClaim,
    TurnEnd,
    TurnRow,
    coalesced,
)
from sojourn.errors import IdempotencyConflict, InboxFull, OwnershipLost, SessionBusy, SessionNotFound
from sojourn.records import Effect, EntryKind, InputKind, SessionStatus, TurnStatus
from sojourn.stores.common import SUPERSEDED
from sojourn.stores.memory.database import OPEN_CALLS, StoredSession
from sojourn.stores.memory.inbox import MemoryInbox, inputs_of, unborn

#: What ends when something else is said.
_SUPERSEDED = (TurnStatus.HELD, TurnStatus.WAITING)


class MemoryTurns(MemoryInbox):
    """Turns, one after the other."""

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
        if new.limit is not None and (len(s.inbox) if s else 0) >= new.limit:
            raise InboxFull(new.id, new.limit)
        if s and _joins(s, new):
            return self._join(s, new)
        current = s.current if s else None
        clear = not s or (self._free(s.row) and not s.row.queued and (not current or current.status in _SUPERSEDED))
        opens = claim if clear else None
        if s and opens and _stale(s.row, opens):
            return Accepted(Acceptance.STALE, replace(s.row), unborn(0, new))
        created = s is None
        s = s or self._create(new.user, new.id, new.title, new.now)
        if current and current.status in _SUPERSEDED:
            self._end_unowned(s, current, TurnEnd(TurnStatus.CANCELLED, SUPERSEDED), new.now)
        s.row.title = new.title if s.row.title is None else s.row.title
        turn = self._new_turn(s, new)
        if opens is not None:
            got = self._open(s, turn, new.body, new.text, known=0 if created else opens.version, now=new.now)
            return Accepted(
                Acceptance.OPENED, got.session, got.turn, tail=got.tail, open_calls=got.open_calls, created=created
            )
        place = self._line_up(s, turn, new, InputKind.MESSAGE)
        row, orphaned = replace(s.row), self._orphaned(s)
        return Accepted(
            Acceptance.QUEUED, row, replace(turn), created=created, orphaned=orphaned, position=place, since=new.now
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
        unwanted = bool(write.asked) and turn.cancel_requested  # nobody is asked for a turn that is to be cancelled
        if unwanted or self._is_refused(s, write):
            return Appended(s.row.version, refused=True, steers=s.row.steers)
        self._drop(s, [s.inbox[position] for position in write.taken])
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
            return Appended(s.row.version, cancel_requested=turn.cancel_requested, steers=s.row.steers)
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

    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        """Whether the writer does not know what is to be said into its turn."""
        left = {item.position for item in s.inbox.values() if item.kind is InputKind.STEER and not item.held}
        completes = write.end is not None and write.end.status is TurnStatus.COMPLETED
        return not left.issuperset(write.taken) or (completes and bool(left.difference(write.taken)))

    def _wait(self, s: StoredSession, turn: TurnRow, end: TurnEnd, write: Append) -> Appended:
        """Stop for people, unless what is remembered has decided everything already."""
        written = s.row.version
        turn.usage = end.usage
        asked = self._ask(s, write)
        if not self._is_asked(s):
            following = self._acquired(s, turn, written, continued=True, interrupted=False)
            return Appended(
                s.row.version,
                steers=s.row.steers,
                asked=asked,
                next=replace(following, decided=[replace(q) for q in asked]),
            )
        turn.status, turn.reason = TurnStatus.WAITING, end.reason
        s.row.owner = None
        self._settle(s)
        return Appended(s.row.version, steers=s.row.steers, asked=asked, tail=self._after(s, written))

    def _end(self, s: StoredSession, turn: TurnRow, write: Append) -> Appended:
        end = write.end or TurnEnd(TurnStatus.FAILED)
        version = s.row.version
        turn.status, turn.reason, turn.usage = end.status, end.reason, end.usage
        if end.status.final:
            turn.ended, turn.ended_seq = write.now, version
            s.row.current = None
        if end.status is TurnStatus.HELD:
            self._hold(s, s.inbox.values())
        if end.status in {TurnStatus.FAILED, TurnStatus.CANCELLED}:
            self._hold_said(s)
        if end.status.final and s.row.queued:
            return Appended(version, next=self._open_next(s, version, write.now))
        s.row.owner = None
        self._settle(s)
        return Appended(version, steers=s.row.steers)

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
        """Open the first turn in line, with all its inputs as one."""
        first = next(i for _, i in sorted(s.inbox.items()) if not i.held and i.kind is not InputKind.STEER)
        inputs = inputs_of(s, first.turn)
        self._drop(s, inputs)
        body, text = coalesced([(item.body, item.text) for item in inputs])
        return self._open(s, s.turns[first.turn], body, text, known=known, now=now)

    def _open(self, s: StoredSession, turn: TurnRow, body: str, text: str, *, known: int, now: int) -> Acquired:
        row = s.row
        row.owner, row.current = self._node, turn.turn
        row.fence += 1
        row.active = max(now, row.active)
        self._log(s, [Entry(0, EntryKind.TURN_OPENED, turn.turn, body, text)], now)
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


def _joins(s: StoredSession, new: NewInput) -> bool:
    """Whether the input belongs to what the session does already, rather than being a message of its own."""
    working = s.current is not None and s.current.status is not TurnStatus.HELD
    if new.kind is InputKind.FOLLOW_UP:
        return working or s.row.queued > 0
    return new.kind is InputKind.STEER and working


def _stale(row: SessionRow, claim: Claim) -> bool:
    return claim.key != row.key or not 0 <= row.version - claim.version <= MAX_TAIL
