"""Where input comes in: a place is reserved, the input made durable, and its owner set to work."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sojourn.abc import Accepted, NewInput
from sojourn.errors import AgentUnsupported, RuntimeClosed, SessionNotFound, SojournError, StorageCorrupt
from sojourn.records import BusyPolicy, Content, InputKind, Reply, UnloadReason
from sojourn.sessions import current
from sojourn.sessions.checks import one_of, printable
from sojourn.sessions.live import Core, Live, Ticket, seen, state_after
from sojourn.sessions.mailbox import Mailbox
from sojourn.sessions.residency import Name, Place
from sojourn.sessions.titles import title_from
from sojourn.sessions.views import encode_content

logger = logging.getLogger("sojourn.desk")

#: The longest idempotency key, characters.
MAX_KEY = 255

#: A text with more characters, or more parts, are looked at beside the event loop.
LARGE, MANY = 256 * 1024, 500

#: How many entries of a history are parsed before others get a turn.
LOAD_PIECE = 200


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller said, checked and encoded."""

    body: str
    text: str
    key: str | None
    create: bool
    reject: bool
    kind: InputKind = InputKind.MESSAGE


def check_said(content: Content, key: str | None, busy: BusyPolicy | str, *, create: bool) -> Said:
    """What can be accepted, or InvalidInput, ContentTooLarge."""
    body, text = encode_content(content)
    if key is not None:
        printable("key", key, MAX_KEY)
    policy = one_of("busy", busy, BusyPolicy)
    kind = InputKind.STEER if policy is BusyPolicy.STEER else InputKind.MESSAGE
    return Said(body, text, key, create, policy is BusyPolicy.REJECT, kind)


async def check_said_beside(content: Content, key: str | None, busy: BusyPolicy | str, *, create: bool) -> Said:
    """As `check_said`; what is large is checked and encoded beside the event loop."""
    if _is_large(content):
        return await asyncio.to_thread(check_said, content, key, busy, create=create)
    return check_said(content, key, busy, create=create)


def _is_large(content: Content) -> bool:
    if isinstance(content, str):
        return len(content) > LARGE
    if not isinstance(content, list | tuple):
        return False
    texts = (value for part in content if isinstance(part, Mapping) for value in part.values())
    return len(content) > MANY or any(isinstance(value, str) and len(value) > LARGE for value in texts)


class Desk:
    """Takes input for all sessions."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, name: Name, said: Said) -> Ticket | Reply:
        """As `accept`, but where the turn begins at once, the reply once it has ended; raises what its end was."""
        return await self._take_in(name, said, whole=True)

    async def accept(self, name: Name, said: Said) -> Ticket:
        """Reserve a place, make the input durable; returns as soon as it is. Its turn goes on without the caller."""
        ticket = await self._take_in(name, said, whole=False)
        if isinstance(ticket, Reply):
            raise TypeError(ticket)
        return ticket

    async def _take_in(self, name: Name, said: Said, *, whole: bool) -> Ticket | Reply:
        core = self._core
        if not core.works:
            raise AgentUnsupported("this runtime runs no turns; open the storage with an agent to send to a session")
        if not said.create and core.residency.peek(name) is None:
            await core.store.get(*name)
        # a tool that waited for a place could wait for the one that its own turn holds
        inside = current.running_in() is not None
        place = await core.residency.acquire(name, wait=0 if inside else None)
        try:
            return await self._deliver(place, self._input(name, said), whole=whole)
        except SessionNotFound:
            live = core.residency.peek(name)
            if live is not None and live.key is None:  # nothing is stored of it, nor will be
                core.residency.forget(name, UnloadReason.GONE)
            raise

    async def put(self, name: Name, said: Said) -> Accepted:
        """Make an input durable and leave it in line; it needs no place until it runs."""
        # a sender that waits bounds itself; one that does not has to be bounded
        new = replace(self._input(name, said), limit=self._core.max_inbox)
        accepted = await self._core.store.accept(new, None)
        self._core.residency.touch(name)
        return accepted

    async def wake(self, name: Name) -> None:
        """Let work that nobody owns run, if the session has any; however long it takes to get a place."""
        while not await self._kick(await self._core.residency.acquire(name, wait=float("inf"))):
            pass  # its copy was void; a new one comes when that has left

    def _input(self, name: Name, said: Said) -> NewInput:
        digest = None
        if said.key is not None:
            digest = hashlib.sha256(f"{said.body}\n{said.text}".encode()).hexdigest()
        return NewInput(
            *name, said.body, said.text, self._core.clock.now_ms(),
            key=said.key, digest=digest, title=title_from(said.text), create=said.create, reject=said.reject,
            kind=said.kind,
        )  # fmt: skip

    async def _deliver(self, place: Place[Live], new: NewInput, *, whole: bool) -> Ticket | Reply:
        """Hand the input, and the caller's pin with it, to the session's owner."""
        with self._pinned(place) as pin:
            live = _loaded(place)
            await live.gate.enter()
            if live.mailbox is not None:
                ticket = await self._line_up(live, new)
                if ticket.accepted.orphaned:
                    await self._run_line(pin.pop(), ticket)
                return ticket
            if self._core.residency.closed:
                live.gate.leave()
                raise RuntimeClosed("closing")
            # it leaves the gate when the input is stored
            told = Mailbox(self._core, pin.pop(), self._reload).start(new, whole=whole)
        found = await told
        if isinstance(found, BaseException):
            raise found
        return found

    async def _line_up(self, live: Live, new: NewInput) -> Ticket:
        """Store the input behind what the session's owner runs; leaves the gate."""
        storing = asyncio.ensure_future(self._store(new))
        storing.add_done_callback(seen)
        try:
            await asyncio.sleep(0)  # now it is on its way, and whoever comes next comes behind it
        finally:
            live.gate.leave()
        return await asyncio.shield(storing)

    async def _store(self, new: NewInput) -> Ticket:
        # the ticket is made in the step in which the answer comes: the turn's end may come with the next
        return self._core.outcomes.ticket(await self._core.store.accept(new, None))

    async def _run_line(self, place: Place[Live], ticket: Ticket) -> None:
        """Set an owner to work on what is in line; takes the caller's pin."""
        if not await self._kick(place):
            # in a new copy, when there is a place for it; the caller waits for its turn and for nothing else
            task = asyncio.create_task(self._run_anew(place.name, ticket), name=f"sojourn-run-{place.name[1]}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run_anew(self, name: Name, ticket: Ticket) -> None:
        try:
            await self.wake(name)
        except StorageCorrupt as error:
            # nobody can read the session, so nobody would ever run what was just put in line
            accepted, now = ticket.accepted, self._core.clock.now_ms()
            await self._core.store.request_cancel(*name, accepted.turn.turn, clear=False, now=now)
            self._core.outcomes.settle(accepted.session.key, accepted.turn.turn, error)
        except SojournError as error:
            logger.warning("input of session %s waits to be taken up: %s", name[1], error.code)

    async def _kick(self, place: Place[Live]) -> bool:
        """Set an owner to work on what is in line; takes the caller's pin. False if the copy is void."""
        with self._pinned(place) as pin:
            live = _loaded(place)
            while True:
                await live.gate.enter()
                # of a void copy nobody could come in while it runs; when the runtime closes, others go on with it
                if place.void is not None or self._core.residency.closed:
                    live.gate.leave()
                    return self._core.residency.closed
                if live.mailbox is None:
                    Mailbox(self._core, pin.pop(), self._reload).start(None)
                    return True
                live.gate.leave()
                if live.mailbox.task is not None:
                    await asyncio.wait([live.mailbox.task])

    @contextmanager
    def _pinned(self, place: Place[Live]) -> Iterator[list[Place[Live]]]:
        """A pin that is given back at the end unless somebody has taken it out of the list."""
        pin = [place]
        try:
            yield pin
        finally:
            if pin:
                self._core.residency.release(place)

    async def _reload(self, live: Live) -> None:
        """Make a copy anew that is too far behind."""
        fresh = await self.load(live.name)
        live.history, live.key, live.version, live.state = fresh.history, fresh.key, fresh.version, fresh.state
        live.unreadable = None

    async def load(self, name: Name) -> Live:
        """A session's copy from storage; an empty one of what is not stored yet."""
        found = await self._core.store.load(*name)
        history = self._core.engine.history()
        if found is None:
            return Live(name, None, history)
        row, entries = found
        for at in range(0, len(entries), LOAD_PIECE):
            try:
                history.extend(entries[at : at + LOAD_PIECE])
            except ValueError as error:
                raise StorageCorrupt(f"session {name[1]!r}", str(error)) from error
            await asyncio.sleep(0)  # a long history must not hold up everybody else
        self._core.residency.restored += 1
        return Live(name, row, history, state_after(entries))


def _loaded(place: Place[Live]) -> Live:
    if place.resident is None:
        raise AssertionError(f"the place of {place.name!r} is empty while it is pinned")
    return place.resident
