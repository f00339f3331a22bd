"""Where a client is in a session's events, and the text that is being written there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sojourn.errors import InvalidInput
from sojourn.records import Event, EventKind

_EVENT_ID = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18}\.[0-9]{1,18})?")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a client is: behind the durable event `seq`, and in the text of `attempt` up to `offset`."""

    seq: int = 0
    attempt: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, event_id: int | str | None) -> Position:
        """From an event's id; raises InvalidInput."""
        if event_id is None:
            return cls()
        if not _EVENT_ID.fullmatch(str(event_id)):
            raise InvalidInput("event id", event_id, "an id that an event had: SEQ or SEQ.ATTEMPT.OFFSET")
        return cls(*map(int, str(event_id).split(".")))


#: What each try behind the first adds to the attempt of its text's places, more than a turn has attempts.
TRY = 1_000_000


class Text:
    """The text of the step that is being written; void once something durable follows, or the model is asked again."""

    __slots__ = ("attempt", "length", "pieces", "shown", "told", "tries", "turn", "why")

    def __init__(self, turn: int, attempt: int) -> None:
        self.turn, self.attempt = turn, attempt
        self.pieces: list[str] = []
        #: How long it is, and how far watchers are told of it.
        self.length = self.told = 0
        #: How often the model was asked again, and why the last time.
        self.tries, self.why = 0, ""
        #: The piece that was made last: those who are as far get the same one.
        self.shown: Event | None = None

    def write(self, piece: str) -> None:
        """More of it."""
        self.pieces.append(piece)
        self.length += len(piece)

    def piece(self, seq: int, start: int, end: int) -> Event:
        """What was written between two offsets, behind the durable event `seq`."""
        place = f"{seq}.{self.attempt}.{end}"
        found = self.shown
        if found is None or found.id != place or len(found.text) != end - start:
            if len(self.pieces) > 1:
                self.pieces = ["".join(self.pieces)]
            text = self.pieces[0][start:end]
            found = self.shown = Event(kind=EventKind.TEXT, id=place, seq=seq, turn=self.turn, text=text)
        return found

    def again(self, why: str) -> Text:
        """The text that is written next instead: of another attempt, so that a place in void text is known as one."""
        text = Text(self.turn, self.attempt + TRY)
        text.tries, text.why = self.tries + 1, why
        return text


@dataclass(frozen=True, slots=True)
class Flush:
    """Put before a durable event: the text up to there, so that nobody misses its end."""

    seq: int
    text: Text

    @property
    def size(self) -> int:
        """How many characters it holds."""
        return self.text.length
