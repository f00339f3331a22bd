"""Following a session: a turn to its end, or everything from some event on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

from sojourn.abc import MESSAGE_KINDS, Entry, TurnRow
from sojourn.errors import RuntimeClosed, SessionNotFound, SojournError, TurnCancelled, TurnFailed, TurnHeld
from sojourn.records import EntryKind, Event, EventKind, Reply, TurnStatus
from sojourn.sessions.approvals import WAITING
from sojourn.sessions.feed import Feed
from sojourn.sessions.live import Core, Outcome, Ticket
from sojourn.sessions.position import Position
from sojourn.sessions.residency import Name
from sojourn.sessions.subscription import Subscription
from sojourn.sessions.views import approval_of, event_of, reply_of, usage_of

#: An ended turn's last answer is looked for in this many of its last entries.
READ_BACK = 50

_ANSWER = MESSAGE_KINDS | {EntryKind.TURN_ENDED}


async def outcome(core: Core, name: Name, ticket: Ticket) -> Reply:
    """The reply of the turn that an input began; raises TurnFailed, TurnCancelled, TurnHeld, SessionNotFound."""
    if ticket.end is None:
        return await stored_reply(core, name, ticket.accepted.turn)
    if ticket.accepted.turn.status is TurnStatus.WAITING:
        return await waiting_reply(core, name, ticket.accepted.turn)
    found = await ticket.end
    if isinstance(found, BaseException):
        raise found
    return found


async def stored_reply(core: Core, name: Name, turn: TurnRow) -> Reply:
    """The reply of an ended turn, from storage; raises what its end was."""
    if turn.status is TurnStatus.FAILED:
        raise TurnFailed(name[1], turn.turn, turn.reason or "")
    if turn.status is TurnStatus.CANCELLED:
        raise TurnCancelled(name[1], turn.turn, turn.reason or "")
    if turn.status is TurnStatus.HELD:
        raise TurnHeld(name[1], turn.turn)
    ended = turn.ended_seq or 0
    entries = await core.store.entries(
        *name, after=(turn.opened_seq or 1) - 1, before=ended + 1, kinds=_ANSWER, limit=READ_BACK, newest=True
    )
    return reply_of(entries[-1], _said(entries))


async def waiting_reply(core: Core, name: Name, turn: TurnRow) -> Reply:
    """How a turn stands that waits for people: what it asks, and what it said before that."""
    asked = [row for row in await core.store.approvals(*name) if row.turn == turn.turn]
    before = min((row.seq for row in asked), default=0) + 1
    kinds = frozenset({EntryKind.MESSAGE})
    entries = await core.store.entries(*name, before=before, kinds=kinds, limit=1, newest=True)
    return Reply(
        text=_said([entry for entry in entries if entry.turn == turn.turn]),
        output=None,
        turn=turn.turn,
        usage=usage_of(turn.usage),
        finish_reason=WAITING,
        approvals=[approval_of(row) for row in asked],
    )


def _said(entries: Sequence[Entry]) -> str:
    return next((entry.text for entry in reversed(entries) if entry.kind is EntryKind.MESSAGE), "")


async def follow_turn(core: Core, name: Name, ticket: Ticket, after: Position) -> AsyncGenerator[Event]:
    """The events of one turn from its opening on, or those behind `after`; the last one is terminal."""
    accepted, end = ticket
    turn = accepted.turn
    # a turn in line opens behind everything that is there now
    start = turn.opened_seq - 1 if turn.opened_seq is not None else accepted.session.version

    async def check() -> None:
        if end is None or not end.done():
            await _check_same(core, name, accepted.session.key)
        elif isinstance(end.result(), SessionNotFound):
            raise SessionNotFound(name[1])

    # a place behind all that is stored is of another session, which had this id before
    position = after if start < after.seq <= accepted.session.version else Position(start)
    feed = core.feeds(name)
    subscription = feed.subscribe(position, list(accepted.tail[-1:]) or None, check, accepted.session.key)
    if end is None:
        subscription.finish_stored()
    else:
        end.add_done_callback(lambda _: subscription.finish_stored())
    seq = position.seq
    try:
        partial = position.offset > 0
        async for event in _events(core, name, feed, subscription):
            # text that is dropped may be another turn's, which was never shown here
            if event.turn == turn.turn or (partial and event.kind is EventKind.TEXT_DROPPED):
                partial, seq = event.kind is EventKind.TEXT, event.seq
                yield event
                if event.kind is EventKind.TURN_ENDED:
                    return
        yield _terminal(turn, end, seq)
    except SessionNotFound:
        yield await _gone(core, name, accepted.session.key, turn.turn, seq)
    finally:
        subscription.close()
        if end is not None:
            end.cancel()  # or it would hold all this for as long as the turn lasts


def _terminal(turn: TurnRow, end: asyncio.Future[Outcome] | None, seq: int) -> Event:
    """The end of a turn that left no trace in the log behind `seq`, where its reader is.

    Raises where it has not ended and will be seen no more.
    """
    status, reason = turn.status, turn.reason or ""
    error = end.result() if end is not None and end.done() and not end.cancelled() else None
    if isinstance(error, TurnCancelled | TurnFailed):
        status = TurnStatus.CANCELLED if isinstance(error, TurnCancelled) else TurnStatus.FAILED
        reason = error.reason
    elif isinstance(error, TurnHeld):
        status, reason = TurnStatus.HELD, str(error)
    elif isinstance(error, Reply):
        return Event(
            kind=EventKind.TURN_WAITING, id=str(seq), seq=seq, turn=turn.turn, status=TurnStatus.WAITING, reply=error
        )
    elif isinstance(error, BaseException):
        raise error
    elif not status.final:
        raise RuntimeClosed
    return Event(kind=EventKind.TURN_ENDED, id=str(seq), seq=seq, turn=turn.turn, status=status, text=reason)


async def _gone(core: Core, name: Name, key: int, turn: int, seq: int) -> Event:
    """How a turn ends that is no more: its session was reset, or is deleted."""
    kind = EventKind.SESSION_DELETED
    with suppress(SojournError):
        if (row := await core.store.get(*name)).key == key:
            kind, seq = EventKind.SESSION_RESET, row.first
    return Event(kind=kind, id=str(seq), seq=seq, turn=turn)


async def place(core: Core, name: Name, after: int | str | None) -> str:
    """The event's id `after`, or that of the last event there is; raises InvalidInput, SessionNotFound."""
    Position.parse(after)
    row = await core.store.get(*name)
    return str(row.version if after is None else after)


async def watch(core: Core, name: Name, after: int | str | None) -> AsyncGenerator[Event]:
    """Everything behind an event, and then what comes, until the session is deleted or the runtime closes."""
    row = await core.store.get(*name)
    position = Position(row.version) if after is None else Position.parse(after)
    if position.seq > row.version:
        position = Position()  # the place is of another session, which had this id before: all here is news
    feed = core.feeds(name)

    async def check() -> None:
        await feed.together(("same", row.key), lambda: _check_same(core, name, row.key))

    subscription = feed.subscribe(position, check=check, key=row.key)
    try:
        async for event in _events(core, name, feed, subscription):
            yield event
    except SessionNotFound:
        yield Event(kind=EventKind.SESSION_DELETED, id=str(position.seq), seq=position.seq)
    finally:
        subscription.close()


async def _check_same(core: Core, name: Name, key: int) -> None:
    # another process may have deleted the session, and somebody begun one with its id
    if (await core.store.get(*name)).key != key:
        raise SessionNotFound(name[1])


async def _events(core: Core, name: Name, feed: Feed, subscription: Subscription) -> AsyncIterator[Event]:
    """Entries as events; a completed turn's end carries its reply."""
    said: dict[int, str] = {}
    async for entry, event in subscription.events():
        if event is not None:
            yield event
        elif entry is not None:
            if entry.kind is EntryKind.MESSAGE:
                said = {entry.turn: entry.text}
            if (event := feed.known(entry)) is not None:
                yield event
                continue
            reply = None
            if entry.kind is EntryKind.TURN_ENDED and '"status":"completed"' in entry.body:
                text = said.get(entry.turn)
                reply = reply_of(entry, await _said_before(core, name, entry) if text is None else text)
            yield feed.know(entry, event_of(core.engine, name[1], entry, reply))


async def _said_before(core: Core, name: Name, end: Entry) -> str:
    try:
        found = await core.store.entries(
            *name, before=end.seq, kinds=frozenset({EntryKind.MESSAGE}), limit=1, newest=True
        )
    except SojournError:
        return ""
    return found[-1].text if found and found[-1].turn == end.turn else ""
