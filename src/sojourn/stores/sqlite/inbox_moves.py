"""What is in line or held, in transactions of the writer: join, cancel, hold, resume, discard, remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import apsw

from sojourn.abc import Acceptance, Accepted, Cancelled, Entry, NewInput, SessionRow, TurnEnd, TurnRow
from sojourn.errors import TurnNotFound
from sojourn.records import ApprovalStatus, EntryKind, InputKind, SessionStatus, TurnStatus
from sojourn.stores.common import CANCELLED, DISCARDED, REMOVED, SUPERSEDED, ended_body, status_of
from sojourn.stores.sqlite import rows
from sojourn.stores.sqlite.rows import SQL, one
from sojourn.stores.sqlite.writing import Node, log


def line_up(connection: apsw.Connection, row: SessionRow, new: NewInput, kind: InputKind) -> tuple[TurnRow, int]:
    """Put an input in line as a turn of its own; gives that and the place."""
    row.turns += 1
    turn = rows.new_turn(row.turns, new)
    position = one(connection, "line_up", row.title, row.turns, new.now, row.key)[0]
    connection.execute(SQL["insert_turn"], (row.key, *rows.turn_values(turn)))
    connection.execute(SQL["insert_input"], (row.key, position, turn.turn, kind.value, new.body, new.text, new.now))
    row.queued += 1
    if row.current is None:
        row.status = SessionStatus.QUEUED
    row.active = max(row.active, new.now)
    return turn, position


def join(connection: apsw.Connection, node: Node, row: SessionRow, new: NewInput) -> Accepted:
    """Take a steer for the current turn, or a follow-up behind everything."""
    number = row.current
    if new.kind is InputKind.STEER and number is not None:
        position = one(connection, "say_into", new.now, row.key)[0]
        row.steers += 1
    elif (last := one(connection, "last_in_line", row.key)) and last[1:] == (InputKind.FOLLOW_UP, "queued"):
        number, position = last[0], one(connection, "line_up_with", new.now, row.key)[0]
        row.queued += 1
    else:
        turn, position = line_up(connection, row, new, InputKind.FOLLOW_UP)
        return Accepted(Acceptance.QUEUED, row, turn, orphaned=node.orphaned(row), position=position, since=new.now)
    row.active = max(row.active, new.now)
    connection.execute(SQL["insert_input"], (row.key, position, number, new.kind.value, new.body, new.text, new.now))
    turn = rows.turn(one(connection, "turn", row.key, number))
    return Accepted(Acceptance.QUEUED, row, turn, orphaned=node.orphaned(row), position=position, since=new.now)


def request_cancel(
    connection: apsw.Connection, node: Node, user: str, id: str, turn: int | None, *, clear: bool, now: int
) -> Cancelled:
    """See SessionStore.request_cancel."""
    row = rows.find(connection, user, id)
    if turn is not None and one(connection, "turn", row.key, turn) is None:
        raise TurnNotFound(id, turn)
    inbox: list[Any] = connection.execute(SQL["inbox"], (row.key,)).fetchall()
    line = [item[1] for item in inbox if item[4] == "queued" and item[5] != InputKind.STEER]
    chosen = turn if turn is not None else row.current or (line[0] if line else None)
    wanted = [chosen] if chosen is not None else []
    if clear and row.current and row.status in {SessionStatus.QUEUED, SessionStatus.HELD}:
        wanted.append(row.current)  # it was in line or held before, and is in the history already
    if clear:
        wanted += [item[1] for item in inbox if item[5] != InputKind.STEER]
        drop_steers(connection, row)
    done, running = [], None
    for number in dict.fromkeys(wanted):
        status = rows.turn(one(connection, "turn", row.key, number)).status
        if status is TurnStatus.RUNNING and not node.may_take(row):
            connection.execute(SQL["ask_cancel"], (row.key, number))
            running = number
        elif not status.final:
            end_unowned(connection, row, number, TurnEnd(TurnStatus.CANCELLED, CANCELLED), now)
            done.append(number)
    return Cancelled(row, done, running)


def drop_steers(connection: apsw.Connection, row: SessionRow) -> None:
    """Remove what was to be said into turns."""
    dropped: list[Any] = connection.execute(SQL["drop_steers"], (row.key,)).fetchall()
    held = sum(state == "held" for (state,) in dropped)
    row.held -= held
    row.steers -= len(dropped) - held
    if dropped:
        settle(connection, row, status_of_current(row), row.active)


def resume(connection: apsw.Connection, user: str, id: str, now: int) -> Sequence[int]:
    """See SessionStore.resume."""
    row = rows.find(connection, user, id)
    held = [number for (number,) in connection.execute(SQL["held_turns"], (row.key,))]
    unhold(connection, row, held)
    left: list[Any] = connection.execute(SQL["held_steers"], (row.key,)).fetchall()
    if not left:
        return held
    # the turn that they were said into has ended; together they are one of their own
    row.turns += 1
    connection.execute(SQL["turns_up"], (row.key,))
    turn = rows.new_turn(row.turns, NewInput(user, id, "{}", "", now))
    connection.execute(SQL["insert_turn"], (row.key, *rows.turn_values(turn)))
    for (position,) in left:
        connection.execute(SQL["follow_up_instead"], (row.turns, row.key, position))
    row.held -= len(left)
    row.queued += len(left)
    settle(connection, row, status_of_current(row), now)
    return [*held, row.turns]


def discard(connection: apsw.Connection, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
    """See SessionStore.discard."""
    row = rows.find(connection, user, id)
    if turn is not None and one(connection, "turn", row.key, turn) is None:
        raise TurnNotFound(id, turn)
    held = [number for (number,) in connection.execute(SQL["held_turns"], (row.key,)) if turn in {None, number}]
    for number in held:
        end_unowned(connection, row, number, TurnEnd(TurnStatus.CANCELLED, DISCARDED), now)
    if turn is None:
        left: list[Any] = connection.execute(SQL["held_steers"], (row.key,)).fetchall()
        for (position,) in left:
            connection.execute(SQL["drop_at"], (row.key, position))
        row.held -= len(left)
        settle(connection, row, status_of_current(row), row.active)
    return held


def remove(connection: apsw.Connection, user: str, id: str, position: int, now: int) -> int | None:
    """See SessionStore.remove."""
    row = rows.find(connection, user, id)
    found = one(connection, "input_at", row.key, position)
    if found is None:
        return None
    number, kind, state = found
    connection.execute(SQL["drop_at"], (row.key, position))
    row.held -= state == "held"
    row.steers -= state == "queued" and kind == InputKind.STEER
    row.queued -= state == "queued" and kind != InputKind.STEER
    if kind != InputKind.STEER and not connection.execute(SQL["inputs_of"], (row.key, number)).fetchall():
        usage = rows.turn(one(connection, "turn", row.key, number)).usage
        connection.execute(
            SQL["end_turn"], (TurnStatus.CANCELLED.value, now, REMOVED, usage, None, None, row.key, number)
        )
    row.active = max(row.active, now)
    settle(connection, row, status_of_current(row), now)
    return int(number)


def unhold(connection: apsw.Connection, row: SessionRow, held: Sequence[int]) -> None:
    """Put held turns back in line, and with the current one what was to be said into it."""
    for number in held:
        connection.execute(SQL["unhold_turn"], (row.key, number))
        back = len(connection.execute(SQL["unhold_input"], (row.key, number)).fetchall())
        said = len(connection.execute(SQL["say_again"], (row.key, number)).fetchall()) if number == row.current else 0
        row.held -= back + said
        row.queued += back
        row.steers += said
    if held:
        current = TurnStatus.QUEUED if row.current in held else status_of_current(row)
        settle(connection, row, current, row.active)


def hold_said(connection: apsw.Connection, key: int, queued: int, held: int, steers: int) -> tuple[int, int, int]:
    """Hold what was said into the session's current turn or to be said after it; gives (queued, held, steers) then."""
    found: list[Any] = connection.execute(SQL["hold_said"], (key,)).fetchall()
    follow_ups = [turn for kind, turn in found if kind == InputKind.FOLLOW_UP]
    for number in dict.fromkeys(follow_ups):
        connection.execute(SQL["hold_turn"], (key, number))
    return queued - len(follow_ups), held + len(found), steers - (len(found) - len(follow_ups))


def end_unowned(connection: apsw.Connection, row: SessionRow, number: int, end: TurnEnd, now: int) -> None:
    """End a turn that no live node runs; one that was in the history says so there. What it used stays."""
    end = replace(end, usage=rows.turn(one(connection, "turn", row.key, number)).usage)
    ended_seq = None
    if row.current == number:
        if row.status is SessionStatus.WAITING:
            why = ApprovalStatus.SUPERSEDED if end.reason == SUPERSEDED else ApprovalStatus.CANCELLED
            connection.execute(SQL["close_questions"], (why.value, now, row.key))
        connection.execute(SQL["end_current"], (row.key,))
        row.version += 1
        row.fence += 1
        row.current, row.owner, ended_seq = None, None, row.version
        entry = Entry(0, EntryKind.TURN_ENDED, number, ended_body(end), end.reason or "")
        log(connection, row, row.version, entry, now)
        row.queued, row.held, row.steers = hold_said(connection, row.key, row.queued, row.held, row.steers)
    connection.execute(
        SQL["end_turn"], (end.status.value, now, end.reason, end.usage, ended_seq, None, row.key, number)
    )
    dropped: list[Any] = connection.execute(SQL["drop_input"], (row.key, number)).fetchall()
    held = sum(state == "held" for (state,) in dropped)
    row.held -= held
    row.queued -= len(dropped) - held
    row.active = max(row.active, now)
    settle(connection, row, status_of_current(row), now)


def status_of_current(row: SessionRow) -> TurnStatus | None:
    """How the session's current turn stands, which its own status says; None where there is none."""
    return TurnStatus(row.status.value) if row.current is not None else None


def settle(connection: apsw.Connection, row: SessionRow, current: TurnStatus | None, now: int) -> None:
    """Write what the session does now, from its current turn's status and its line."""
    row.status = status_of(current, row.queued, row.held)
    connection.execute(SQL["line_changed"], (row.queued, row.held, row.steers, row.status.value, now, row.key))
