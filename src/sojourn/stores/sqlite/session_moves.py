"""Sessions as wholes, each move inside one transaction of the writer: create, rename, clear, reset, delete, copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from sojourn.abc import SEARCHED, Entry, SessionRow, TurnRow
from sojourn.errors import ForkPointInvalid, SessionBusy, SessionChanged, SessionExists, SessionNotFound
from sojourn.records import ApprovalStatus, EntryKind, SessionStatus
from sojourn.stores.sqlite import rows
from sojourn.stores.sqlite.rows import SQL, indexed, one
from sojourn.stores.sqlite.turn_moves import create as create_row
from sojourn.stores.sqlite.writing import Node, log

#: How many log entries are copied in one transaction, so that copying a long session stalls nobody.
PIECE = 200


def create(connection: apsw.Connection, user: str, id: str, title: str | None, now: int) -> SessionRow:
    """See SessionStore.create."""
    if one(connection, "session_by_id", user, id):
        raise SessionExists(id)
    return create_row(connection, user, id, title, now)


def rename(
    connection: apsw.Connection, row: SessionRow, title: str, now: int, *, seen: SessionRow | None
) -> SessionRow:
    """See SessionStore.rename."""
    if seen is not None and seen != row:
        raise SessionChanged(row.id)
    if row.title:
        connection.execute(SQL["unindex"], (-row.key, indexed(row.user, row.title)))
    connection.execute(SQL["rename"], (title, now, row.key))
    if title:
        connection.execute(SQL["index"], (-row.key, indexed(row.user, title)))
    row.title, row.active = title, max(row.active, now)
    return row


def change_state(connection: apsw.Connection, node: Node, row: SessionRow, body: str, now: int) -> SessionRow:
    """See SessionStore.change_state."""
    if row.status is SessionStatus.RUNNING and not node.may_take(row):
        raise SessionBusy(row.id)
    return _note(connection, row, Entry(0, EntryKind.STATE_CHANGED, 0, body), now)


def clear_context(connection: apsw.Connection, row: SessionRow, now: int) -> bool:
    """See SessionStore.clear_context."""
    if row.current is not None or row.queued:
        raise SessionBusy(row.id)
    if not row.messages or one(connection, "kind_at", row.key, row.version) == (EntryKind.CONTEXT_CLEARED.value,):
        connection.execute(SQL["acted"], (now, row.key))
        return False
    _note(connection, row, Entry(0, EntryKind.CONTEXT_CLEARED, 0, "{}"), now)
    return True


def _note(connection: apsw.Connection, row: SessionRow, entry: Entry, now: int) -> SessionRow:
    """Log an entry that belongs to no turn."""
    row.version += 1
    row.active = max(row.active, now)
    connection.execute(SQL["noted"], (now, row.key))
    log(connection, row, row.version, entry, now)
    return row


def settings(connection: apsw.Connection, row: SessionRow) -> tuple[int, str]:
    """See SessionStore.settings."""
    found = one(connection, "settings", row.key)
    return row.revision, found[0] if found else "{}"


def change_settings(
    connection: apsw.Connection, row: SessionRow, body: str, revision: int, now: int
) -> SessionRow | None:
    """See SessionStore.change_settings."""
    if row.revision != revision:
        return None
    connection.execute(SQL["set_settings"], (row.key, body))
    connection.execute(SQL["settings_changed"], (now, row.key))
    row.revision, row.active = revision + 1, max(row.active, now)
    return row


def reset(connection: apsw.Connection, user: str, id: str, now: int) -> SessionRow:
    """See SessionStore.reset."""
    row = rows.find(connection, user, id)
    connection.execute(SQL["reset"], (now, row.key))
    connection.execute(SQL["empty_inbox"], (row.key,))
    _forget(connection, row, now)
    connection.execute(SQL["to_purge"], (row.key, 0, None))
    log(connection, row, row.version + 1, Entry(0, EntryKind.SESSION_RESET, 0, "{}"), now)
    return rows.find(connection, user, id)


def delete(connection: apsw.Connection, user: str, id: str) -> bool:
    """See SessionStore.delete."""
    found = one(connection, "session_by_id", user, id)
    if found is None:
        return False
    row = rows.session(found)
    if row.title:
        connection.execute(SQL["unindex"], (-row.key, indexed(user, row.title)))
    _forget(connection, row, row.active)
    connection.execute(SQL["bury"], (row.key,))
    connection.execute(SQL["count_up"], (-1,))
    connection.execute(SQL["to_purge"], (row.key, 1, None))
    return True


def _forget(connection: apsw.Connection, row: SessionRow, now: int) -> None:
    """Nobody is asked any more, and nothing that was allowed is inherited by whoever uses the id next."""
    connection.execute(SQL["close_questions"], (ApprovalStatus.CANCELLED.value, now, row.key))
    connection.execute(SQL["forget_session"], (row.key,))


def purge(connection: apsw.Connection, node: Node, limit: int) -> tuple[bool, bool]:
    """See SessionStore.purge; also whether anything was removed."""
    before = connection.total_changes()
    more = _purge(connection, node, limit)
    return more, connection.total_changes() != before


def _purge(connection: apsw.Connection, node: Node, limit: int) -> bool:
    for session, whole, user, first, first_turn in _next_purges(connection, node, limit):
        if limit <= 0:
            return True
        everything = 1 << 62
        before, before_turn = (everything, everything) if whole else (first, first_turn)
        gone = _purge_rows(connection, session, user, before, before_turn, whole=whole, limit=limit)
        if gone >= limit:
            return True
        limit -= gone + 1
        connection.execute(SQL["purged"], (session,))
        if whole:
            connection.execute(SQL["purge_settings"], (session,))
            connection.execute(SQL["purge_session"], (session,))
    return bool(_next_purges(connection, node, 1))


def _next_purges(connection: apsw.Connection, node: Node, limit: int) -> list[tuple[int, int, str, int, int]]:
    """The first `limit` of what is to be purged, without copies that somebody alive still makes."""
    found: list[tuple[int, int, str, int, int]] = []
    for session, whole, builder, *row in connection.execute(SQL["next_purge"]):
        if builder is None or (builder != node.number and node.is_dead(builder)):
            found.append((session, whole, *row))
        if len(found) == limit:
            break
    return found


def _purge_rows(
    connection: apsw.Connection, session: int, user: str, before: int, before_turn: int, *, whole: int, limit: int
) -> int:
    """Remove at most `limit` rows; returns how many, so less than `limit` means that nothing is left."""
    entries: list[Any] = connection.execute(SQL["purge_log"], (session, before, limit)).fetchall()
    for number, kind, text in entries:
        if text and kind in SEARCHED:
            connection.execute(SQL["unindex"], (number, indexed(user, text)))
        connection.execute(SQL["purge_entry"], (number,))
    gone = len(entries)
    for name, arguments in (
        ("purge_effects", (session, before)),
        ("purge_approvals", (session, before)),
        ("purge_turns", (session, before_turn)),
        *([("purge_inbox", (session,))] if whole else []),
    ):
        if gone < limit:
            connection.execute(SQL[name], (*arguments, limit - gone))
            gone += connection.changes()
    return gone


# ------------------------------------------------------------------------------------------------------------- copying


@dataclass(slots=True)
class Copy:
    """A copy in the making: unreachable until it is revealed, purged if its maker dies."""

    source: SessionRow
    child: SessionRow
    cut: int


def begin_fork(
    connection: apsw.Connection, node: Node, user: str, id: str, new_id: str, *, at: int | None, now: int
) -> Copy:
    """Find where to cut and make the empty, unreachable copy."""
    parent = rows.find(connection, user, id)
    if one(connection, "session_by_id", user, new_id):
        raise SessionExists(new_id)
    cut = _cut(connection, parent, at)
    child = begin_copy(connection, node, user, now, parent.key)
    return Copy(parent, child, cut)


def begin_insert(connection: apsw.Connection, node: Node, row: SessionRow) -> SessionRow:
    """Make the empty, unreachable session that the export will fill."""
    if one(connection, "session_by_id", row.user, row.id):
        raise SessionExists(row.id)
    return begin_copy(connection, node, row.user, row.created)


def begin_copy(connection: apsw.Connection, node: Node, user: str, now: int, parent: int | None = None) -> SessionRow:
    """An empty session that nobody can reach yet."""
    child = create_row(connection, user, None, None, now, parent=parent)
    connection.execute(SQL["to_purge"], (child.key, 1, node.number))
    return child


def _cut(connection: apsw.Connection, parent: SessionRow, at: int | None) -> int:
    if at is None:
        (end,) = one(connection, "last_end", parent.key, parent.first)
        return int(end) if end is not None else parent.first - 1
    found = one(connection, "end_after", parent.key, max(at, parent.first))
    if found is None or at < parent.first or one(connection, "spoken_between", parent.key, at, found[0]):
        raise ForkPointInvalid(parent.id, at)
    return int(found[0])


def copy_piece(connection: apsw.Connection, copy: Copy, after: int) -> int:
    """Copy the entries behind `after`; returns how far it came."""
    _check_source(connection, copy)
    source, upto = copy.source, min(after + PIECE, copy.cut)
    connection.execute(SQL["copy_log"], (copy.child.key, source.key, after, upto))
    connection.execute(SQL["copy_search"], (source.user, copy.child.key, after, upto))
    return upto


def _check_source(connection: apsw.Connection, copy: Copy) -> None:
    """Raise SessionNotFound where what is copied was deleted or reset meanwhile, and may be purged already."""
    source = rows.find(connection, copy.source.user, copy.source.id)
    if (source.key, source.first) != (copy.source.key, copy.source.first):
        raise SessionNotFound(copy.source.id)


def finish_fork(connection: apsw.Connection, copy: Copy, new_id: str, title: str | None, now: int) -> SessionRow:
    """Make the whole copy reachable."""
    _check_source(connection, copy)
    late = _add_late_results(connection, copy)
    messages, turns = one(connection, "copied", copy.child.key)
    connection.execute(SQL["copy_open_effects"], (copy.child.key, copy.source.key, copy.source.first, copy.cut))
    connection.execute(SQL["copy_settings"], (copy.child.key, copy.source.key))
    connection.execute(SQL["copy_revision"], (copy.source.revision, copy.child.key))
    row = copy.child
    row.id, row.title, row.active, row.messages, row.turns = new_id, title, now, messages, turns
    row.version, row.first = copy.cut + late, copy.source.first
    return reveal(connection, row)


def _add_late_results(connection: apsw.Connection, copy: Copy) -> int:
    """Put results that came behind the cut before the last turn's end; returns how many.

    Now and not when the copy was begun: in the same moment in which it is looked which calls are open still.
    """
    late: list[Any] = connection.execute(SQL["late_results"], (copy.source.key, copy.cut)).fetchall()
    end = one(connection, "last_turn_end", copy.child.key) if late else None
    if end is None:
        return 0
    seq, turn = end
    connection.execute(SQL["move_up"], (len(late), copy.child.key, seq))
    connection.execute(SQL["moved_up"], (copy.child.key,))
    for place, (body, text, created) in enumerate(late, seq):
        log(connection, copy.child, place, Entry(0, EntryKind.TOOL_RESULT, turn, body, text), created)
    return len(late)


def insert_piece(connection: apsw.Connection, child: SessionRow, entries: Sequence[Entry]) -> None:
    """Write some entries of an imported session, as they were."""
    for entry in entries:
        log(connection, child, entry.seq, entry, entry.created)


def finish_insert(
    connection: apsw.Connection, child: SessionRow, row: SessionRow, turns: Sequence[TurnRow]
) -> SessionRow:
    """Make an imported session reachable."""
    for turn in turns:
        connection.execute(SQL["insert_turn"], (child.key, *rows.turn_values(turn)))
    child.id, child.title, child.active, child.messages = row.id, row.title, row.active, row.messages
    child.usage, child.version, child.first, child.turns = row.usage, row.version, row.first, row.turns
    return reveal(connection, child)


def reveal(connection: apsw.Connection, row: SessionRow) -> SessionRow:
    """Give a finished copy its id."""
    if one(connection, "session_by_id", row.user, row.id):
        raise SessionExists(row.id)
    connection.execute(
        SQL["reveal"],
        (row.id, row.title, row.active, row.messages, row.usage, row.version, row.first, row.turns, row.key),
    )
    if row.title:
        connection.execute(SQL["index"], (-row.key, indexed(row.user, row.title)))
    connection.execute(SQL["purged"], (row.key,))
    connection.execute(SQL["count_up"], (1,))
    return rows.find(connection, row.user, row.id)


def abandon_copy(connection: apsw.Connection, child: SessionRow) -> None:
    """Leave a copy that will not be finished to the purge; one that was finished after all stays."""
    connection.execute(SQL["abandon"], (child.key,))
