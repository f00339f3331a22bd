"""A session in memory: its parsed history, how far it knows the log, and what the parts of the core share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sojourn.abc import Accepted, Acquired, Claim, Engine, Entry, History, SessionRow, SessionStore
from sojourn.clock import Clock
from sojourn.records import EntryKind, OnInterrupt, Reply, UnloadReason, Usage
from sojourn.sessions.feed import Feeds
from sojourn.sessions.residency import Name, Residency
from sojourn.sessions.state import EMPTY
from sojourn.sessions.views import usage_of

if TYPE_CHECKING:
    from sojourn.sessions.mailbox import Mailbox


class Gate:
    """Lets callers through one at a time, in the order in which they came."""

    __slots__ = ("_closed", "_line")

    def __init__(self) -> None:
        self._closed = False
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Go through when it is one's turn; whoever is through calls `leave` once."""
        if not self._closed:
            self._closed = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was its turn in the same instant
            raise

    def leave(self) -> None:
        """Let the next one through."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._closed = False


class Live:
    """One live session. What it holds is a copy of what is stored, up to `version`."""

    __slots__ = (
        "__weakref__",
        "_usage",
        "_usage_text",
        "gate",
        "history",
        "key",
        "mailbox",
        "name",
        "settings",
        "state",
        "unreadable",
        "version",
    )

    def __init__(self, name: Name, row: SessionRow | None, history: History, state: str = EMPTY) -> None:
        self.name = name
        self.history = history
        self.key = row.key if row else None
        self.version = row.version if row else 0
        #: JSON, as it is stored.
        self.state = state
        #: What is chosen for this session alone, and of which session and revision that is.
        self.settings: tuple[int, int, Mapping[str, Any]] = (0, 0, {})
        self._usage: Mapping[str, Usage] = {}
        self._usage_text = "{}"
        #: Through which input comes, so that it is stored in the order in which callers came.
        self.gate = Gate()
        #: Who runs its turns, while it has any.
        self.mailbox: Mailbox | None = None
        #: Why the history lacks what is stored, where the agent could not read it.
        self.unreadable: str | None = None

    @property
    def claim(self) -> Claim:
        """What this copy knows."""
        return Claim(self.key, self.version)

    def take(self, got: Accepted | Acquired) -> None:
        """Bring the copy up to date with what the store answered."""
        self.key = got.session.key
        self._extend(got.tail)
        self.version = got.session.version

    def stored(self, entries: Sequence[Entry]) -> None:
        """Entries of ours are in the log now."""
        self._extend(entries)
        self.version = entries[-1].seq if entries else self.version

    def _extend(self, entries: Sequence[Entry]) -> None:
        # what is stored is stored: the turn ends as failed then, and the copy is dropped
        self.state = state_after(entries, self.state)
        try:
            self.history.extend(entries)
        except ValueError as error:
            self.unreadable = self.unreadable or str(error)

    def usage_from(self, text: str) -> Mapping[str, Usage]:
        """The session's usage from its JSON, which is read only where it is not what this process wrote last."""
        return self._usage if text == self._usage_text else usage_of(text)

    def keep_usage(self, text: str, usage: Mapping[str, Usage]) -> None:
        """What this process wrote last."""
        self._usage_text, self._usage = text, dict(usage)

    def left(self, reason: UnloadReason) -> None:
        """It has left memory."""


def state_after(entries: Sequence[Entry], before: str = EMPTY) -> str:
    """The session's state behind these entries, as JSON."""
    for entry in reversed(entries):
        if entry.kind is EntryKind.STATE_CHANGED:
            return entry.body
        if entry.kind is EntryKind.SESSION_RESET:
            return EMPTY
    return before


#: How a turn ends for those who wait for it: a value even where it is an error, because nobody may be left to hear it.
Outcome: TypeAlias = Reply | BaseException


class Ticket(NamedTuple):
    """What a caller holds of an input that was accepted."""

    accepted: Accepted
    #: Its turn's outcome, for this caller alone. None where the turn had ended before.
    end: asyncio.Future[Outcome] | None


class _Expected(NamedTuple):
    name: Name
    ends: list[asyncio.Future[Outcome]]


def seen(done: asyncio.Future[Any]) -> None:
    """A done callback for what nobody may be left to hear of: a failure is then no reason to warn."""
    if not done.cancelled():
        done.exception()


class Outcomes:
    """How turns end, for those in this process who wait for it."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], _Expected] = {}
        #: How often somebody began to wait: one who began after the last look has to be looked for once more.
        self.begun = 0

    def expect(self, session: SessionRow, turn: int, end: asyncio.Future[Any] | None = None) -> asyncio.Future[Outcome]:
        """A future (the one given, or a new one) that gets the turn's outcome once it ends."""
        if end is None:
            end = asyncio.get_running_loop().create_future()
        self.begun += 1
        place = (session.key, turn)
        found = self._waiting.get(place)
        if found is None:
            self._waiting[place] = _Expected((session.user, session.id), [end])
        else:
            found.ends.append(end)
        return end

    def ticket(self, accepted: Accepted) -> Ticket:
        """What the caller gets for its input."""
        turn = accepted.turn
        return Ticket(accepted, None if turn.status.final else self.expect(accepted.session, turn.turn))

    def settle(self, key: int, turn: int, outcome: Outcome) -> None:
        """The turn has ended."""
        found = self._waiting.pop((key, turn), None)
        for end in found.ends if found is not None else ():
            if not end.done():
                end.set_result(outcome)

    def settle_session(self, key: int, last: int, outcome: BaseException) -> None:
        """No turn of this session up to `last` will ever end otherwise."""
        for place in [place for place in self._waiting if place[0] == key and place[1] <= last]:
            self.settle(*place, outcome)

    def open(self) -> list[tuple[Name, int, int]]:
        """(name, session key, turn) of every turn that is waited for."""
        for place, found in list(self._waiting.items()):
            if all(end.done() for end in found.ends):
                del self._waiting[place]  # they have all left
        return [(found.name, *place) for place, found in self._waiting.items()]

    def settle_all(self, outcome: BaseException) -> None:
        """Nothing will ever end any more."""
        for place in list(self._waiting):
            self.settle(*place, outcome)


@dataclass(slots=True)
class Core:
    """What the parts of a runtime share."""

    store: SessionStore
    engine: Engine
    clock: Clock
    on_interrupt: OnInterrupt
    residency: Residency[Live]
    feeds: Feeds
    outcomes: Outcomes = field(default_factory=Outcomes)
    #: Whether turns are run here at all.
    works: bool = True
    #: How many inputs may be in line or held in one session.
    max_inbox: int = 100
    #: How long people have to decide, milliseconds; None: for ever.
    approval_timeout: int | None = None
    #: Whether what they allow for later is remembered only as long as this process lives.
    fleeting: bool = False
    #: Which session waits for which others, by what their tools do.
    waits: dict[Name, list[Name]] = field(default_factory=dict)
