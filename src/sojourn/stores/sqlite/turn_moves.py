"""The moves of a turn, each inside one transaction of the writer: accept, acquire, append."""

from __future__ import annotations

from collections.abc import Sequence
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
    Claim,
    Entry,
    NewInput,
    SessionRow,
    StaleClaim,
    TurnEnd,
    TurnRow,
    coalesced,
)
from sojourn.errors import IdempotencyConflict, InboxFull, OwnershipLost, SessionBusy, SessionNotFound
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind, InputKind, SessionStatus, TurnStatus
from sojourn.stores.common import SUPERSEDED, status_of
from sojourn.stores.sqlite import approvals, inbox_moves, rows
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
    if new.limit is not None and row.queued + row.held + row.steers >= new.limit:
        raise InboxFull(new.id, new.limit)
    if _joins(row, new):
        return inbox_moves.join(connection, node, row, new)
    opens = claim is not None and node.may_take(row) and not row.queued
    opens = opens and (row.current is None or row.status in _SUPERSEDED)
    if opens and claim and not created and _stale(row, claim):
        return Accepted(Acceptance.STALE, row, rows.new_turn(0, new))
    if row.status in _SUPERSEDED and row.current is not None:
        inbox_moves.end_unowned(connection, row, row.current, TurnEnd(TurnStatus.CANCELLED, SUPERSEDED), new.now)
    _title(connection, row, new.title)
    if opens and claim:
        return _open(connection, node, row, new, claim.version, created=created)
    return _line_up(connection, node, row, new, created=created)


def _joins(row: SessionRow, new: NewInput) -> bool:
    """Whether the input belongs to what the session does already, rather than being a message of its own."""
    working = row.current is not None and row.status is not SessionStatus.HELD
    if new.kind is InputKind.FOLLOW_UP:
        return working or row.queued > 0
    return new.kind is InputKind.STEER and working


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
        inbox_moves.unhold(connection, row, [turn.turn])
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
    turn, position = inbox_moves.line_up(connection, row, new, InputKind.MESSAGE)
    return Accepted(
        Acceptance.QUEUED, row, turn, created=created, orphaned=node.orphaned(row), position=position, since=new.now
    )


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
    completes = write.end is not None and write.end.status is TurnStatus.COMPLETED
    place = (row.key, write.fence, node.number, write.version, write.turn)
    known = all(one(connection, "is_said", row.key, position) for position in write.taken)
    # nobody is asked for a turn that is to be cancelled
    unwanted = bool(write.asked) and one(connection, "cancel_asked", row.key, write.turn) is not None
    found = _step(connection, write, spoken, place, completes=completes) if known and not unwanted else None
    if found is None:
        if (left := one(connection, "still_owned", *place)) is not None:
            return Appended(write.version, refused=True, steers=left[0])
        raise OwnershipLost(row.id)
    queued, held, steers = found
    for seq, entry in enumerate(entries, write.version + 1):
        log(connection, row, seq, entry, write.now)
    for call in write.started:
        connection.execute(
            SQL["insert_effect"], (row.key, call.seq, call.index, call.tool, call.digest, call.status.value)
        )
    for effect in write.finished:
        connection.execute(SQL["finish_effect"], (effect.status.value, row.key, effect.seq, effect.index))
    for position in write.taken:
        connection.execute(SQL["take_steer"], (row.key, position))
    version = write.version + len(entries)
    if write.asked:
        return _wait(connection, node, write, version, queued=queued, held=held, steers=steers)
    if write.end is not None:
        return _end(connection, node, write, version, queued=queued, held=held, steers=steers)
    if write.attempts is not None or write.turn_usage is not None:
        connection.execute(SQL["attempt"], (write.attempts, write.turn_usage, row.key, write.turn))
    asked = one(connection, "cancel_asked", row.key, write.turn) is not None
    return Appended(version, cancel_requested=asked, steers=steers)


def _step(
    connection: apsw.Connection, write: Append, spoken: int, place: tuple[object, ...], *, completes: bool
) -> tuple[int, int, int] | None:
    """Move the session's row on by a write; gives (queued, held, steers) then, or None where it may not be written."""
    taken = len(write.taken)
    values = (len(write.entries), spoken, write.usage, write.now, taken, *place)
    found: tuple[int, int, int] | None = (
        one(connection, "step_to_end", *values, taken) if completes else one(connection, "step", *values)
    )
    return found


def _wait(
    connection: apsw.Connection, node: Node, write: Append, version: int, *, queued: int, held: int, steers: int
) -> Appended:
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
        return Appended(version, steers=steers, asked=asked, next=following)
    connection.execute(
        SQL["end_turn"], (TurnStatus.WAITING.value, None, None, usage, None, write.attempts, key, write.turn)
    )
    status = status_of(TurnStatus.WAITING, queued, held)
    connection.execute(SQL["release"], (write.turn, status.value, key))
    return Appended(version, steers=steers, asked=asked, tail=tail)


def _end(
    connection: apsw.Connection, node: Node, write: Append, version: int, *, queued: int, held: int, steers: int
) -> Appended:
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
        queued, held, steers = 0, queued + held + steers, 0
    elif end.status in {TurnStatus.FAILED, TurnStatus.CANCELLED} and (queued or steers):
        queued, held, steers = inbox_moves.hold_said(connection, key, queued, held, steers)
    if final and queued:
        row = rows.session(one(connection, "session_by_key", key))
        row.queued, row.held, row.steers = queued, held, steers
        connection.execute(SQL["line_changed"], (queued, held, steers, row.status.value, write.now, key))
        return Appended(version, next=_open_next(connection, node, row, version, write.now))
    if end.status is not TurnStatus.COMPLETED:
        current = None if final else write.turn
        status = status_of(None if final else end.status, queued, held)
        connection.execute(SQL["line_changed"], (queued, held, steers, status.value, write.now, key))
        connection.execute(SQL["release"], (current, status.value, key))
    return Appended(version, steers=steers)


def _open_next(connection: apsw.Connection, node: Node, row: SessionRow, known: int, now: int) -> Acquired:
    (number,) = one(connection, "next_input", row.key)
    inputs: list[Any] = connection.execute(SQL["inputs_of"], (row.key, number)).fetchall()
    connection.execute(SQL["take_inputs"], (row.key, number))
    connection.execute(SQL["open_queued"], (number, len(inputs), node.number, now, row.key))
    row.version += 1
    row.fence += 1
    row.messages += 1
    row.queued -= len(inputs)
    row.owner, row.current, row.status, row.active = node.number, number, SessionStatus.RUNNING, max(row.active, now)
    connection.execute(SQL["start_turn"], (now, row.version, row.key, number))
    body, text = coalesced(inputs)
    entry = Entry(row.version, EntryKind.TURN_OPENED, number, body, text, now)
    tail = [*_tail(connection, row, known), entry]
    log(connection, row, row.version, entry, now)
    turn = rows.turn(one(connection, "turn", row.key, number))
    calls = _open_calls(connection, row)
    return Acquired(row, turn, tail, continued=False, interrupted=False, open_calls=calls)


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
