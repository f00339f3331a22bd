"""Questions to people, each move inside one transaction of the writer: ask, decide, expire, remember, forget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from sojourn.abc import (
    Append,
    ApprovalRow,
    Decided,
    Entry,
    NewApproval,
    RememberedRow,
    Runnable,
    SessionRow,
    Verdict,
    approval_decided_body,
)
from sojourn.errors import ApprovalDecided, ApprovalNotFound
from sojourn.records import ApprovalStatus, EffectStatus, EntryKind, Remember, SessionStatus, TurnStatus
from sojourn.stores.common import REMEMBERED, status_of
from sojourn.stores.sqlite import rows
from sojourn.stores.sqlite.rows import SQL, one
from sojourn.stores.sqlite.writing import Node, log


def approval(found: Any) -> ApprovalRow:
    """A question from the columns that the statements read."""
    row = ApprovalRow(*found)
    row.status = ApprovalStatus(found[9])
    return row


def ask(connection: apsw.Connection, node: Node, write: Append, version: int) -> tuple[list[ApprovalRow], list[Entry]]:
    """Store a turn's questions; what is remembered answers some at once, which the log says behind `version`."""
    row = write.session
    asked: list[ApprovalRow] = []
    entries: list[Entry] = []
    for new in write.asked:
        connection.execute(SQL["ask"], (
            new.id, row.user, row.key, write.turn, new.seq, new.index, new.tool, new.arguments, new.digest, write.now,
            new.expires,
        ))  # fmt: skip
        connection.execute(SQL["finish_effect"], (EffectStatus.INTENDED.value, row.key, new.seq, new.index))
        asked.append(_question(row, write, new))
    for question in asked:
        if _is_remembered(connection, node, row.key, question):
            question.status, question.decided, question.by = ApprovalStatus.APPROVED, write.now, REMEMBERED
            entries.append(_decide(connection, row, question, version + len(entries) + 1))
    return asked, entries


def _question(row: SessionRow, write: Append, new: NewApproval) -> ApprovalRow:
    return ApprovalRow(
        new.id, row.user, row.id, write.turn, new.seq, new.index, new.tool, new.arguments, new.digest,
        ApprovalStatus.PENDING, write.now, new.expires,
    )  # fmt: skip


def _is_remembered(connection: apsw.Connection, node: Node, session: int, question: ApprovalRow) -> bool:
    about = (question.user, question.tool, session, question.digest)
    found: list[Any] = connection.execute(SQL["recall"], about).fetchall()
    return any(maker is None or maker == node.number or not node.is_dead(maker) for (maker,) in found)


def _decide(connection: apsw.Connection, session: SessionRow, question: ApprovalRow, seq: int) -> Entry:
    """Write how a question was decided, to its row and to the log."""
    connection.execute(SQL["decide"], (
        question.status.value, question.decided, question.by, question.reason, question.changed, session.key,
        question.id,
    ))  # fmt: skip
    now = int(question.decided or 0)
    connection.execute(SQL["noted"], (now, session.key))
    entry = Entry(seq, EntryKind.APPROVAL_DECIDED, question.turn, approval_decided_body(question), "", now)
    log(connection, session, seq, entry, now)
    return entry


@dataclass(slots=True)
class _Ruling:
    """Decisions over questions that may lie in several sessions."""

    connection: apsw.Connection
    decided: list[ApprovalRow] = field(default_factory=list)
    sessions: dict[int, SessionRow] = field(default_factory=dict)

    def rule(self, session: int, question: ApprovalRow) -> None:
        """Take one decision."""
        row = self.sessions.get(session)
        if row is None:
            row = self.sessions[session] = rows.session(one(self.connection, "session_by_key", session))
        row.version += 1
        _decide(self.connection, row, question, row.version)
        row.active = max(row.active, question.decided or 0)
        self.decided.append(question)

    def runnable(self) -> list[Runnable]:
        """Put the turns in line again that wait for nobody any more."""
        found = []
        for row in self.sessions.values():
            waiting = row.status is SessionStatus.WAITING and row.current is not None
            if not waiting or one(self.connection, "still_open", row.key, row.current):
                continue
            self.connection.execute(SQL["wait_over"], (row.key, row.current))
            status = status_of(TurnStatus.QUEUED, row.queued, row.held)
            self.connection.execute(
                SQL["line_changed"], (row.queued, row.held, row.steers, status.value, row.active, row.key)
            )
            found.append(Runnable(row.user, row.id))
        return found


def decide(connection: apsw.Connection, node: Node, session: SessionRow, wanted: str, verdict: Verdict) -> Decided:
    """See SessionStore.decide."""
    found = one(connection, "approval", session.key, wanted)
    if found is None:
        raise ApprovalNotFound(session.id, wanted)
    question, ruling = approval(found), _Ruling(connection)
    if question.status is not ApprovalStatus.PENDING:
        if (question.status, question.changed) != (verdict.status, verdict.changed):
            raise ApprovalDecided(wanted, question.status.value, question.by)
        return Decided([question], [], again=True)
    if question.expires is not None and question.expires <= verdict.now:
        _expire(ruling, session.key, question, verdict.now)
        return Decided(ruling.decided, ruling.runnable())
    question.status, question.decided, question.by = verdict.status, verdict.now, verdict.by
    question.reason, question.changed = verdict.reason, verdict.changed
    ruling.rule(session.key, question)
    if verdict.remember is not None and verdict.status is ApprovalStatus.APPROVED:
        _remember(connection, node, session, question, verdict)
        for key, other in _alike(connection, session, question, verdict.remember):
            like = approval(one(connection, "approval", key, other))
            like.status, like.decided, like.by = verdict.status, verdict.now, verdict.by
            ruling.rule(key, like)
    return Decided(ruling.decided, ruling.runnable())


def _remember(
    connection: apsw.Connection, node: Node, session: SessionRow, question: ApprovalRow, verdict: Verdict
) -> None:
    exact = verdict.remember in _EXACT
    connection.execute(SQL["remember"], (
        verdict.remembered, session.user, None if verdict.remember in _FOR_USER else session.key, question.tool,
        question.arguments if exact else None, question.digest if exact else None, verdict.now, verdict.by,
        node.number if verdict.fleeting else None,
    ))  # fmt: skip


def _alike(
    connection: apsw.Connection, session: SessionRow, question: ApprovalRow, remember: Remember
) -> Sequence[tuple[int, str]]:
    digest = question.digest if remember in _EXACT else None
    name, owner = ("like_of_user", session.user) if remember in _FOR_USER else ("like_in_session", session.key)
    found: list[Any] = connection.execute(SQL[name], (owner, question.tool, digest)).fetchall()
    return [(key, wanted) for key, _, _, wanted in sorted(found)]


_EXACT = frozenset({Remember.SESSION_EXACT, Remember.USER_EXACT})
_FOR_USER = frozenset({Remember.USER, Remember.USER_EXACT})


def expire(connection: apsw.Connection, now: int, limit: int) -> Sequence[Runnable]:
    """See SessionStore.expire."""
    ruling = _Ruling(connection)
    overdue: list[Any] = connection.execute(SQL["overdue"], (now, limit)).fetchall()
    for session, wanted in overdue:
        _expire(ruling, session, approval(one(connection, "approval", session, wanted)), now)
    return ruling.runnable()


def _expire(ruling: _Ruling, session: int, question: ApprovalRow, now: int) -> None:
    question.status, question.decided = ApprovalStatus.EXPIRED, now
    ruling.rule(session, question)


def of_turn(connection: apsw.Connection, session: int, turn: int) -> list[ApprovalRow]:
    """A turn's questions whose calls have no result, in the order of the calls."""
    return [approval(found) for found in connection.execute(SQL["approvals_of_turn"], (session, turn))]


def listed(connection: apsw.Connection, user: str, id: str | None, *, pending: bool, limit: int) -> list[ApprovalRow]:
    """See SessionStore.approvals."""
    owner = user if id is None else rows.find(connection, user, id).key
    name = ("open_" if pending else "") + ("approvals_of_user" if id is None else "approvals_of_session")
    return [approval(row) for row in connection.execute(SQL[name], (owner, limit))]


def named(connection: apsw.Connection, user: str, wanted: str) -> ApprovalRow:
    """See SessionStore.approval."""
    found = one(connection, "approval_named", user, wanted)
    if found is None:
        raise ApprovalNotFound(None, wanted)
    return approval(found)


def remembered(connection: apsw.Connection, node: Node, user: str, id: str | None) -> list[RememberedRow]:
    """See SessionStore.remembered."""
    if id is None:
        found: Iterable[Any] = connection.execute(SQL["remembered_of_user"], (user,))
    else:
        found = connection.execute(SQL["remembered_of_session"], (rows.find(connection, user, id).key,))
    return [
        RememberedRow(*row) for *row, maker in found if maker is None or maker == node.number or not node.is_dead(maker)
    ]
