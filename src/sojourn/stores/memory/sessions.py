"""Whole sessions in memory: create, find, list, rename, clear, reset, delete, fork, insert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from sojourn.abc import CUT_KINDS, EVERY_SESSION, MESSAGE_KINDS, Entry, SessionRow, TurnRow, Wanted
from sojourn.errors import ForkPointInvalid, SessionBusy, SessionChanged, SessionExists
from sojourn.records import Direction, EntryKind, SessionStatus
from sojourn.stores.common import decode_cursor, encode_cursor, place_of
from sojourn.stores.memory.approvals import MemoryApprovals
from sojourn.stores.memory.database import OPEN_CALLS, StoredSession
from sojourn.stores.memory.searching import is_found


class MemorySessions(MemoryApprovals):
    """Sessions as a whole."""

    async def create(self, user: str, id: str, *, title: str | None, now: int) -> SessionRow:
        self._write()
        if (user, id) in self.database.sessions:
            raise SessionExists(id)
        return replace(self._create(user, id, title, now).row)

    async def get(self, user: str, id: str) -> SessionRow:
        return replace(self._find(user, id).row)

    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        self._check_open()
        last = decode_cursor(after, wanted) if after is not None else None
        down = wanted.direction is Direction.DESCENDING
        rows = [s.row for s in self.database.sessions.values() if s.row.user == user and _is_wanted(s, wanted)]
        found = sorted(((place_of(row, wanted.order), row) for row in rows), key=lambda it: it[0], reverse=down)
        rest = [replace(row) for place, row in found if last is None or (place < last if down else place > last)]
        return rest[:limit], encode_cursor(rest[limit - 1], wanted) if len(rest) > limit else None

    async def count(self) -> int:
        self._check_open()
        return len(self.database.sessions)

    async def rename(
        self, user: str, id: str, title: str, now: int, *, unless_changed: SessionRow | None = None
    ) -> SessionRow:
        self._write()
        row = self._find(user, id).row
        if unless_changed is not None and unless_changed != row:
            raise SessionChanged(id)
        row.title, row.active = title, max(now, row.active)
        return replace(row)

    async def change_state(self, user: str, id: str, body: str, now: int) -> SessionRow:
        self._write()
        s = self._find(user, id)
        if s.row.status is SessionStatus.RUNNING and not self._free(s.row):
            raise SessionBusy(id)
        s.row.active = max(now, s.row.active)
        self._log(s, [Entry(0, EntryKind.STATE_CHANGED, 0, body)], now)
        return replace(s.row)

    async def clear_context(self, user: str, id: str, now: int) -> bool:
        self._write()
        s = self._find(user, id)
        if s.row.current is not None or s.row.queued:
            raise SessionBusy(id)
        s.row.active = max(now, s.row.active)
        if not s.row.messages or s.log[-1].kind is EntryKind.CONTEXT_CLEARED:
            return False
        self._log(s, [Entry(0, EntryKind.CONTEXT_CLEARED, 0, "{}")], now)
        return True

    async def settings(self, user: str, id: str) -> tuple[int, str]:
        s = self._find(user, id)
        return s.row.revision, s.settings

    async def change_settings(self, user: str, id: str, body: str, revision: int, now: int) -> SessionRow | None:
        self._write()
        s = self._find(user, id)
        if s.row.revision != revision:
            return None
        s.settings, s.row.revision, s.row.active = body, revision + 1, max(now, s.row.active)
        return replace(s.row)

    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        self._write()
        s = self._find(user, id)
        row = s.row
        s.log.clear()
        s.numbers.clear()
        s.turns.clear()
        s.inbox.clear()
        s.effects.clear()
        self._forget_session(s)
        row.owner, row.current, row.queued, row.held, row.steers, row.messages = None, None, 0, 0, 0, 0
        row.fence += 1
        row.first = row.version + 1
        row.active = max(now, row.active)
        row.status = SessionStatus.IDLE
        self._log(s, [Entry(0, EntryKind.SESSION_RESET, 0, "{}")], now)
        return replace(row)

    async def delete(self, user: str, id: str) -> bool:
        self._write()
        gone = self.database.sessions.pop((user, id), None)
        if gone:
            self._forget_session(gone)
        for other in self.database.sessions.values() if gone else ():
            if other.row.user == user and other.row.parent == id:
                other.row.parent = None
        return gone is not None

    async def purge(self, limit: int = 200) -> bool:
        self._check_open()
        return False

    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        self._write()
        parent = self._find(user, id)
        if (user, new_id) in self.database.sessions:
            raise SessionExists(new_id)
        cut = _cut(parent, at)
        child = self._create(user, new_id, title, now)
        self._write_down(child, _copied(parent.log, cut))
        child.effects = {place: e for place, e in parent.effects.items() if place[0] <= cut and e.status in OPEN_CALLS}
        row = child.row
        row.parent, row.first = id, parent.row.first
        row.version = row.first + len(child.log) - 1
        child.settings, row.revision = parent.settings, parent.row.revision
        row.messages = sum(e.kind in MESSAGE_KINDS for e in child.log)
        row.turns = max((e.turn for e in child.log), default=0)
        return replace(row)

    async def insert(self, row: SessionRow, entries: Sequence[Entry], turns: Sequence[TurnRow]) -> SessionRow:
        self._write()
        if (row.user, row.id) in self.database.sessions:
            raise SessionExists(row.id)
        s = self._create(row.user, row.id, row.title, row.created)
        at_rest = SessionStatus.IDLE
        s.row = replace(
            row, key=s.row.key, owner=None, fence=0, parent=None, status=at_rest, current=None, queued=0, held=0,
            steers=0,
        )  # fmt: skip
        self._write_down(s, [replace(e) for e in entries])
        s.turns = {t.turn: replace(t) for t in turns}
        return replace(s.row)


def _cut(parent: StoredSession, at: int | None) -> int:
    """The number of the entry that ends the turn that `at` points at."""
    ends = [e.seq for e in parent.log if e.kind in CUT_KINDS]
    if at is None:
        return ends[-1] if ends else parent.row.first - 1
    end = next((seq for seq in ends if seq >= at), None)
    spoken: Callable[[Entry], bool] = lambda e: e.kind in MESSAGE_KINDS  # noqa: E731 - names a one-line test
    if end is None or at < parent.row.first or any(at < e.seq < end and spoken(e) for e in parent.log):
        raise ForkPointInvalid(parent.row.id, at)
    return end


def _is_wanted(s: StoredSession, wanted: Wanted) -> bool:
    return (
        s.row.status in wanted.status
        and (wanted.parent is None or s.row.parent == wanted.parent)
        and (wanted.active_since is None or s.row.active >= wanted.active_since)
        and (wanted.active_before is None or s.row.active < wanted.active_before)
        and is_found(s, wanted.query)
    )


def _copied(log: Sequence[Entry], cut: int) -> list[Entry]:
    """The log up to `cut`, with results that came behind it before the last turn's end."""
    kept = [e for e in log if e.seq <= cut]
    behind = takewhile(lambda e: e.kind is not EntryKind.MESSAGE, log[len(kept) :])
    late = [e for e in behind if e.kind is EntryKind.TOOL_RESULT]
    end = max((place for place, e in enumerate(kept) if e.kind is EntryKind.TURN_ENDED), default=None)
    if end is not None:
        kept[end:end] = [replace(e, turn=kept[end].turn) for e in late]
    return [replace(e, seq=seq) for seq, e in enumerate(kept, kept[0].seq if kept else 1)]
