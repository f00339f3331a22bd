"""Stores that break one promise each. The suite must notice every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, product
from typing import Any

from sojourn.abc import (
    EVERY_SESSION,
    Accepted,
    Acquired,
    Append,
    Appended,
    Cancelled,
    Claim,
    Entry,
    NewInput,
    Runnable,
    SessionRow,
    SessionStore,
    TurnRow,
    Wanted,
)
from sojourn.errors import InvalidInput
from sojourn.records import Direction, Effect, EffectStatus, EntryKind, SessionOrder, SessionStatus, TurnStatus
from sojourn.stores.common import encode_cursor
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from tests.contract import broken_approvals, broken_inbox, broken_searching
from tests.contract.backends import Backend


class NoFenceCheck(MemoryStore):
    async def append(self, write: Append) -> Appended:
        rows = [s.row for s in self.database.sessions.values() if s.row.key == write.session.key]
        return await super().append(replace(write, fence=rows[0].fence) if rows else write)


class NoVersionCheck(MemoryStore):
    async def append(self, write: Append) -> Appended:
        rows = [s.row for s in self.database.sessions.values() if s.row.key == write.session.key]
        return await super().append(replace(write, version=rows[0].version) if rows else write)


class NoOwnerCheck(MemoryStore):
    async def append(self, write: Append) -> Appended:
        mine = self._node
        found = [s.row.owner for s in self.database.sessions.values() if s.row.key == write.session.key]
        self._node = (found and found[0]) or mine
        try:
            return await super().append(write)
        finally:
            self._node = mine


class ForgetsTheUser(MemoryStore):
    """Finds a session by its id alone where the user has none of this id."""

    def _find(self, user: str, id: str) -> Any:
        theirs = (other for other, name in self.database.sessions if name == id)
        return super()._find(user if (user, id) in self.database.sessions else next(theirs, user), id)


class LoadsForAnybody(MemoryStore):
    async def load(self, user: str, id: str) -> tuple[SessionRow, Sequence[Entry]] | None:
        theirs = (other for other, name in self.database.sessions if name == id)
        return await super().load(next(theirs, user), id)


class SearchesEverybody(MemoryStore):
    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        found, more = await super().page(user, wanted, limit=limit, after=after)
        if wanted.query:
            users = {other for other, _ in self.database.sessions} - {user}
            pages = [(await MemoryStore.page(self, other, wanted))[0] for other in users]
            found = [*found, *chain.from_iterable(pages)]
        return found, more


class UnorderedPages(MemoryStore):
    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        found, more = await super().page(user, wanted, limit=limit, after=after)
        return sorted(found, key=lambda row: row.id), more


class CursorIsAnOffset(MemoryStore):
    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        everything, _ = await super().page(user, wanted, limit=1 << 30)
        start = int(after or 0)
        more = str(start + limit) if len(everything) > start + limit else None
        return everything[start : start + limit], more


class FiltersWhatIsOnThePage(MemoryStore):
    """Pages become short, and a query's cursors lead past what they have not shown."""

    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        everything = replace(wanted, status=frozenset(SessionStatus))
        found, more = await super().page(user, everything, limit=limit, after=after)
        return [row for row in found if row.status in wanted.status], more


class TakesAnyCursor(MemoryStore):
    """Goes on in the order of the page before, whatever is wanted."""

    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        for order, direction in product(SessionOrder, Direction):
            with suppress(InvalidInput):
                asked = replace(wanted, order=order, direction=direction) if after is not None else wanted
                return await super().page(user, asked, limit=limit, after=after)
        return await super().page(user, wanted, limit=limit, after=after)


class LosesWhatIsOfOneMoment(MemoryStore):
    """Goes on behind all sessions that were active when the last one was."""

    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        found, more = await super().page(user, wanted, limit=limit, after=after)
        if more is None or wanted.order is SessionOrder.ID:
            return found, more
        key = 0 if wanted.direction is Direction.DESCENDING else 10**17
        return found, encode_cursor(replace(found[-1], key=key), wanted)


class ForgetsWhoForked(MemoryStore):
    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        return await super().page(user, replace(wanted, parent=None), limit=limit, after=after)


class LimitsAreInclusive(MemoryStore):
    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        before = None if wanted.active_before is None else wanted.active_before + 1
        return await super().page(user, replace(wanted, active_before=before), limit=limit, after=after)


class DeleteLeavesTheLog(MemoryStore):
    """The next session of this id finds the old one's words."""

    async def delete(self, user: str, id: str) -> bool:
        loaded = await self.load(user, id)
        self._buried = {**getattr(self, "_buried", {}), (user, id): loaded[1]} if loaded else {}
        return await super().delete(user, id)

    def _create(self, user: str, id: str, title: str | None, now: int) -> Any:
        made = super()._create(user, id, title, now)
        made.log = list(getattr(self, "_buried", {}).pop((user, id), ()))
        return made


class KeysAreNotChecked(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        for turn in s.turns.values() if s else ():
            if turn.key == new.key:
                turn.digest = new.digest
        return await super().accept(new, claim)


class KeysAreForgotten(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        return await super().accept(replace(new, key=None), claim)


class StaleClaimsPass(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        s = self.database.sessions.get((new.user, new.id))
        return await super().accept(new, Claim(s.row.key, s.row.version) if s and claim else claim)


class ReopensWhatRuns(MemoryStore):
    """Takes a session although its owner lives."""

    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        self._find(user, id).row.owner = None
        return await super().acquire(user, id, claim, now)


class KeepsTheFence(MemoryStore):
    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        got = await super().acquire(user, id, claim, now)
        if got is not None:
            self._find(user, id).row.fence -= 1
            got.session.fence -= 1
        return got


class TailLacksTheFirst(MemoryStore):
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        got = await super().accept(new, claim)
        return replace(got, tail=got.tail[1:]) if len(got.tail) > 1 else got


class HoldLosesTheLine(MemoryStore):
    async def append(self, write: Append) -> Appended:
        answer = await super().append(write)
        if write.end is not None and write.end.status is TurnStatus.HELD:
            s = self._find(write.session.user, write.session.id)
            s.inbox.clear()
            s.row.held = 0
        return answer


class NextIsNotOpened(MemoryStore):
    def _end(self, s: Any, turn: TurnRow, write: Append) -> Appended:
        waiting, s.row.queued = s.row.queued, 0
        answer = super()._end(s, turn, write)
        s.row.queued = waiting
        s.row.status = SessionStatus.QUEUED if waiting and s.row.status is SessionStatus.IDLE else s.row.status
        return answer


class CancelsWhatRunsAtOnce(MemoryStore):
    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        row = self._find(user, id).row
        row.owner = None
        return await super().request_cancel(user, id, turn, clear=clear, now=now)


class ForkCopiesTheInbox(MemoryStore):
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        row = await super().fork(user, id, new_id, at=at, title=title, now=now)
        parent, child = self._find(user, id), self._find(user, new_id)
        child.inbox, child.turns = dict(parent.inbox), dict(parent.turns)
        return row


class ForkCutsAnywhere(MemoryStore):
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        whole = await super().fork(user, id, new_id, at=None, title=title, now=now)
        if at is not None:
            child = self._find(user, new_id)
            child.log = [e for e in child.log if e.seq <= at]
            child.row.version = at
        return whole


class ForgetsOpenCalls(MemoryStore):
    async def append(self, write: Append) -> Appended:
        done = [Effect(seq=c.seq, index=c.index, tool=c.tool, status=EffectStatus.FINISHED) for c in write.started]
        return await super().append(replace(write, finished=[*write.finished, *done]))


class ResetKeepsTheFence(MemoryStore):
    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        before = self._find(user, id).row.fence
        row = await super().reset(user, id, now)
        self._find(user, id).row.fence = before
        return replace(row, fence=before)


class ResetForgetsTheEntry(MemoryStore):
    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        await super().reset(user, id, now)
        s = self._find(user, id)
        s.log = [e for e in s.log if e.kind is not EntryKind.SESSION_RESET]
        return replace(s.row)


class ClearsAmidATurn(MemoryStore):
    async def clear_context(self, user: str, id: str, now: int) -> bool:
        row = self._find(user, id).row
        current, row.current = row.current, None
        try:
            return await super().clear_context(user, id, now)
        finally:
            row.current = current


class ClearsAgainAndAgain(MemoryStore):
    async def clear_context(self, user: str, id: str, now: int) -> bool:
        again = not await super().clear_context(user, id, now)
        if again:
            self._log(self._find(user, id), [Entry(0, EntryKind.CONTEXT_CLEARED, 0, "{}")], now)
        return True


class ClearsTheHistoryItself(MemoryStore):
    async def clear_context(self, user: str, id: str, now: int) -> bool:
        cleared = await super().clear_context(user, id, now)
        s = self._find(user, id)
        s.log = [e for e in s.log if e.kind is EntryKind.CONTEXT_CLEARED]
        return cleared


class ForkForgetsThatItWasCleared(MemoryStore):
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        row = await super().fork(user, id, new_id, at=at, title=title, now=now)
        child = self._find(user, new_id)
        if child.log and child.log[-1].kind is EntryKind.CONTEXT_CLEARED:
            child.log.pop()
            child.row.version -= 1
        return replace(child.row) if child.log else row


class RunnableNamesWhatIsOwned(MemoryStore):
    async def runnable(self, limit: int = 20) -> Sequence[Runnable]:
        return [Runnable(*name) for name, s in self.database.sessions.items() if s.row.status is SessionStatus.RUNNING]


class HandsOutItsOwnRows(MemoryStore):
    async def get(self, user: str, id: str) -> SessionRow:
        return self._find(user, id).row

    async def turns(self, user: str, id: str) -> Sequence[TurnRow]:
        return list(self._find(user, id).turns.values())


_MODULES = (globals(), vars(broken_approvals), vars(broken_inbox), vars(broken_searching))

BROKEN: list[type[MemoryStore]] = sorted(
    (found for module in _MODULES for found in module.values()
     if isinstance(found, type)
     and issubclass(found, MemoryStore) and found is not MemoryStore), key=lambda found: found.__name__
)  # fmt: skip


class BrokenBackend(Backend):
    """Nodes of one broken class on one database."""

    def __init__(self, broken: type[MemoryStore]) -> None:
        super().__init__()
        self._broken, self._database = broken, MemoryDatabase()

    def make(self) -> SessionStore:
        return self._broken(self._database)
