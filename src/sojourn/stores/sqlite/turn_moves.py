"""The moves of a turn, each inside one transaction of the writer: accept, acquire, append, cancel, resume, discard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import apsw

from sojourn.abc import (
    MAX_TAIL,
    MESSAGE_KINDS,
    Acceptance,
    Accepted,
    Acquired,
    Append,
    Appended,
    ApprovalRow,
    Cancelled,
    Claim,
    Entry,
    NewInput,
    SessionRow,
    StaleClaim,
    TurnEnd,
    TurnRow,
)
from sojourn.errors import IdempotencyConflict, OwnershipLost, SessionBusy, SessionNotFound, TurnNotFound
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus
from sojourn.stores.common import CANCELLED, DISCARDED, SUPERSEDED, ended_body, status_of
from sojourn.stores.sqlite import approvals, rows
from sojourn.stores.sqlite.rows import SQL, indexed, one
from sojourn.stores.sqlite.writing import RUNNABLE, Node, log

#: What ends when something else is said.
_SUPERSEDED = frozenset({SessionStatus.HELD, SessionStatus.WAITING})


# ----------------------------------------------------------------------------------------------------------- accepting


def accept(connection: apsw.Connection, node: Node, new: NewInput, claim: Claim | None) -> Accepted:
    """See SessionStore.accept."""
    found = one(connection, "session_by_id", new.user, new.id)
    if found is None:
        if not new.create:
            raise SessionNotFound(new.id)
        row, created = create(connection, new.user, new.id, None, new.now), True
    else:
        row, created = rows.session(found), False
        if new.key is not None and (known := one(connection, "turn_by_key", row.key, new.key)):
            return _attach(connection, node, row, rows.turn(known), new)
    if new.reject and (row.queued or row.status in RUNNABLE):
        raise SessionBusy(new.id)
    opens = claim is not None and node.may_take(row) and not row.queued
    opens = opens and (row.current is None or row.status in _SUPERSEDED)
    if opens and claim and not created and _stale(row, claim):
        return Accepted(Acceptance.STALE, row, rows.new_turn(0, new))
    if row.status in _SUPERSEDED and row.current is not None:
        _end_unowned(connection, row, row.current, TurnEnd(TurnStatus.CANCELLED, SUPERSEDED), new.now)
    _title(connection, row, new.title)
    if opens and claim:
        return _open(connection, node, row, new, claim.version, created=created)
    return _line_up(connection, node, row, new, created=created)


def create(
    connection: apsw.Connection, user: str, id: str | None, title: str | None, now: int, *, parent: int | None = None
) -> SessionRow:
    """A new row; without an id it is not reachable yet."""
    connection.execute(SQL["create"], (user, id, title, now, now, parent))
    key = connection.last_insert_rowid()
    if id is not None:
        connection.execute(SQL["count_up"], (1,))
    if title:
        connection.execute(SQL["index"], (-key, indexed(user, title)))
    return SessionRow(
        key=key, user=user, id=id or "", title=title, created=now, active=now, messages=0, parent=None,
        status=SessionStatus.IDLE, usage="{}", owner=None, fence=0, version=0, first=1, turns=0, current=None,
        queued=0, held=0,
    )  # fmt: skip


def _title(connection: apsw.Connection, row: SessionRow, title: str | None) -> None:
    if title and row.title is None:
        row.title = title
        connection.execute(SQL["index"], (-row.key, indexed(row.user, title)))


def _attach(connection: apsw.Connection, node: Node, row: SessionRow, turn: TurnRow, new: NewInput) -> Accepted:
    if turn.digest != new.digest:
        raise IdempotencyConflict(new.id, new.key or "")
    if turn.status is TurnStatus.HELD:
        unhold(connection, row, [turn.turn])
        turn.status = TurnStatus.QUEUED
    return Accepted(Acceptance.ATTACHED, row, turn, orphaned=node.orphaned(row))


def _open(
    connection: apsw.Connection, node: Node, row: SessionRow, new: NewInput, known: int, *, created: bool
) -> Accepted:
    """Straight into the log: nothing is before it."""
    connection.execute(SQL["open_fresh"], (row.title, node.number, new.now, row.key))
    row.turns += 1
    row.version += 1
    row.fence += 1
    row.messages += 1
    row.current, row.owner, row.status, row.active = (
        row.turns,
        node.number,
        SessionStatus.RUNNING,
        max(row.active, new.now),
    )
    turn = rows.new_turn(row.turns, new, opened=row.version)
    connection.execute(SQL["insert_turn"], (row.key, *rows.turn_values(turn)))
    entry = Entry(row.version, EntryKind.TURN_OPENED, row.turns, new.body, new.text, new.now)
    tail = [entry] if row.version == known + 1 else [*_tail(connection, row, known), entry]
    log(connection, row, row.version, entry, new.now)
    calls = () if created else _open_calls(connection, row)
    return Accepted(Acceptance.OPENED, row, turn, tail=tail, open_calls=calls, created=created)


def _line_up(connection: apsw.Connection, node: Node, row: SessionRow, new: NewInput, *, created: bool) -> Accepted:
    row.turns += 1
    turn = rows.new_turn(row.turns, new)
    position = one(connection, "line_up", row.title, row.turns, new.now, row.key)[0]
    connection.execute(SQL["insert_turn"], (row.key, *rows.turn_values(turn)))
    connection.execute(SQL["insert_input"], (row.key, position, turn.turn, new.body, new.text))
    row.queued += 1
    if row.status in {SessionStatus.IDLE, SessionStatus.HELD}:
        row.status = SessionStatus.QUEUED
    row.active = max(row.active, new.now)
    return Accepted(Acceptance.QUEUED, row, turn, created=created, orphaned=node.orphaned(row))


# ------------------------------------------------------------------------------------------------------ owning, writing


def acquire(connection: apsw.Connection, node: Node, user: str, id: str, claim: Claim, *, now: int) -> Acquired | None:
    """See SessionStore.acquire."""
    row = rows.find(connection, user, id)
    if not node.orphaned(row):
        return None
    if _stale(row, claim):
        raise StaleClaim
    if row.current is None:
        return _open_next(connection, node, row, claim.version, now)
    turn = rows.turn(one(connection, "turn", row.key, row.current))
    interrupted = turn.status is TurnStatus.RUNNING
    connection.execute(SQL["take_over"], (node.number, now, row.key))
    connection.execute(SQL["run_again"], (row.key, row.current))
    row.owner, row.status, turn.status = node.number, SessionStatus.RUNNING, TurnStatus.RUNNING
    row.active = max(row.active, now)
    row.fence += 1
    tail, calls = _tail(connection, row, claim.version), _open_calls(connection, row)
    return Acquired(
        row, turn, tail, continued=True, interrupted=interrupted, open_calls=calls,
        decided=_decided(connection, row.key, turn.turn, calls),
    )  # fmt: skip


def append(connection: apsw.Connection, node: Node, write: Append) -> Appended:
    """See SessionStore.append."""
    row, entries = write.session, write.entries
    spoken = sum(entry.kind in MESSAGE_KINDS for entry in entries)
    final = write.end is not None and write.end.status.final
    found = one(
        connection, "step_to_end" if final else "step", len(entries), spoken, write.usage, write.now,
        row.key, write.fence, node.number, write.version, write.turn,
    )  # fmt: skip
    if found is None:
        raise OwnershipLost(row.id)
    for seq, entry in enumerate(entries, write.version + 1):
        log(connection, row, seq, entry, write.now)
    for call in write.started:
        connection.execute(
            SQL["insert_effect"], (row.key, call.seq, call.index, call.tool, call.digest, call.status.value)
        )
    for effect in write.finished:
        connection.execute(SQL["finish_effect"], (effect.status.value, row.key, effect.seq, effect.index))
    version = write.version + len(entries)
    if write.asked:
        return _wait(connection, node, write, version, queued=found[0], held=found[1])
    if write.end is not None:
        return _end(connection, node, write, version, queued=found[0], held=found[1])
    if write.attempts is not None or write.turn_usage is not None:
        connection.execute(SQL["attempt"], (write.attempts, write.turn_usage, row.key, write.turn))
    asked = one(connection, "cancel_asked", row.key, write.turn) is not None
    return Appended(version, cancel_requested=asked)


def _wait(connection: apsw.Connection, node: Node, write: Append, version: int, *, queued: int, held: int) -> Appended:
    """Stop for people, unless what is remembered has decided everything already."""
    key, usage = write.session.key, (write.end or TurnEnd(TurnStatus.WAITING)).usage
    asked, tail = approvals.ask(connection, node, write, version)
    version += len(tail)
    if all(question.status is not ApprovalStatus.PENDING for question in asked):
        connection.execute(SQL["attempt"], (write.attempts, usage, key, write.turn))
        row, turn = (
            rows.session(one(connection, "session_by_key", key)),
            rows.turn(one(connection, "turn", key, write.turn)),
        )
        calls = _open_calls(connection, row)
        following = Acquired(row, turn, tail, continued=True, interrupted=False, open_calls=calls, decided=asked)
        return Appended(version, asked=asked, next=following)
    connection.execute(
        SQL["end_turn"], (TurnStatus.WAITING.value, None, None, usage, None, write.attempts, key, write.turn)
    )
    status = status_of(TurnStatus.WAITING, queued, held)
    connection.execute(SQL["release"], (write.turn, status.value, key))
    return Appended(version, asked=asked, tail=tail)


def _end(connection: apsw.Connection, node: Node, write: Append, version: int, *, queued: int, held: int) -> Appended:
    key, end = write.session.key, write.end or TurnEnd(TurnStatus.FAILED)
    final = end.status.final
    ended = (write.now, version) if final else (None, None)
    connection.execute(
        SQL["end_turn"],
        (end.status.value, ended[0], end.reason, end.usage, ended[1], write.attempts, key, write.turn),
    )
    if end.status is TurnStatus.HELD:
        connection.execute(SQL["hold_turns"], (key,))
        connection.execute(SQL["hold_line"], (key,))
        queued, held = 0, queued + held
        connection.execute(SQL["line_changed"], (queued, held, SessionStatus.HELD.value, write.now, key))
    if final and queued:
        row = rows.session(one(connection, "session_by_key", key))
        return Appended(version, next=_open_next(connection, node, row, version, write.now))
    if not final:
        status = status_of(end.status, queued, held)
        connection.execute(SQL["release"], (write.turn, status.value, key))
    return Appended(version)


def _open_next(connection: apsw.Connection, node: Node, row: SessionRow, known: int, now: int) -> Acquired:
    line, number, body, text = one(connection, "next_input", row.key)
    connection.execute(SQL["take_input"], (line,))
    connection.execute(SQL["open_queued"], (number, node.number, now, row.key))
    row.version += 1
    row.fence += 1
    row.messages += 1
    row.queued -= 1
    row.owner, row.current, row.status, row.active = node.number, number, SessionStatus.RUNNING, max(row.active, now)
    connection.execute(SQL["start_turn"], (now, row.version, row.key, number))
    entry = Entry(row.version, EntryKind.TURN_OPENED, number, body, text, now)
    tail = [*_tail(connection, row, known), entry]
    log(connection, row, row.version, entry, now)
    turn = rows.turn(one(connection, "turn", row.key, number))
    calls = _open_calls(connection, row)
    return Acquired(row, turn, tail, continued=False, interrupted=False, open_calls=calls)


# --------------------------------------------------------------------------------------------------- by anybody's hand


def request_cancel(
    connection: apsw.Connection, node: Node, user: str, id: str, turn: int | None, *, clear: bool, now: int
) -> Cancelled:
    """See SessionStore.request_cancel."""
    row = rows.find(connection, user, id)
    if turn is not None and one(connection, "turn", row.key, turn) is None:
        raise TurnNotFound(id, turn)
    inbox: list[Any] = connection.execute(SQL["inbox"], (row.key,)).fetchall()
    line = [item[1] for item in inbox if item[4] == "queued"]
    chosen = turn if turn is not None else row.current or (line[0] if line else None)
    wanted = [chosen] if chosen is not None else []
    if clear and row.current and row.status in {SessionStatus.QUEUED, SessionStatus.HELD}:
        wanted.append(row.current)  # it was in line or held before, and is in the history already
    if clear:
        wanted += [item[1] for item in inbox]
    done, running = [], None
    for number in dict.fromkeys(wanted):
        status = rows.turn(one(connection, "turn", row.key, number)).status
        if status is TurnStatus.RUNNING and not node.may_take(row):
            connection.execute(SQL["ask_cancel"], (row.key, number))
            running = number
        elif not status.final:
            _end_unowned(connection, row, number, TurnEnd(TurnStatus.CANCELLED, CANCELLED), now)
            done.append(number)
    return Cancelled(row, done, running)


def resume(connection: apsw.Connection, user: str, id: str) -> Sequence[int]:
    """See SessionStore.resume."""
    row = rows.find(connection, user, id)
    held = [number for (number,) in connection.execute(SQL["held_turns"], (row.key,))]
    unhold(connection, row, held)
    return held


def discard(connection: apsw.Connection, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
    """See SessionStore.discard."""
    row = rows.find(connection, user, id)
    if turn is not None and one(connection, "turn", row.key, turn) is None:
        raise TurnNotFound(id, turn)
    held = [number for (number,) in connection.execute(SQL["held_turns"], (row.key,)) if turn in {None, number}]
    for number in held:
        _end_unowned(connection, row, number, TurnEnd(TurnStatus.CANCELLED, DISCARDED), now)
    return held


def unhold(connection: apsw.Connection, row: SessionRow, held: Sequence[int]) -> None:
    """Put held turns back in line."""
    for number in held:
        connection.execute(SQL["unhold_turn"], (row.key, number))
        if one(connection, "unhold_input", row.key, number):
            row.held -= 1
            row.queued += 1
    if held:
        current = TurnStatus(row.status.value) if row.current is not None else None
        _settle(connection, row, TurnStatus.QUEUED if row.current in held else current, row.active)


def _end_unowned(connection: apsw.Connection, row: SessionRow, number: int, end: TurnEnd, now: int) -> None:
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
        log(
            connection, row, row.version, Entry(0, EntryKind.TURN_ENDED, number, ended_body(end), end.reason or ""), now
        )
    connection.execute(
        SQL["end_turn"], (end.status.value, now, end.reason, end.usage, ended_seq, None, row.key, number)
    )
    if dropped := one(connection, "drop_input", row.key, number):
        row.held -= dropped[0] == "held"
        row.queued -= dropped[0] == "queued"
    current = TurnStatus(row.status.value) if row.current is not None else None
    row.active = max(row.active, now)
    _settle(connection, row, current, now)


def _settle(connection: apsw.Connection, row: SessionRow, current: TurnStatus | None, now: int) -> None:
    row.status = status_of(current, row.queued, row.held)
    connection.execute(SQL["line_changed"], (row.queued, row.held, row.status.value, now, row.key))


def _stale(row: SessionRow, claim: Claim) -> bool:
    return claim.key != row.key or not 0 <= row.version - claim.version <= MAX_TAIL


def _tail(connection: apsw.Connection, row: SessionRow, known: int) -> list[Entry]:
    return [rows.entry(found) for found in connection.execute(SQL["tail"], (row.key, known, row.first))]


def _decided(connection: apsw.Connection, key: int, turn: int, calls: Sequence[Effect]) -> Sequence[ApprovalRow]:
    if not any(call.status is EffectStatus.INTENDED for call in calls):
        return ()
    return approvals.of_turn(connection, key, turn)


def _open_calls(connection: apsw.Connection, row: SessionRow) -> Sequence[Effect]:
    return [rows.effect(found) for found in connection.execute(SQL["open_effects"], (row.key, row.first))]
