"""What all stores share: the words of a search, places in a list, what a session's row says of its state."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sojourn.abc import Entry, SessionRow, TurnEnd, Wanted, turn_ended_body
from sojourn.errors import InvalidInput
from sojourn.records import SessionOrder, SessionStatus, TurnStatus

#: Why a held turn ended when something else was said instead of resuming it.
SUPERSEDED = "superseded by a later message"
CANCELLED = "cancelled by request"
DISCARDED = "discarded"
REMOVED = "removed from the line"

#: Who decides where an earlier yes holds.
REMEMBERED = "remembered"

#: How many messages that a search found are counted.
MAX_COUNTED = 10_000

#: A message's place among those of its session is told where no more entries than this are before it.
MAX_INDEXED = 1_000

#: So many characters are made searchable at once.
_AT_ONCE = 32 * 1024

#: A session's place in a list: the values of its row that the list goes by.
Place: TypeAlias = tuple[Any, ...]

#: What each order goes by. Where times are the same, the key says what came first.
COLUMNS: Mapping[SessionOrder, tuple[str, ...]] = {
    SessionOrder.ACTIVITY: ("active", "key"),
    SessionOrder.CREATED: ("created", "key"),
    SessionOrder.ID: ("id",),
}

#: A place as a cursor says it: numbers small enough for every store, or any id.
_TIME_AND_KEY = re.compile(r"(-?[0-9]{1,18}) ([0-9]{1,18})")
_ENTRY = re.compile(r"entry ([0-9]{1,18})")
_ID = re.compile(r"(.{1,128})", re.DOTALL)


def up_to(entries: Iterable[Entry], size: int | None) -> Iterator[Entry]:
    """Entries up to the one with which they are so large together; None: all."""
    held = 0
    for entry in entries:
        yield entry
        held += entry.size
        if size is not None and held >= size:
            return


def words(text: str) -> list[str]:
    """The searchable words of a text: no case, no accents, letters and digits only."""
    return searchable(text).split()


def searchable(text: str) -> str:
    """What a store indexes of a text, so that every store finds the same words in it."""
    if len(text) <= _AT_ONCE:
        return text.translate(_PLAIN)
    # the interpreter lets no other thread run while a piece is translated, and the event loop is another thread
    return "".join(text[at : at + _AT_ONCE].translate(_PLAIN) for at in range(0, len(text), _AT_ONCE))


def plain_of(letter: str) -> str:
    """What becomes of one character of a text: letters and digits, spaces between words, or nothing."""
    plain = _PLAIN[ord(letter)]
    return plain if isinstance(plain, str) else chr(plain)


class _Plain(dict[int, "int | str"]):
    """What becomes of each character, found out once: letters and digits without case and accents, else a space."""

    def __missing__(self, code: int) -> int | str:
        # twice: decomposing brings forth new capitals, and folding new composed letters
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold()).casefold()
        plain = "".join(c if c.isalnum() else " " for c in folded if not unicodedata.combining(c))
        self[code] = kept = ord(plain) if len(plain) == 1 else plain
        return kept


_PLAIN = _Plain()


def status_of(current: TurnStatus | None, queued: int, held: int) -> SessionStatus:
    """What a session does, from its current turn and its line."""
    if current is not None:
        return SessionStatus(current.value)
    if queued:
        return SessionStatus.QUEUED
    return SessionStatus.HELD if held else SessionStatus.IDLE


def place_of(row: SessionRow, order: SessionOrder) -> Place:
    """Where the session stands in a list of that order."""
    return tuple(getattr(row, column) for column in COLUMNS[order])


def encode_cursor(row: SessionRow, wanted: Wanted) -> str:
    """Where the page after `row` begins."""
    return _cursor(" ".join(map(str, (wanted.order, wanted.direction, *place_of(row, wanted.order)))))


def decode_cursor(cursor: str, wanted: Wanted) -> Place:
    """The place of the row that the page begins after; raises InvalidInput, also where it is of another order."""
    order, _, rest = (_said(cursor) or "").partition(" ")
    direction, _, place = rest.partition(" ")
    found = (_ID if wanted.order is SessionOrder.ID else _TIME_AND_KEY).fullmatch(place)
    if found is None or (order, direction) != (wanted.order, wanted.direction):
        allowed = f"the `next` of a page in this order, {wanted.order} {wanted.direction}"
        raise InvalidInput("after", cursor, allowed)
    return found.groups() if wanted.order is SessionOrder.ID else tuple(map(int, found.groups()))


def encode_place(number: int) -> str:
    """Where what was stored before the entry with this number begins."""
    return _cursor(f"entry {number}")


def decode_place(cursor: str) -> int:
    """The number of the entry; raises InvalidInput."""
    found = _ENTRY.fullmatch(_said(cursor) or "")
    if found is None:
        raise InvalidInput("after", cursor, "the `next` of a search")
    return int(found[1])


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _said(cursor: str) -> str | None:
    """The text that a cursor was made of; None if it was made of none."""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        return None


def ended_body(end: TurnEnd) -> str:
    """The TURN_ENDED entry of a turn that ends without its owner."""
    return turn_ended_body(end.status, end.reason, usage=end.usage)
