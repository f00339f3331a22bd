"""What all stores share: the words of a search, the cursor of a page, what a session's row says of its state."""

from __future__ import annotations

import base64
import re
import unicodedata

from sojourn.abc import SessionRow, TurnEnd, turn_ended_body
from sojourn.errors import InvalidInput
from sojourn.records import SessionStatus, TurnStatus

#: Why a held turn ended when something else was said instead of resuming it.
SUPERSEDED = "superseded by a later message"
CANCELLED = "cancelled by request"
DISCARDED = "discarded"
REMOVED = "removed from the line"

#: Who decides where an earlier yes holds.
REMEMBERED = "remembered"

#: What a cursor says: last activity and key, small enough for every store.
_CURSOR = re.compile(r"\[(-?[0-9]{1,18}),([0-9]{1,18})\]")


def words(text: str) -> list[str]:
    """The searchable words of a text: no case, no accents, letters and digits only."""
    return searchable(text).split()


def searchable(text: str) -> str:
    """What a store indexes of a text, so that every store finds the same words in it."""
    return text.translate(_PLAIN)


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
    return base64.urlsafe_b64encode(f"[{row.active},{row.key}]".encode()).decode().rstrip("=")


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
