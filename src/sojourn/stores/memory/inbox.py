"""What is in line or held, in memory: join, cancel, hold, resume, discard, remove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sojourn.abc import Acceptance, Accepted, Cancelled, Entry, InputRow, NewInput, TurnEnd, TurnRow
from sojourn.errors import TurnNotFound
from sojourn.records import ApprovalStatus, EntryKind, InputKind, TurnStatus
from sojourn.stores.common import CANCELLED, DISCARDED, REMOVED, SUPERSEDED, ended_body
from sojourn.stores.memory.approvals import MemoryApprovals
from sojourn.stores.memory.database import StoredSession

_LINE = (TurnStatus.QUEUED, TurnStatus.HELD)


class MemoryInbox(MemoryApprovals):
    """The line before a session's turns, and what is said into the one that runs."""

    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        inputs = [item for item in s.inbox.values() if not _is_steer(item)]
        line = [item.turn for item in inputs if not item.held]
        chosen = turn if turn is not None else s.row.current or (line[0] if line else None)
        wanted = [chosen] if chosen is not None else []
        if clear and s.row.current and s.turns[s.row.current].status in _LINE:
            wanted.append(s.row.current)  # it was in line or held before, and is in the history already
        if clear:
            wanted += [item.turn for item in inputs]
            self._drop(s, [item for item in s.inbox.values() if _is_steer(item)])
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
        left = _held_steers(s)
        if not left:
            return held
        # the turn that they were said into has ended; together they are one of their own
        turn = self._new_turn(s, NewInput(user, id, "{}", "", now))
        for item in left:
            item.kind, item.turn, item.held = InputKind.FOLLOW_UP, turn.turn, False
        s.row.active = max(now, s.row.active)
        self._settle(s)
        return [*held, turn.turn]

    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        held = [t for t in s.turns.values() if t.status is TurnStatus.HELD and turn in {None, t.turn}]
        for found in held:
            self._end_unowned(s, found, TurnEnd(TurnStatus.CANCELLED, DISCARDED), now)
        if turn is None:
            self._drop(s, _held_steers(s))
        return [found.turn for found in held]

    async def remove(self, user: str, id: str, position: int, now: int) -> int | None:
        self._write()
        s = self._find(user, id)
        item = s.inbox.get(position)
        if item is None:
            return None
        if not _is_steer(item) and len(inputs_of(s, item.turn)) == 1:
            self._end_unowned(s, s.turns[item.turn], TurnEnd(TurnStatus.CANCELLED, REMOVED), now)
        else:
            self._drop(s, [item])
        s.row.active = max(now, s.row.active)
        return item.turn

    # -- the moves behind them

    def _join(self, s: StoredSession, new: NewInput) -> Accepted:
        """Take a steer for the current turn, or a follow-up behind everything."""
        if new.kind is InputKind.STEER and s.current:
            turn = s.current
        else:
            last = next((item for _, item in sorted(s.inbox.items(), reverse=True) if not _is_steer(item)), None)
            joins = last is not None and last.kind is InputKind.FOLLOW_UP and not last.held
            turn = s.turns[last.turn] if last and joins else self._new_turn(s, new)
        position = self._line_up(s, turn, new, new.kind)
        return Accepted(
            Acceptance.QUEUED,
            replace(s.row),
            replace(turn),
            orphaned=self._orphaned(s),
            position=position,
            since=new.now,
        )

    def _new_turn(self, s: StoredSession, new: NewInput) -> TurnRow:
        s.row.turns += 1
        turn = s.turns[s.row.turns] = unborn(s.row.turns, new)
        return turn

    def _line_up(self, s: StoredSession, turn: TurnRow, new: NewInput, kind: InputKind) -> int:
        """Put an input of the turn in line; its place."""
        s.position += 1
        s.inbox[s.position] = InputRow(
            s.position, turn.turn, new.body, new.text, held=False, kind=kind, accepted=new.now
        )
        s.row.active = max(new.now, s.row.active)
        self._settle(s)
        return s.position

    def _drop(self, s: StoredSession, items: Iterable[InputRow]) -> None:
        for item in items:
            del s.inbox[item.position]
        self._settle(s)

    def _hold(self, s: StoredSession, items: Iterable[InputRow]) -> None:
        """Hold inputs, and turns that wait for them."""
        for item in items:
            item.held = True
            if s.turns[item.turn].status is TurnStatus.QUEUED:
                s.turns[item.turn].status = TurnStatus.HELD
        self._settle(s)

    def _hold_said(self, s: StoredSession) -> None:
        """Hold what was said into the current turn or is to be said after it, because it came to no good end."""
        self._hold(s, [item for item in s.inbox.values() if item.kind is not InputKind.MESSAGE])

    def _unhold(self, s: StoredSession, held: Sequence[int]) -> None:
        """Put held turns back in line, and with the current one what was to be said into it."""
        for number in held:
            s.turns[number].status = TurnStatus.QUEUED
        for item in s.inbox.values():
            if item.turn in held:
                item.held = False
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
            self._hold_said(s)
        s.row.active = max(now, s.row.active)
        self._drop(s, inputs_of(s, turn.turn))


def unborn(number: int, new: NewInput) -> TurnRow:
    """The row of a turn that was just accepted."""
    return TurnRow(
        turn=number, status=TurnStatus.QUEUED, attempts=0, key=new.key, digest=new.digest, accepted=new.now,
        started=None, ended=None, reason=None, usage="{}", opened_seq=None, ended_seq=None, cancel_requested=False,
    )  # fmt: skip


def _is_steer(item: InputRow) -> bool:
    return item.kind is InputKind.STEER


def inputs_of(s: StoredSession, turn: int) -> list[InputRow]:
    """What the turn will be opened with, in order."""
    return [item for _, item in sorted(s.inbox.items()) if item.turn == turn and not _is_steer(item)]


def _held_steers(s: StoredSession) -> list[InputRow]:
    return [item for _, item in sorted(s.inbox.items()) if item.held and _is_steer(item)]
