"""From SQLite's tuples to the contract's rows, and back."""

from __future__ import annotations

from typing import Any

import apsw

from sojourn.abc import Entry, NewInput, SessionRow, TurnRow
from sojourn.errors import SessionNotFound
from sojourn.records import Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus
from sojourn.stores.common import searchable
from sojourn.stores.statements import statements

SQL = statements(__package__)

_KINDS = {kind.value: kind for kind in EntryKind}
_STATUSES = {status.value: status for status in SessionStatus}
_TURN_STATUSES = {status.value: status for status in TurnStatus}


def one(connection: apsw.Connection, name: str, *arguments: Any) -> Any:
    """The first row of a statement, or None."""
    return connection.execute(SQL[name], arguments).fetchone()


def session(found: tuple[Any, ...]) -> SessionRow:
    """A session from the columns that the statements read."""
    row = SessionRow(*found)
    row.status = _STATUSES[found[8]]
    return row


def find(connection: apsw.Connection, user: str, id: str) -> SessionRow:
    """The user's session; raises SessionNotFound."""
    found = one(connection, "session_by_id", user, id)
    if found is None:
        raise SessionNotFound(id)
    return session(found)


def entry(found: tuple[Any, ...]) -> Entry:
    """An entry of the log from (seq, kind, turn, body, text, created)."""
    seq, kind, turn, body, text, created = found
    return Entry(seq, _KINDS[kind], turn, body, text, created)


def turn(found: tuple[Any, ...]) -> TurnRow:
    """A turn from the columns that the statements read."""
    row = TurnRow(*found)
    row.status = _TURN_STATUSES[found[1]]
    row.cancel_requested = bool(found[12])
    return row


def new_turn(number: int, new: NewInput, *, opened: int | None = None) -> TurnRow:
    """The row of a turn that was just accepted, and opened where `opened` is given."""
    return TurnRow(
        turn=number,
        status=TurnStatus.QUEUED if opened is None else TurnStatus.RUNNING,
        attempts=0 if opened is None else 1,
        key=new.key,
        digest=new.digest,
        accepted=new.now,
        started=None if opened is None else new.now,
        ended=None,
        reason=None,
        usage="{}",
        opened_seq=opened,
        ended_seq=None,
        cancel_requested=False,
    )


def effect(found: tuple[Any, ...]) -> Effect:
    """An effect from (seq, call, tool, status)."""
    return Effect(seq=found[0], index=found[1], tool=found[2], status=EffectStatus(found[3]))


def turn_values(row: TurnRow) -> tuple[Any, ...]:
    """A turn as `insert_turn` wants it, behind the session's key."""
    return (
        row.turn, row.status.value, row.attempts, row.key, row.digest, row.accepted, row.started, row.ended, row.reason,
        row.usage, row.opened_seq, row.ended_seq, row.cancel_requested,
    )  # fmt: skip


def owner_term(user: str) -> str:
    """The word that a user is in the search index; no word of a text begins like it."""
    return "@" + user.encode().hex()


def indexed(user: str, text: str) -> str:
    """What the search index gets of a text."""
    return f"{owner_term(user)} {searchable(text)}"
