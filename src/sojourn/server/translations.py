"""What was translated for one who watches a session, for the others who stand where that one stood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from sojourn.records import Event, EventKind
from sojourn.server.events import Translator
from sojourn.server.sse import Sent
from sojourn.sessions.recent import Recent

#: How large the events are together that are kept for others, bytes, and what each counts beside its own size.
MAX_KEPT, EACH = 256 * 1024, 500


class Translations:
    """One session's events as those are sent them who watch it. Translators that are handed in are never changed."""

    def __init__(self, session: str) -> None:
        self._begin = Translator(session, named=False)
        # what a key is made of is kept with it, or another thing could get its number
        self._kept: Recent[tuple[Translator, Event, Sequence[Sent], Translator]] = Recent(MAX_KEPT)
        self._readers = 0

    @contextmanager
    def read(self) -> Iterator[None]:
        """One more reads them: only where there are several is anything kept."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def begin(self) -> Translator:
        """For those who have seen nothing, and behind the end of each turn."""
        return self._begin

    def translate(self, translator: Translator, event: Event, call_id: str) -> tuple[Sequence[Sent], Translator]:
        """What is sent for an event, and the translator of the next one."""
        key = id(translator), id(event), call_id
        if (kept := self._kept.get(key)) is not None:
            return kept[2], kept[3]
        then = translator.copy()
        sent = then.translate(event, call_id)
        if event.kind is EventKind.TURN_ENDED:
            then = self._begin
        if self._readers > 1:
            size = EACH + len(event.text) + sum(len(one.encoded) for one in sent)
            self._kept.put(key, (translator, event, sent, then), size)
        return sent, then


class Watched:
    """The translations of sessions that somebody watches."""

    def __init__(self) -> None:
        self._sessions: WeakValueDictionary[tuple[str, str], Translations] = WeakValueDictionary()

    def of(self, user: str, session: str) -> Translations:
        """Those of one session, for as long as anybody holds them."""
        name = user, session
        found = self._sessions.get(name)
        if found is None:
            found = self._sessions[name] = Translations(session)
        return found
