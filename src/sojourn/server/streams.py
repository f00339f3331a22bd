"""The streams of a turn and of a session; each ends with an event that says so."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sojourn.errors import RuntimeClosed, SessionNotFound, SojournError
from sojourn.records import Approval, Event, EventKind, Message, TurnStatus
from sojourn.server.calls import Calls
from sojourn.server.errors import problem_of
from sojourn.server.events import Translator
from sojourn.server.sse import Sent
from sojourn.server.translations import Translations
from sojourn.sessions.position import Position
from sojourn.sessions.scope import Scope

logger = logging.getLogger("sojourn.server")

#: Events that come behind the durable one whose number they carry.
_BEHIND = frozenset({EventKind.TEXT, EventKind.TEXT_DROPPED, EventKind.MODEL_RETRY, EventKind.TURN_WAITING})

#: Messages of a turn that are read at once.
_PAGE = 50

_ENDS = frozenset({EventKind.TURN_ENDED, EventKind.SESSION_DELETED})


async def turn_stream(
    scope: Scope,
    session: str,
    turn: int,
    events: AsyncGenerator[Event],
    *,
    after: str | None = None,
    until_waiting: bool = False,
) -> AsyncGenerator[Sent]:
    """A turn's events to its end, also over a wait for people; with `until_waiting` such a wait ends it."""
    stream = _Stream(scope, session, named=True, after=after)
    async with aclosing(stream.told(_whole_turn(scope, session, turn, events, until_waiting=until_waiting))) as told:
        async for sent in told:
            yield sent


async def session_stream(
    scope: Scope, session: str, events: AsyncGenerator[Event], shared: Translations, *, after: str | None
) -> AsyncGenerator[Sent]:
    """A session's events until it is deleted or the server closes; translated once for all who watch it."""
    stream = _Stream(scope, session, named=False, after=after, shared=shared)
    with shared.read():
        async with aclosing(stream.told(events, endless=True)) as told:
            async for sent in told:
                yield sent


async def _whole_turn(
    scope: Scope, session: str, turn: int, events: AsyncGenerator[Event], *, until_waiting: bool
) -> AsyncGenerator[Event]:
    last = "0"
    waits = False
    async with aclosing(events):
        async for event in events:
            last = event.id
            waits = event.kind is EventKind.TURN_WAITING
            yield event
    if not waits or until_waiting:
        return
    async with aclosing(scope.watch(session, after=last)) as further:
        async for event in further:
            if event.turn == turn or event.kind in {EventKind.SESSION_DELETED, EventKind.SESSION_RESET}:
                yield event
                if event.kind in _ENDS or event.kind is EventKind.SESSION_RESET:
                    return
    raise RuntimeClosed("closing")


class _Stream:
    """Translates what comes; whatever goes wrong is told as an event, since the status is sent long ago."""

    def __init__(
        self, scope: Scope, session: str, *, named: bool, after: str | None, shared: Translations | None = None
    ) -> None:
        self._scope, self._session, self._shared = scope, session, shared
        place = Position.parse(after)
        if shared is not None and not place.attempt:
            self._translator = shared.begin()
        else:
            self._translator = Translator(session, named=named, written=place.offset if place.attempt else None)
        self._calls = Calls(scope, session)
        #: Whether nothing was seen yet of a turn: it may be amid one that the reader comes to.
        self._new = True

    async def told(self, events: AsyncGenerator[Event], *, endless: bool = False) -> AsyncGenerator[Sent]:
        last: Event | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    last = event
                    for sent in await self._translated(event):
                        yield sent
        except RuntimeClosed:
            yield self._closing()
            return
        except SessionNotFound:  # deleted before or between two looks at it
            yield self._translator.sent("session:deleted")
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader is told that it is over
            for sent in self._broken(error):
                yield sent
            return
        if endless and (last is None or last.kind is not EventKind.SESSION_DELETED):
            yield self._closing()

    async def _translated(self, event: Event) -> Sequence[Sent]:
        if self._new and event.turn is not None:
            self._new = False
            if event.kind is not EventKind.TURN_OPENED:
                await self._recall(event.turn, event.seq + (event.kind in _BEHIND))
        if event.message is not None and event.message.tool_calls:
            self._calls.know(event.message)
        call = "" if event.approval is None else await self._calls.id_of(event.approval)
        if self._shared is None:
            return self._translator.translate(event, call)
        sent, self._translator = self._shared.translate(self._translator, event, call)
        return sent

    async def _recall(self, turn: int, before: int) -> None:
        """Read what there was of the turn, so that what follows is told as to a reader that never left."""
        messages: list[Message] = []
        while not messages or messages[0].turn == turn:
            seq = messages[0].seq if messages else before
            page = await self._scope.history(self._session, before=seq, limit=_PAGE)
            messages[:0] = page
            if len(page) < _PAGE:
                break
        messages = [message for message in messages if message.turn == turn]
        asked: dict[str, Approval] = {}
        if any(message.tool_calls for message in messages):
            found = await self._scope.approvals(self._session, pending=False, limit=1000)
            asked = {await self._calls.id_of(one): one for one in found if one.turn == turn and one.seq < before}
        self._translator = self._translator.copy()
        self._translator.recall(messages, asked)

    def _closing(self) -> Sent:
        message = "the server is closing; the turn goes on when it is back: connect again with Last-Event-ID"
        return self._translator.sent("server:closing", code="server_closing", message=message)

    def _broken(self, error: Exception) -> list[Sent]:
        problem = problem_of(error)
        if not isinstance(error, SojournError):
            logger.error("a stream broke: %s", type(error).__name__)
        return self._translator.ended("error", TurnStatus.FAILED, problem.message, None)
