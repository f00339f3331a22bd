"""What all stores share: the words of a search, the cursor of a page, what a session's row says of its state."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator

from sojourn.abc import Entry, SessionRow, TurnEnd, turn_ended_body
from sojourn.errors import InvalidInput
from sojourn.records import SessionStatus, TurnStatus

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

#: What a cursor says: last activity and key, small enough for every store.
_CURSOR = re.compile(r"\[(-?[0-9]{1,18}),([0-9]{1,18})\]")


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
    return text.translate(_PLAIN)


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


def encode_cursor(row: SessionRow) -> str:
    """Where the page after `row` begins."""
    return _cursor(row.active, row.key)


def encode_place(number: int) -> str:
    """Where what was stored before the entry with this number begins."""
    return _cursor(0, number)


def _cursor(first: int, second: int) -> str:
    return base64.urlsafe_b64encode(f"[{first},{second}]".encode()).decode().rstrip("=")


def decode_place(cursor: str) -> int:
    """The number of the entry; raises InvalidInput."""
    first, number = decode_cursor(cursor)
    if first:
        raise InvalidInput("after", cursor, "the `next` of a search")
    return number


def decode_cursor(cursor: str) -> tuple[int, int]:
    """(last activity, key) of the row that the page begins after; raises InvalidInput."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError as error:
        raise InvalidInput("after", cursor, "a page's `next`") from error
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidInput("after", cursor, "a page's `next`")
    return int(found[1]), int(found[2])


def ended_body(end: TurnEnd) -> str:
    """The TURN_ENDED entry of a turn that ends without its owner."""
    return turn_ended_body(end.status, end.reason, usage=end.usage)
