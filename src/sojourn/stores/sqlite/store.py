"""The SQLite store: one file, one writer thread with group commit, readers beside it, any number of processes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import apsw

from sojourn.abc import (
    EVERY_SESSION,
    Accepted,
    Acquired,
    Append,
    Appended,
    ApprovalRow,
    Cancelled,
    Claim,
    Decided,
    Entry,
    Hits,
    InputRow,
    NewInput,
    RememberedRow,
    Runnable,
    SessionHits,
    SessionRow,
    SessionStore,
    TurnRow,
    Verdict,
    Wanted,
)
from sojourn.errors import RuntimeClosed, StorageError, StorageUnavailable, TurnNotFound
from sojourn.records import Effect, EntryKind, InputKind, Role
from sojourn.stores.common import decode_cursor, decode_place, encode_cursor, up_to, words
from sojourn.stores.sqlite import approvals, inbox_moves, pages, rows, searching, session_moves, turn_moves
from sojourn.stores.sqlite.faults import translated
from sojourn.stores.sqlite.nodes import NodeLocks
from sojourn.stores.sqlite.rows import SQL, one
from sojourn.stores.sqlite.schema import connect, migrate
from sojourn.stores.sqlite.writer import Operation, Writer
from sojourn.stores.sqlite.writing import Node

T = TypeVar("T")

#: Behind every entry: any real number is smaller.
_TOP = 1 << 62

#: How long emptying the write-ahead log waits for readers, milliseconds; writers wait with it.
TRUNCATE_WAIT_MS = 100


class SqliteStore(SessionStore):
    """Sessions in one SQLite file."""

    def __init__(self, path: str, *, vfs: str | None = None, synchronous: str = "FULL", readers: int = 2) -> None:
        self._path, self._vfs, self._synchronous = path, vfs, synchronous
        self._locks = NodeLocks(path)
        self._node = Node(0, self._locks.is_dead)
        self._writer: Writer | None = None
        self._writing: apsw.Connection | None = None
        self._pulse: apsw.Connection | None = None
        self._readers: ThreadPoolExecutor | None = None
        #: One thread of their own: the beginning of a word that everybody uses takes long, and others want to read.
        self._searchers: ThreadPoolExecutor | None = None
        self._reader_count = readers
        self._local = threading.local()
        self._reading: list[apsw.Connection] = []
        #: Whether the write-ahead log may hold what was removed; at first, what others left there.
        self._traces = True

    # -- life

    async def open(self) -> int:
        await asyncio.get_running_loop().run_in_executor(None, self._join)
        if self._writing is None:
            raise RuntimeClosed
        self._readers = ThreadPoolExecutor(self._reader_count, thread_name_prefix="sojourn-reader")
        self._searchers = ThreadPoolExecutor(1, thread_name_prefix="sojourn-searcher")
        self._writer = Writer(self._writing, self._path)
        return self._node.number

    def _join(self) -> None:
        try:
            self._writing = connect(self._path, vfs=self._vfs, synchronous=self._synchronous)
            migrate(self._writing, self._path)
            self._pulse = connect(self._path, vfs=self._vfs, read_only=True)
            with self._writing:  # nobody sees the node before its lock is held
                self._writing.execute(SQL["join"], (time.time_ns() // 1_000_000,))
                self._node.number = self._writing.last_insert_rowid()
                self._locks.hold(self._node.number)
        except BaseException as error:
            self._disconnect()
            if isinstance(error, apsw.Error):
                raise translated(error, self._path) from error
            if isinstance(error, OSError):
                raise StorageUnavailable(self._path, f"{error.strerror}: {error.filename}") from error
            raise

    async def close(self) -> None:
        if self._writer is None:
            return
        node, now = self._node.number, time.time_ns() // 1_000_000
        try:
            with suppress(StorageError):  # a courtesy: the lock that is given up below says the same
                await self._writer.do(lambda connection: connection.execute(SQL["leave"], (now, node)).fetchall())
        finally:
            await self._stop()
            self._locks.release()

    async def abandon(self) -> None:
        """Stop as a killed process does, for tests: nothing is handed back, only the kernel lets the lock go."""
        await self._stop()
        self._locks.release(tidy=False)

    async def _stop(self) -> None:
        writer, pools = self._writer, [pool for pool in (self._readers, self._searchers) if pool is not None]
        self._writer = self._readers = self._searchers = None
        if writer is None:
            return
        await writer.close()
        for pool in pools:
            await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        self._disconnect()

    def _disconnect(self) -> None:
        connections = (*self._reading, self._pulse, self._writing)
        self._reading, self._pulse, self._writing = [], None, None
        for connection in connections:
            if connection is not None:
                with suppress(apsw.Error):  # it is closed then too
                    connection.close()

    def foreign_changes(self) -> int:
        if self._pulse is None or self._writer is None:
            return 0
        return int(next(iter(self._pulse.execute("PRAGMA data_version")))[0])

    # -- how they run

    async def _write(self, operation: Operation[T]) -> T:
        if self._writer is None:
            raise RuntimeClosed
        return await self._writer.do(operation)

    async def _read(self, operation: Operation[T], *, search: bool = False) -> T:
        pool = self._searchers if search else self._readers
        if pool is None:
            raise RuntimeClosed
        run = self._search if search else self._snapshot
        return await asyncio.get_running_loop().run_in_executor(pool, run, operation)

    def _search(self, operation: Operation[T]) -> T:
        """As `_snapshot`, on the searcher's thread: what still waits there when the store is closed is not begun."""
        if self._searchers is None:
            raise RuntimeClosed
        return self._snapshot(operation)

    def _snapshot(self, operation: Callable[[apsw.Connection], T]) -> T:
        """Run a read on this thread's connection, all of it as of one moment."""
        try:
            connection: apsw.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = connect(self._path, vfs=self._vfs, read_only=True)
                self._reading.append(connection)
            connection.execute("BEGIN")
            try:
                return operation(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except apsw.Error as error:
            raise translated(error, self._path) from error

    # -- sessions

    async def create(self, user: str, id: str, *, title: str | None, now: int) -> SessionRow:
        return await self._write(lambda connection: session_moves.create(connection, user, id, title, now))

    async def get(self, user: str, id: str) -> SessionRow:
        return await self._read(lambda connection: rows.find(connection, user, id))

    async def page(
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        last = decode_cursor(after, wanted) if after is not None else None
        asked = pages.statement(user, wanted, last, limit + 1)
        if asked is None:
            return [], None
        found = await self._read(lambda connection: connection.execute(*asked).fetchall(), search="match" in asked[1])
        page = [rows.session(row) for row in found[:limit]]
        return page, encode_cursor(page[-1], wanted) if len(found) > limit else None

    async def search(
        self,
        user: str,
        query: str,
        *,
        id: str | None = None,
        roles: frozenset[Role] | None = None,
        limit: int = 20,
        after: str | None = None,
        offset: int = 0,
    ) -> Hits:
        wanted = searching.Sought(user, words(query), id, searching.EVERYBODY if roles is None else roles)
        top = decode_place(after) if after is not None else _TOP
        return await self._read(
            lambda connection: searching.messages(connection, wanted, limit=limit, top=top, offset=offset), search=True
        )

    async def search_sessions(self, user: str, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        wanted = searching.Sought(user, words(query))
        return await self._read(
            lambda connection: searching.sessions(connection, wanted, limit=limit, offset=offset), search=True
        )

    async def count(self) -> int:
        return int(await self._read(lambda connection: one(connection, "count")[0]))

    async def rename(
        self, user: str, id: str, title: str, now: int, *, unless_changed: SessionRow | None = None
    ) -> SessionRow:
        self._traces = True  # of the old title

        def move(connection: apsw.Connection) -> SessionRow:
            row = rows.find(connection, user, id)
            return session_moves.rename(connection, row, title, now, seen=unless_changed)

        return await self._write(move)

    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        return await self._write(lambda connection: session_moves.reset(connection, user, id, now))

    async def delete(self, user: str, id: str) -> bool:
        return await self._write(lambda connection: session_moves.delete(connection, user, id))

    async def purge(self, limit: int = 200) -> bool:
        if self._writer is None or self._readers is None:
            raise RuntimeClosed
        more, removed = await self._write(lambda connection: session_moves.purge(connection, self._node, limit))
        self._traces = self._traces or removed
        if self._traces and not more and self._readers is not None:
            # what was deleted still lies in the write-ahead log until that is written over
            gone = await asyncio.get_running_loop().run_in_executor(self._readers, self._truncate)
            self._traces = not gone
        return more

    def _truncate(self) -> bool:
        """Empty the write-ahead log; False if somebody still needs it."""
        connection: apsw.Connection | None = None
        try:
            connection = connect(self._path, vfs=self._vfs, synchronous=self._synchronous)
            connection.set_busy_timeout(TRUNCATE_WAIT_MS)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.LockedError):
            return False  # the next purge tries again
        except apsw.Error as error:
            raise translated(error, self._path) from error
        else:
            return True
        finally:
            if connection is not None:
                connection.close()

    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        copy = await self._write(
            lambda connection: session_moves.begin_fork(connection, self._node, user, id, new_id, at=at, now=now)
        )
        try:
            done = copy.source.first - 1
            while done < copy.cut:
                done = await self._write(partial(session_moves.copy_piece, copy=copy, after=done))
            return await self._write(lambda connection: session_moves.finish_fork(connection, copy, new_id, title, now))
        except BaseException:
            await asyncio.shield(self._write(lambda connection: session_moves.abandon_copy(connection, copy.child)))
            raise

    async def insert(self, row: SessionRow, entries: Sequence[Entry], turns: Sequence[TurnRow]) -> SessionRow:
        child = await self._write(lambda connection: session_moves.begin_insert(connection, self._node, row))
        try:
            for at in range(0, len(entries), session_moves.PIECE):
                piece = entries[at : at + session_moves.PIECE]
                await self._write(partial(session_moves.insert_piece, child=child, entries=piece))
            return await self._write(lambda connection: session_moves.finish_insert(connection, child, row, turns))
        except BaseException:
            await asyncio.shield(self._write(lambda connection: session_moves.abandon_copy(connection, child)))
            raise

    # -- turns

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        return await self._write(lambda connection: turn_moves.accept(connection, self._node, new, claim))

    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        return await self._write(
            lambda connection: turn_moves.acquire(connection, self._node, user, id, claim, now=now)
        )

    async def append(self, write: Append) -> Appended:
        return await self._write(lambda connection: turn_moves.append(connection, self._node, write))

    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        return await self._write(
            lambda connection: inbox_moves.request_cancel(connection, self._node, user, id, turn, clear=clear, now=now)
        )

    async def resume(self, user: str, id: str, now: int) -> Sequence[int]:
        return await self._write(lambda connection: inbox_moves.resume(connection, user, id, now))

    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        return await self._write(lambda connection: inbox_moves.discard(connection, user, id, turn, now))

    async def remove(self, user: str, id: str, position: int, now: int) -> int | None:
        return await self._write(lambda connection: inbox_moves.remove(connection, user, id, position, now))

    async def change_state(self, user: str, id: str, body: str, now: int) -> SessionRow:
        def move(connection: apsw.Connection) -> SessionRow:
            return session_moves.change_state(connection, self._node, rows.find(connection, user, id), body, now)

        return await self._write(move)

    async def clear_context(self, user: str, id: str, now: int) -> bool:
        return await self._write(
            lambda connection: session_moves.clear_context(connection, rows.find(connection, user, id), now)
        )

    async def settings(self, user: str, id: str) -> tuple[int, str]:
        return await self._read(lambda connection: session_moves.settings(connection, rows.find(connection, user, id)))

    async def change_settings(self, user: str, id: str, body: str, revision: int, now: int) -> SessionRow | None:
        return await self._write(
            lambda connection: session_moves.change_settings(
                connection, rows.find(connection, user, id), body, revision, now
            )
        )

    # -- questions to people

    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        def move(connection: apsw.Connection) -> Decided:
            return approvals.decide(connection, self._node, rows.find(connection, user, id), approval, verdict)

        return await self._write(move)

    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        def overdue(connection: apsw.Connection) -> bool:
            return one(connection, "overdue", now, 1) is not None

        if not await self._read(overdue):
            return []  # asked often, and seldom true: no write for that
        return await self._write(lambda connection: approvals.expire(connection, now, limit))

    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        return await self._read(lambda connection: approvals.listed(connection, user, id, pending=pending, limit=limit))

    async def approval(self, user: str, approval: str) -> ApprovalRow:
        return await self._read(lambda connection: approvals.named(connection, user, approval))

    async def remembered(self, user: str, id: str | None = None) -> Sequence[RememberedRow]:
        return await self._read(lambda connection: approvals.remembered(connection, self._node, user, id))

    async def forget(self, user: str, remembered: str) -> bool:
        def remove(connection: apsw.Connection) -> bool:
            connection.execute(SQL["forget"], (user, remembered))
            return connection.changes() > 0

        return await self._write(remove)

    async def runnable(self, limit: int = 20) -> Sequence[Runnable]:
        def read(connection: apsw.Connection) -> Sequence[Runnable]:
            found: list[Runnable] = []
            for user, name, owner, _ in connection.execute(SQL["runnable"]):
                if owner is None or (owner != self._node.number and self._locks.is_dead(owner)):
                    found.append(Runnable(user, name))
                if len(found) == limit:
                    break
            return found

        return await self._read(read)

    async def cancels(self) -> Sequence[tuple[int, int]]:
        def read(connection: apsw.Connection) -> Any:
            return connection.execute(SQL["my_cancels"], (self._node.number,)).fetchall()

        found: Sequence[tuple[int, int]] = await self._read(read)
        return found

    # -- reads

    async def entries(
        self,
        user: str,
        id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        newest: bool = False,
        kinds: frozenset[EntryKind] | None = None,
        size: int | None = None,
    ) -> Sequence[Entry]:
        chosen = ""
        if kinds is not None:
            named = ", ".join(f"'{kind}'" for kind in sorted(kinds))
            # only like this is an index of one kind found
            chosen = f"AND kind = {named}" if len(kinds) == 1 else f"AND kind IN ({named})"
        sql = (
            "SELECT seq, kind, turn, body, text, created FROM log "  # noqa: S608 - only our own enum goes in
            f"WHERE session = ? AND seq > ? AND seq < ? {chosen} ORDER BY seq {'DESC' if newest else ''} LIMIT ?"
        )

        def read(connection: apsw.Connection) -> list[Entry]:
            row = rows.find(connection, user, id)
            bounds = (row.key, max(after, row.first - 1), _TOP if before is None else before)
            cursor = connection.execute(sql, (*bounds, -1 if limit is None else limit))
            found = list(up_to(map(rows.entry, cursor), size))
            cursor.close()
            return found[::-1] if newest else found

        return await self._read(read)

    async def load(self, user: str, id: str) -> tuple[SessionRow, Sequence[Entry]] | None:
        def read(connection: apsw.Connection) -> tuple[SessionRow, Sequence[Entry]] | None:
            found = one(connection, "session_by_id", user, id)
            if found is None:
                return None
            row = rows.session(found)
            return row, [rows.entry(item) for item in connection.execute(SQL["tail"], (row.key, 0, row.first))]

        return await self._read(read)

    async def turn(self, user: str, id: str, turn: int) -> TurnRow:
        def read(connection: apsw.Connection) -> TurnRow:
            found = one(connection, "turn", rows.find(connection, user, id).key, turn)
            if found is None:
                raise TurnNotFound(id, turn)
            return rows.turn(found)

        return await self._read(read)

    async def turns(self, user: str, id: str) -> Sequence[TurnRow]:
        def read(connection: apsw.Connection) -> Sequence[TurnRow]:
            key = rows.find(connection, user, id).key
            return [rows.turn(found) for found in connection.execute(SQL["turns"], (key,))]

        return await self._read(read)

    async def inbox(self, user: str, id: str) -> Sequence[InputRow]:
        def read(connection: apsw.Connection) -> Sequence[InputRow]:
            key = rows.find(connection, user, id).key
            found = connection.execute(SQL["inbox"], (key,))
            return [
                InputRow(position, turn, body, text, state == "held", InputKind(kind), accepted)
                for position, turn, body, text, state, kind, accepted in found
            ]

        return await self._read(read)

    async def effects(self, user: str, id: str) -> Sequence[Effect]:
        def read(connection: apsw.Connection) -> Sequence[Effect]:
            row = rows.find(connection, user, id)
            return [rows.effect(found) for found in connection.execute(SQL["effects"], (row.key, row.first))]

        return await self._read(read)
