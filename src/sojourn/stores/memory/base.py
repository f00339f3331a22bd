"""A node on a memory database: its life, how it finds sessions, and the moves that all operations are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sojourn.abc import MESSAGE_KINDS, Entry, SessionRow, SessionStore
from sojourn.errors import RuntimeClosed, SessionNotFound
from sojourn.records import InputKind, SessionStatus
from sojourn.stores.common import status_of
from sojourn.stores.memory.database import MemoryDatabase, StoredSession


class MemoryNode(SessionStore):
    """One node; what it answers are copies, so that nobody holds the database's own rows."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = database or MemoryDatabase()
        self._node = 0

    async def open(self) -> int:
        self.database.nodes += 1
        self._node = self.database.nodes
        self.database.live_nodes.add(self._node)
        return self._node

    async def close(self) -> None:
        self.database.live_nodes.discard(self._node)
        self._node = 0

    async def abandon(self) -> None:
        """Stop as a killed process does, for tests."""
        await self.close()

    def foreign_changes(self) -> int:
        return self.database.changes

    # -- before an operation

    def _check_open(self) -> None:
        if not self._node:
            raise RuntimeClosed

    def _write(self) -> None:
        self._check_open()
        self.database.changes += 1

    def _find(self, user: str, id: str) -> StoredSession:
        self._check_open()
        found = self.database.sessions.get((user, id))
        if found is None:
            raise SessionNotFound(id)
        return found

    # -- in one

    def _create(self, user: str, id: str, title: str | None, now: int) -> StoredSession:
        self.database.keys += 1
        row = SessionRow(
            key=self.database.keys, user=user, id=id, title=title, created=now, active=now, messages=0, parent=None,
            status=SessionStatus.IDLE, usage="{}", owner=None, fence=0, version=0, first=1, turns=0, current=None,
            queued=0, held=0,
        )  # fmt: skip
        found = self.database.sessions[user, id] = StoredSession(row)
        return found

    def _is_alive(self, node: int) -> bool:
        return node in self.database.live_nodes

    def _free(self, row: SessionRow) -> bool:
        return row.owner is None or not self._is_alive(row.owner)

    def _orphaned(self, s: StoredSession) -> bool:
        return s.row.status in {SessionStatus.RUNNING, SessionStatus.QUEUED} and self._free(s.row)

    def _settle(self, s: StoredSession) -> None:
        """Say in the session's row what it does, and how much is in line."""
        line = [item for item in s.inbox.values() if not item.held]
        s.row.steers = sum(item.kind is InputKind.STEER for item in line)
        s.row.queued, s.row.held = len(line) - s.row.steers, len(s.inbox) - len(line)
        s.row.status = status_of(s.current.status if s.current else None, s.row.queued, s.row.held)

    def _log(self, s: StoredSession, entries: Sequence[Entry], now: int) -> None:
        for entry in entries:
            s.row.version += 1
            s.row.messages += entry.kind in MESSAGE_KINDS
            self._write_down(s, [replace(entry, seq=s.row.version, created=now)])

    def _write_down(self, s: StoredSession, entries: Sequence[Entry]) -> None:
        """Put entries into a session's log as they are, each with a number of its own among all sessions."""
        for entry in entries:
            self.database.entries += 1
            s.log.append(entry)
            s.numbers[entry.seq] = self.database.entries

    def _after(self, s: StoredSession, known: int) -> list[Entry]:
        return [replace(entry) for entry in s.log if entry.seq > known]
