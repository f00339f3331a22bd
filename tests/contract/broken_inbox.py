"""Stores that break one promise of steers, follow-ups or removal each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sojourn.abc import Accepted, Acquired, Append, Appended, Cancelled, Claim, NewInput, SessionRow, TurnEnd, TurnRow
from sojourn.records import InputKind, TurnStatus
from sojourn.stores.common import REMOVED
from sojourn.stores.memory import MemoryStore
from sojourn.stores.memory.database import StoredSession
from sojourn.stores.memory.inbox import inputs_of


class SteersAreMessages(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        kind = InputKind.MESSAGE if new.kind is InputKind.STEER else new.kind
        return await super().accept(replace(new, kind=kind), claim)


class FollowUpsAreMessages(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        kind = InputKind.MESSAGE if new.kind is InputKind.FOLLOW_UP else new.kind
        return await super().accept(replace(new, kind=kind), claim)


class SteersSupersede(MemoryStore):
    """Withdraws the questions of a turn that waits when something is said into it."""

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        waits = s is not None and s.current is not None and s.current.status is TurnStatus.WAITING
        return await super().accept(replace(new, kind=InputKind.MESSAGE) if waits else new, claim)


class FollowUpsAreTurnsEach(MemoryStore):
    def _join(self, s: StoredSession, new: NewInput) -> Accepted:
        kinds = {position: item.kind for position, item in s.inbox.items()}
        for item in s.inbox.values():
            item.kind = InputKind.MESSAGE if item.kind is InputKind.FOLLOW_UP else item.kind
        answer = super()._join(s, new)
        for position, kind in kinds.items():
            s.inbox[position].kind = kind
        return answer


class FollowUpsJoinWhatIsHeld(MemoryStore):
    def _join(self, s: StoredSession, new: NewInput) -> Accepted:
        held = [item for item in s.inbox.values() if item.held and item.kind is InputKind.FOLLOW_UP]
        for item in held:
            item.held = False
        answer = super()._join(s, new)
        for item in held:
            item.held = item.turn != answer.turn.turn
        return answer


class TurnsTakeTheFirstInputAlone(MemoryStore):
    """What joined a follow-up is lost when that is opened."""

    def _open(self, s: StoredSession, turn: TurnRow, body: str, text: str, *, known: int, now: int) -> Acquired:
        first = text.split("\n\n- ")[1] if "\n\n- " in text else text
        return super()._open(s, turn, body, first, known=known, now=now)


class TheInboxIsNeverFull(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        return await super().accept(replace(new, limit=None), claim)


class FullForThoseItKnows(MemoryStore):
    """Counts what is in line before it looks for the key."""

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        full = s is not None and new.limit is not None and len(s.inbox) >= new.limit
        return await super().accept(replace(new, key=None) if full else new, claim)


class OnlyTheLineIsCounted(MemoryStore):
    """What is held does not fill the inbox."""

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        more = s.row.held if s is not None else 0
        return await super().accept(replace(new, limit=None if new.limit is None else new.limit + more), claim)


class CompletesOverWhatIsToBeSaid(MemoryStore):
    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        return False if write.end is not None else super()._is_refused(s, write)

    async def append(self, write: Append) -> Appended:
        answer = await super().append(write)
        s = next((s for s in self.database.sessions.values() if s.row.key == write.session.key), None)
        if s is not None and write.end is not None and write.end.status is TurnStatus.COMPLETED:
            self._drop(s, [item for item in s.inbox.values() if item.kind is InputKind.STEER])
        return answer


class RefusalsStoreTheEntries(MemoryStore):
    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        refused = super()._is_refused(s, write)
        if refused:
            self._log(s, write.entries[:-1], write.now)
        return refused


class RefusesWhateverEnds(MemoryStore):
    """No turn ends in any way while something is to be said into it."""

    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        return super()._is_refused(s, write) or (write.end is not None and s.row.steers > 0)


class TakesWhatIsGone(MemoryStore):
    """Says to the model what somebody has removed."""

    async def append(self, write: Append) -> Appended:
        s = next((s for s in self.database.sessions.values() if s.row.key == write.session.key), None)
        there = [position for position in write.taken if s is not None and position in s.inbox]
        return await super().append(replace(write, taken=there))


class TakesWhateverIsThere(MemoryStore):
    """Takes messages and follow-ups for what is said into the turn."""

    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        others = [p for p in write.taken if p in s.inbox and s.inbox[p].kind is not InputKind.STEER]
        return super()._is_refused(s, replace(write, taken=[p for p in write.taken if p not in others]))


class TakesWhatIsHeld(MemoryStore):
    def _is_refused(self, s: StoredSession, write: Append) -> bool:
        held = {position for position, item in s.inbox.items() if item.held and item.kind is InputKind.STEER}
        return super()._is_refused(s, replace(write, taken=[p for p in write.taken if p not in held]))


class TakesNothing(MemoryStore):
    """What was said stays in line, and is said again."""

    async def append(self, write: Append) -> Appended:
        return await super().append(replace(write, taken=()))


class ForgetsToSayHowManyAreLeft(MemoryStore):
    async def append(self, write: Append) -> Appended:
        return replace(await super().append(write), steers=0)


class FailuresLoseWhatWasSaid(MemoryStore):
    def _hold_said(self, s: StoredSession) -> None:
        self._drop(s, [item for item in s.inbox.values() if item.kind is InputKind.STEER])
        super()._hold_said(s)


class FailuresHoldOnlySteers(MemoryStore):
    def _hold_said(self, s: StoredSession) -> None:
        self._hold(s, [item for item in s.inbox.values() if item.kind is InputKind.STEER])


class FailuresHoldEverything(MemoryStore):
    def _hold_said(self, s: StoredSession) -> None:
        self._hold(s, list(s.inbox.values()))


class OthersEndWithoutHolding(MemoryStore):
    """A turn that somebody else ends leaves its follow-ups in line, to run with whatever comes."""

    def _end_unowned(self, s: StoredSession, turn: TurnRow, end: TurnEnd, now: int) -> None:
        line = [item for item in s.inbox.values() if item.kind is InputKind.FOLLOW_UP and not item.held]
        super()._end_unowned(s, turn, end, now)
        for item in line:
            if item.position in s.inbox:
                item.held, s.turns[item.turn].status = False, TurnStatus.QUEUED
        self._settle(s)


class StoppingHolds(MemoryStore):
    """A turn that stops for a person, or is handed over, has what is to be said into it held."""

    async def append(self, write: Append) -> Appended:
        answer = await super().append(write)
        s = next(s for s in self.database.sessions.values() if s.row.key == write.session.key)
        if s.current is not None and s.current.status in {TurnStatus.WAITING, TurnStatus.QUEUED}:
            self._hold_said(s)
        return answer


class ResumeForgetsSteers(MemoryStore):
    """Puts turns back in line without what was to be said into them."""

    def _unhold(self, s: StoredSession, held: Sequence[int]) -> None:
        kept = [item for item in s.inbox.values() if item.held and item.kind is InputKind.STEER]
        super()._unhold(s, held)
        for item in kept:
            item.held = True
        self._settle(s)


class ResumeSaysItIntoTheNextTurn(MemoryStore):
    """What was for a turn that ended is said into the one that runs now."""

    async def resume(self, user: str, id: str, now: int) -> Sequence[int]:
        s = self._find(user, id)
        for item in s.inbox.values():
            if item.kind is InputKind.STEER and s.row.current is not None and item.held:
                item.turn, item.held = s.row.current, False
        return await super().resume(user, id, now)


class ResumePutsItLast(MemoryStore):
    async def resume(self, user: str, id: str, now: int) -> Sequence[int]:
        s = self._find(user, id)
        for item in [item for item in s.inbox.values() if item.held and item.kind is InputKind.STEER]:
            s.position += 1
            s.inbox[s.position] = replace(item, position=s.position)
            del s.inbox[item.position]
        return await super().resume(user, id, now)


class DiscardLeavesSteers(MemoryStore):
    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        s = self._find(user, id)
        held = [t.turn for t in s.turns.values() if t.status is TurnStatus.HELD]
        if turn is None:
            for number in held:
                await super().discard(user, id, number, now)
            return held
        return await super().discard(user, id, turn, now)


class DiscardOfOneRemovesAll(MemoryStore):
    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        found = await super().discard(user, id, turn, now)
        s = self._find(user, id)
        self._drop(s, [item for item in s.inbox.values() if item.held and item.kind is InputKind.STEER])
        return found


class ClearLeavesSteers(MemoryStore):
    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        s = self._find(user, id)
        kept = {p: item for p, item in s.inbox.items() if item.kind is InputKind.STEER}
        answer = await super().request_cancel(user, id, turn, clear=clear, now=now)
        s.inbox |= kept
        self._settle(s)
        return answer


class RemoveLeavesAnEmptyTurn(MemoryStore):
    async def remove(self, user: str, id: str, position: int, now: int) -> int | None:
        s = self._find(user, id)
        item = s.inbox.get(position)
        if item is not None:
            self._drop(s, [item])
        return item.turn if item else None


class RemoveTakesTheWholeTurn(MemoryStore):
    async def remove(self, user: str, id: str, position: int, now: int) -> int | None:
        s = self._find(user, id)
        item = s.inbox.get(position)
        if item is not None and item.kind is not InputKind.STEER and len(inputs_of(s, item.turn)) > 1:
            self._end_unowned(s, s.turns[item.turn], TurnEnd(TurnStatus.CANCELLED, REMOVED), now)
            return item.turn
        return await super().remove(user, id, position, now)


class PlacesAreGivenAgain(MemoryStore):
    def _line_up(self, s: StoredSession, turn: TurnRow, new: NewInput, kind: InputKind) -> int:
        s.position = max(s.inbox, default=0)
        return super()._line_up(s, turn, new, kind)


class ResetKeepsTheCounts(MemoryStore):
    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        before = self._find(user, id).row.steers
        row = await super().reset(user, id, now)
        self._find(user, id).row.steers = before
        return replace(row, steers=before)


class CountsSteersAsQueued(MemoryStore):
    def _settle(self, s: StoredSession) -> Any:
        super()._settle(s)
        s.row.queued, s.row.steers = s.row.queued + s.row.steers, 0
