"""What a user of the runtime can do with sessions: all calls for one user, and a handle for one session."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime

from sojourn.abc import MESSAGE_KINDS
from sojourn.errors import ExportInvalid, InvalidInput, SessionBusy, SessionChanged, SessionNotFound
from sojourn.records import (
    BusyPolicy,
    Content,
    Direction,
    Effect,
    Event,
    EventKind,
    Found,
    FoundSessions,
    Message,
    Page,
    QueuedInput,
    Reply,
    Role,
    Session,
    SessionOrder,
    SessionStatus,
    Turn,
    UnloadReason,
    check_session_id,
)
from sojourn.sessions import current, following, searching, transfer
from sojourn.sessions.checks import whole_number
from sojourn.sessions.deciding import MAX_NUMBER, Deciding, limit_of
from sojourn.sessions.desk import Said, check_said_beside
from sojourn.sessions.handle import SessionHandle
from sojourn.sessions.listing import wanted_of
from sojourn.sessions.live import Ticket
from sojourn.sessions.position import Position
from sojourn.sessions.residency import Name
from sojourn.sessions.titles import MAX_TITLE, can_be_title
from sojourn.sessions.views import message_of, queued_of, session_of, turn_of


class Scope(Deciding):
    """One user's sessions. Nothing of another user's can be seen or changed through it."""

    def session(self, id: str) -> SessionHandle:
        """A handle for the session with this id, which need not exist yet; no I/O. Raises InvalidSessionId."""
        return SessionHandle(self, check_session_id(id))

    # -- sessions

    async def create(self, id: str | None = None, *, title: str | None = None) -> Session:
        """Store an empty session; without an id it gets one. Raises SessionExists, InvalidSessionId."""
        self._runtime.check_open()
        core = self._runtime.core
        chosen = str(uuid.uuid4()) if id is None else check_session_id(id)
        title = None if title is None else _title(title)
        return session_of(await core.store.create(self.user, chosen, title=title, now=core.clock.now_ms()))

    async def get(self, id: str) -> Session:
        """The session as it stands in storage; no activity. Raises SessionNotFound."""
        return session_of(await self._runtime.core.store.get(*self._name(id)))

    async def sessions(
        self,
        *,
        query: str | None = None,
        status: SessionStatus | str | Iterable[SessionStatus | str] | None = None,
        parent: str | None = None,
        active_since: datetime | None = None,
        active_before: datetime | None = None,
        order: SessionOrder | str = SessionOrder.ACTIVITY,
        direction: Direction | str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page:
        """A page of sessions, newest activity first unless another order is asked for.

        Those that everything is true of: `query`, the title or one of the messages has all its words, the last one as a
        prefix; `status`, one or several of them; `parent`, the session that they were forked from; the last activity
        is at `active_since` or later, and earlier than `active_before`. Without a `direction`, times go from the newest
        and ids from the smallest.

        Put together, the pages have each session once, unless what they are ordered by changed meanwhile. A page costs
        the same however many sessions are stored; but what `query` finds, the forks of `parent`, and with `order`
        "created" or "id" also what is within limits of activity, or waiting or held, is sorted whole for each page.
        Raises InvalidInput.
        """
        self._runtime.check_open()
        wanted = wanted_of(
            query=None if query is None else searching.checked_query(query, empty=True), status=status, parent=parent,
            active_since=active_since, active_before=active_before, order=order, direction=direction,
        )  # fmt: skip
        rows, cursor = await self._runtime.core.store.page(
            self.user, wanted, limit=limit_of(limit), after=searching.checked_cursor(after)
        )
        return Page(sessions=[session_of(row) for row in rows], next=cursor)

    async def rename(self, id: str, title: str, *, unless_changed: Session | None = None) -> Session:
        """Set the title, or only if the session is still as it was seen.

        Raises SessionNotFound, SessionChanged (then nothing is changed).
        """
        core, name = self._runtime.core, self._name(id)
        text, seen = _title(title), None
        if unless_changed is not None:
            seen = await core.store.get(*name)
            if session_of(seen) != unless_changed:
                raise SessionChanged(id)
        row = await core.store.rename(*name, text, core.clock.now_ms(), unless_changed=seen)
        core.residency.touch(name)
        return session_of(row)

    async def reset(self, id: str) -> Session:
        """Forget the session's history, queue and keys, keep the session; what runs is cut. Raises SessionNotFound."""
        core, name = self._runtime.core, self._name(id)
        row = await core.store.reset(*name, core.clock.now_ms())
        await self._runtime.cut(name, row.key, row.turns)
        core.feeds.look(name)
        self._runtime.chores.purge_soon()
        return session_of(row)

    async def clear_context(self, id: str) -> bool:
        """Send the model only what comes after, from now on; the history stays, and is shown as before.

        False where nothing was said since the last time. Raises SessionNotFound, and SessionBusy while a turn is
        unfinished or anything is in line.
        """
        core, name = self._runtime.core, self._name(id)
        cleared = await core.store.clear_context(*name, core.clock.now_ms())
        core.residency.touch(name)
        core.feeds.look(name)
        return cleared

    async def delete(self, id: str) -> bool:
        """Remove every trace of the session, also while it is busy; False if there is none.

        It is gone when this returns; its rows are purged in the background.
        """
        core, name = self._runtime.core, self._name(id)
        try:
            row = await core.store.get(*name)
        except SessionNotFound:
            return False
        gone = await core.store.delete(*name)
        if gone:
            core.feeds.end(name, EventKind.SESSION_DELETED)
            await self._runtime.cut(name, row.key, sys.maxsize)
            self._runtime.chores.purge_soon()
        return gone

    async def fork(
        self, id: str, *, at: int | None = None, new_id: str | None = None, title: str | None = None
    ) -> Session:
        """A new session with the same history up to the end of a finished turn.

        `at` is the `seq` of that turn's last message (None: the last finished turn). Queue, keys and usage are not
        copied. Raises SessionNotFound, SessionExists, ForkPointInvalid.
        """
        core, name = self._runtime.core, self._name(id)
        child = str(uuid.uuid4()) if new_id is None else check_session_id(new_id)
        if title is None:
            parent = await core.store.get(*name)
            title = f"Fork: {(parent.title or id).removeprefix('Fork: ')}"[:MAX_TITLE]
        row = await core.store.fork(*name, child, at=_number("at", at), title=_title(title), now=core.clock.now_ms())
        return session_of(row)

    async def unload(self, id: str) -> bool:
        """Drop the session from memory now; False if it is not live. Raises SessionBusy."""
        residency, name = self._runtime.core.residency, self._name(id)
        if residency.unload(name, UnloadReason.REQUESTED):
            return True
        if residency.is_live(name):
            raise SessionBusy(id)
        return False

    async def export(self, id: str) -> AsyncGenerator[str]:
        """The session up to its last finished turn as JSON Lines, for `load`. Raises SessionNotFound."""
        async with aclosing(transfer.export(self._runtime.core, *self._name(id))) as lines:
            async for line in lines:
                yield line

    async def load(self, lines: AsyncIterable[str] | Iterable[str], *, id: str | None = None) -> Session:
        """Store an exported session, under another `id` if given. Raises ExportInvalid, SessionExists."""
        self._runtime.check_open()
        chosen = None if id is None else check_session_id(id)
        return session_of(await transfer.load(self._runtime.core, self.user, _aiter(lines), id=chosen))

    # -- turns

    async def send(
        self,
        id: str,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> Reply:
        """Say something and wait for the agent to finish. Cancelling this call does not cancel the turn.

        The input is durable before the agent sees it. The same `key` with the same content never runs twice: it gives
        the reply of the turn that it began. Raises SessionNotFound (with create=False), SessionBusy (busy="reject"),
        IdempotencyConflict, SessionReentrant, SessionLimitExceeded, TurnFailed, TurnCancelled, TurnHeld, InvalidInput.
        """
        name, said = await self._make_way(id, content, key, busy, create=create)
        core = self._runtime.core
        with current.waiting_for(core.waits, name):
            found = await self._runtime.desk.ask(name, said)
            return found if isinstance(found, Reply) else await following.outcome(core, name, found)

    async def stream(
        self,
        id: str,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> AsyncGenerator[Event]:
        """Say something and follow the turn; the last event is terminal. Leaving early does not stop the turn.

        Raises as `send` does, except that a turn's end is an event.
        """
        _, events = await self.begin(id, content, key=key, create=create, busy=busy)
        async with aclosing(events):
            async for event in events:
                yield event

    async def begin(
        self,
        id: str,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
        after: int | str | None = None,
    ) -> tuple[Turn, AsyncGenerator[Event]]:
        """As `stream`, but returns as soon as the input is durable: its turn, and the turn's events.

        With a `key` that began the turn before, the events may begin behind `after`, an event's id.
        """
        position, core = Position.parse(after), self._runtime.core
        name, said = await self._make_way(id, content, key, busy, create=create)
        with current.waiting_for(core.waits, name):
            ticket = await self._runtime.desk.accept(name, said)
        return turn_of(ticket.accepted.turn), self._follow(name, ticket, position)

    async def _follow(self, name: Name, ticket: Ticket, position: Position) -> AsyncGenerator[Event]:
        core = self._runtime.core
        with current.waiting_for(core.waits, name):
            async with aclosing(following.follow_turn(core, name, ticket, position)) as events:
                async for event in events:
                    yield event

    async def submit(
        self,
        id: str,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> Turn:
        """Say something and leave: it is durable when this returns, and runs when there is a place for it.

        Gives its turn. Raises SessionNotFound (with create=False), SessionBusy (busy="reject"), IdempotencyConflict,
        InboxFull, InvalidInput.
        """
        name, said = await self._make_way(id, content, key, busy, create=create)
        return turn_of((await self._leave(name, said)).turn)

    async def watch(self, id: str, *, after: int | str | None = None) -> AsyncGenerator[Event]:
        """Events of the session: those stored behind `after` (an event's id), then live ones; None: from now on.

        Ends when the session is deleted or the runtime closes. No activity. Raises SessionNotFound, InvalidInput.
        """
        self._runtime.check_open()
        async with aclosing(following.watch(self._runtime.core, self._name(id), after)) as events:
            async for event in events:
                yield event

    async def follow(self, id: str, *, after: int | str | None = None) -> AsyncGenerator[Event]:
        """As `watch`, but from where the session stands when this returns, however late its events are asked for."""
        place = await following.place(self._runtime.core, self._name(id), after)
        return self.watch(id, after=place)

    async def cancel(self, id: str, *, turn: int | None = None, clear: bool = False) -> bool:
        """Cancel a turn (None: the one that runs or is next); True if it, or with `clear` anything in line, was.

        Returns when the turn has ended. What was written of its answer stays in the history. Raises SessionNotFound,
        TurnNotFound.
        """
        return await self._runtime.cancel_turn(self._name(id), _number("turn", turn), clear=clear)

    async def resume(self, id: str) -> Sequence[int]:
        """Let held turns run; gives their numbers. Raises SessionNotFound."""
        core, name = self._runtime.core, self._name(id)
        turns = await core.store.resume(*name, core.clock.now_ms())
        if turns:
            self._runtime.wake_soon(name)
        return turns

    async def discard(self, id: str, *, turn: int | None = None) -> Sequence[int]:
        """Cancel held turns, or one of them; gives their numbers. Raises SessionNotFound, TurnNotFound."""
        core = self._runtime.core
        return await core.store.discard(*self._name(id), _number("turn", turn), core.clock.now_ms())

    # -- reads

    async def history(self, id: str, *, before: int | None = None, limit: int | None = None) -> Sequence[Message]:
        """Messages, oldest first: all, or the newest `limit` of those before the number `before`.

        Raises SessionNotFound.
        """
        core = self._runtime.core
        limit = None if limit is None else limit_of(limit)
        entries = await core.store.entries(
            *self._name(id), before=_number("before", before), limit=limit, newest=True, kinds=MESSAGE_KINDS
        )
        messages = []
        for index, entry in enumerate(entries):
            if index % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)  # a long history must not hold up everybody else
            if (message := message_of(core.engine, entry)) is not None:
                messages.append(message)
        return messages

    async def turn(self, id: str, turn: int) -> Turn:
        """One turn. Raises SessionNotFound, TurnNotFound."""
        number = whole_number("turn", turn, 0, MAX_NUMBER)
        return turn_of(await self._runtime.core.store.turn(*self._name(id), number))

    async def turns(self, id: str) -> Sequence[Turn]:
        """All turns, oldest first. Raises SessionNotFound."""
        return [turn_of(row) for row in await self._runtime.core.store.turns(*self._name(id))]

    async def search(
        self,
        query: str,
        *,
        id: str | None = None,
        role: Role | str | None = None,
        limit: int = 20,
        after: str | None = None,
        offset: int = 0,
    ) -> Found:
        """What was said in all words of `query`, the last one as a prefix: the last stored first.

        In all sessions, or in one; by everybody, or by one role: what tools returned is not looked into. `after` goes
        on behind an earlier page, `offset` passes over as many more. Raises SessionNotFound, InvalidInput.
        """
        self._runtime.check_open()
        asked = searching.Asked.checked(query, limit, offset, role=role, after=after)
        chosen = None if id is None else check_session_id(id)
        return await searching.messages(self._runtime.core, self.user, asked, id=chosen)

    async def search_sessions(self, query: str, *, limit: int = 20, offset: int = 0) -> FoundSessions:
        """Sessions in which a message or the title has all words of `query`: most matches first, then last activity."""
        self._runtime.check_open()
        asked = searching.Asked.checked(query, limit, offset)
        return await searching.sessions(self._runtime.core, self.user, asked)

    async def inbox(self, id: str) -> Sequence[QueuedInput]:
        """Input in line and held, in order. Raises SessionNotFound."""
        return [queued_of(row) for row in await self._runtime.core.store.inbox(*self._name(id))]

    async def effects(self, id: str) -> Sequence[Effect]:
        """The ledger of tool calls, in order. Raises SessionNotFound."""
        return await self._runtime.core.store.effects(*self._name(id))

    async def _make_way(
        self, id: str, content: Content, key: str | None, busy: BusyPolicy | str | None, *, create: bool
    ) -> tuple[Name, Said]:
        """What is said to whom, checked; with busy="interrupt" what runs there has been cancelled."""
        policy = self._runtime.settings.busy if busy is None else busy
        name = self._name(id)
        said = await check_said_beside(content, key, policy, create=create)
        if policy == BusyPolicy.INTERRUPT:
            with suppress(SessionNotFound):
                row = await self._runtime.core.store.get(*name)
                if row.current is not None and row.status is SessionStatus.RUNNING:
                    await self._runtime.cancel_turn(name, row.current, clear=False)
        return name, said


_PIECE = 200


def _title(title: object) -> str:
    text = title.strip() if isinstance(title, str) else ""
    if not 1 <= len(text) <= MAX_TITLE or not can_be_title(text):
        raise InvalidInput("title", title, f"1 to {MAX_TITLE} characters on one line")
    return text


def _number(what: str, value: int | None) -> int | None:
    return None if value is None else whole_number(what, value, -MAX_NUMBER, MAX_NUMBER)


async def _aiter(lines: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    elif isinstance(lines, Iterable):
        for line in lines:
            yield line
    else:
        raise ExportInvalid(1, lines, "lines of text")
