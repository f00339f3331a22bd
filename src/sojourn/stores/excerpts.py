"""What is shown of a text in which a search found its words: pieces around the first of them. Pure, in bounded time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from unicodedata import category

from sojourn.abc import Entry, HitRow
from sojourn.stores.common import plain_of, searchable

#: How far into a text its words are looked for, characters.
LOOKED_THROUGH = 100_000

#: The longest text that is shown whole, characters.
MAX_SHOWN = 2_000

#: As much of a text as `excerpt` looks at, characters.
MAX_READ = LOOKED_THROUGH + MAX_SHOWN

#: What is shown before and behind the words, characters.
AROUND = 60

#: The longest piece that counts as matched, characters.
MAX_MATCHED = 200

#: How much is made plain at once, characters.
_PIECE = 1_000

#: Some of what is in no word, for a piece to end at.
_GAP = re.compile(r"[\s.,;:。、\uff0c]")

_CUT = "…"


@dataclass(slots=True)
class Excerpt:
    """A text as a search shows it."""

    text: str
    #: The words that matched first, with those that match directly behind them; "" if they come too late.
    matched: str
    context: str


def excerpt(text: str, wanted: Sequence[str]) -> Excerpt:
    """The text, the words in it that matched first, and what stands around them; `wanted` are a query's plain words."""
    start, end = _place(text[:LOOKED_THROUGH], wanted) or (0, 0)
    room = max(0, MAX_SHOWN - (end - start)) // 2
    shown = text if len(text) <= MAX_SHOWN else _around(text, start, end, room)
    return Excerpt(shown, text[start:end], _around(text, start, end, AROUND if end else 2 * AROUND))


def in_message(session: str, entry: Entry, wanted: Sequence[str], index: int | None) -> HitRow:
    """What a search shows of an entry."""
    shown = excerpt(entry.text, wanted)
    return HitRow(session, replace(entry, body="", text=shown.text), shown.matched, shown.context, index)


def in_title(session: str, title: str, wanted: Sequence[str]) -> HitRow:
    """What a search shows of a session where nothing but its title was found."""
    shown = excerpt(title, wanted)
    return HitRow(session, None, shown.matched, shown.context)


def _around(text: str, start: int, end: int, room: int) -> str:
    """What stands from `room` characters before a place to as many behind it, with a sign where it was cut."""
    first, last = max(0, start - room), min(len(text), end + room)
    return f"{_CUT * (first > 0)}{text[first:last]}{_CUT * (last < len(text))}"


def _place(text: str, wanted: Sequence[str]) -> tuple[int, int] | None:
    """Where the first of the wanted words stands, up to the last one that follows without another word between."""
    begin = 0
    while begin < len(text):
        gap = _GAP.search(text, begin + _PIECE)
        end = gap.start() if gap else len(text)
        plain = searchable(text[begin:end])
        if any(word in plain for word in wanted) and (found := _first(text, begin, end, wanted)):
            return found
        begin = end
    return None


def _first(text: str, begin: int, end: int, wanted: Sequence[str]) -> tuple[int, int] | None:
    whole, beginning = frozenset(wanted), wanted[-1]
    found: tuple[int, int] | None = None
    for word, start, stop in _words(text, begin, end, kept=max(map(len, wanted)) + 1):
        if word in whole or word.startswith(beginning):
            found = (start, stop) if found is None else (found[0], stop)
            if stop - found[0] >= MAX_MATCHED:
                return found[0], found[0] + MAX_MATCHED
        elif found is not None:
            break
    return found


def _words(text: str, begin: int, end: int, *, kept: int) -> Iterator[tuple[str, int, int]]:
    """Each plain word of a piece, or what is `kept` of it, with the place in the text where it stands."""
    word, start, stop = "", begin, begin
    for at in range(begin, end):
        plain = plain_of(text[at])
        stop = at + 1 if word and not plain else stop  # an accent belongs to the letter before it
        for letter in plain:
            if letter != " ":
                start, stop = start if word else at, at + 1
                word += letter if len(word) < kept else ""
            elif word:
                yield word, start, at + 1 if category(text[at]).startswith("M") else stop
                word = ""
    if word:
        yield word, start, stop
