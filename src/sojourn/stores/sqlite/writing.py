"""What every move of the writer needs: who writes, and how an entry gets into the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apsw

from sojourn.abc import SEARCHED, Entry, SessionRow
from sojourn.records import SessionStatus
from sojourn.stores.sqlite.rows import SQL, indexed

#: What somebody has to work on.
RUNNABLE = frozenset({SessionStatus.RUNNING, SessionStatus.QUEUED})


@dataclass(slots=True)
class Node:
    """Who writes: this node's number, and how it knows that another one is dead."""

    number: int
    is_dead: Callable[[int], bool]

    def may_take(self, row: SessionRow) -> bool:
        """Whether nobody alive owns the session."""
        return row.owner is None or (row.owner != self.number and self.is_dead(row.owner))

    def orphaned(self, row: SessionRow) -> bool:
        """Whether the session has work that nobody alive does."""
        return row.status in RUNNABLE and self.may_take(row)


def log(connection: apsw.Connection, row: SessionRow, seq: int, entry: Entry, now: int) -> None:
    """Write one entry and index what it says."""
    connection.execute(SQL["insert_entry"], (row.key, seq, entry.kind.value, entry.turn, entry.body, entry.text, now))
    if entry.text and entry.kind in SEARCHED:
        connection.execute(SQL["index"], (connection.last_insert_rowid(), indexed(row.user, entry.text)))
