"""Searches: what was said in some words, and in which sessions.

What is counted comes back as one row, because every row costs the reader a turn with the event loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from sojourn.abc import HitRow, Hits, SessionHitRow, SessionHits
from sojourn.records import Role
from sojourn.stores.common import MAX_COUNTED, MAX_INDEXED, encode_place
from sojourn.stores.excerpts import MAX_READ, in_message, in_title
from sojourn.stores.sqlite import rows
from sojourn.stores.sqlite.rows import SQL, one, owner_term

#: Whose messages are found.
EVERYBODY = frozenset({Role.USER, Role.ASSISTANT})

#: The most bytes that a character takes.
_WIDEST = 4


@dataclass(slots=True)
class Sought:
    """What is searched for: plain words, in all of a user's sessions or one."""

    user: str
    words: Sequence[str]
    id: str | None = None
    roles: frozenset[Role] = EVERYBODY


def match(user: str, wanted: Sequence[str]) -> str:
    """A full-text query: this user's rows that have every word, the last one as the beginning of a word."""
    return " AND ".join(f'"{word}"' for word in (owner_term(user), *wanted)) + "*"


def messages(connection: apsw.Connection, wanted: Sought, *, limit: int, top: int, offset: int) -> Hits:
    """See SessionStore.search; `top` is the number that all found are below."""
    key, first, last = _span(connection, wanted)
    if not wanted.words or not wanted.roles & EVERYBODY or last is None:
        return Hits([], 0, exact=True, next=None)

    def newest(below: int, count: int) -> list[int]:
        asked = (Role.ASSISTANT in wanted.roles, Role.USER in wanted.roles, count)
        (found,) = one(
            connection, "found_messages", match(wanted.user, wanted.words), first, below, wanted.user, key, *asked
        )
        return [int(number) for number in found.split(",")] if found else []

    counted = newest(last + 1, MAX_COUNTED + 1)
    page = [number for number in counted if number < top][offset : offset + limit + 1]
    if len(page) <= limit and len(counted) > MAX_COUNTED:  # it lies behind what was counted
        page = newest(min(top, last + 1), offset + limit + 1)[offset:]
    shown = page[:limit]
    texts = _texts(connection, shown, wanted.words)
    return Hits(
        [texts[number] for number in shown],
        min(len(counted), MAX_COUNTED),
        exact=len(counted) <= MAX_COUNTED,
        next=encode_place(shown[-1]) if len(page) > limit else None,
    )


def sessions(connection: apsw.Connection, wanted: Sought, *, limit: int, offset: int) -> SessionHits:
    """See SessionStore.search_sessions."""
    if not wanted.words:
        return SessionHits([], 0, exact=True)

    def best(limit: int, offset: int) -> list[tuple[Any, ...]]:
        asked = (match(wanted.user, wanted.words), wanted.user, MAX_COUNTED + 1, limit, offset)
        return connection.execute(SQL["found_sessions"], asked).fetchall()

    found = best(limit, offset)
    told = found or best(1, 0)
    if not told:
        return SessionHits([], 0, exact=True)
    *_, total, in_messages, in_titles = told[0]
    texts = _texts(connection, [number for *_, number, _, _, _ in found if number is not None], wanted.words)
    hits = []
    for *columns, count, number, _, _, _ in found:
        row = rows.session(tuple(columns))
        first = in_title(row.id, row.title or "", wanted.words) if number is None else texts[number]
        hits.append(SessionHitRow(row, count, first))
    return SessionHits(hits, total, exact=max(in_messages, in_titles) <= MAX_COUNTED)


def _span(connection: apsw.Connection, wanted: Sought) -> tuple[int | None, int, int | None]:
    """The session's key, and the numbers between which its entries are; of all sessions without one."""
    if wanted.id is None:
        return None, 1, (1 << 62) - 1
    row = rows.find(connection, wanted.user, wanted.id)
    return row.key, *one(connection, "span", row.key, row.first)


def _texts(connection: apsw.Connection, numbers: Iterable[int], wanted: Sequence[str]) -> dict[int, HitRow]:
    """What was found in some entries, by their numbers."""
    asked = (json.dumps(list(numbers)), MAX_READ * _WIDEST, MAX_INDEXED)
    return {
        number: in_message(session, rows.entry((seq, kind, turn, "", _text(text), created)), wanted, index)
        for number, session, seq, kind, turn, text, created, index in connection.execute(SQL["found_texts"], asked)
    }


def _text(found: bytes) -> str:
    return found.decode("utf-8", "ignore")[:MAX_READ]  # it may end amid a character
