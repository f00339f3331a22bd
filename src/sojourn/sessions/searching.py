"""Searches of a user's sessions: what is asked, checked, and what was found, as records. Reads storage alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sojourn.abc import SEARCHED, HitRow
from sojourn.clock import from_ms
from sojourn.errors import InvalidInput
from sojourn.records import Found, FoundSessions, Message, Role, SearchHit, SessionHit
from sojourn.sessions.checks import one_of, whole_number
from sojourn.sessions.live import Core
from sojourn.sessions.views import session_of

#: The longest query, characters.
MAX_QUERY = 1_000

#: The most that one page of a search has.
MAX_HITS = 100

#: The most that can be passed over; further on goes `after`.
MAX_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is searched for, and which page of it."""

    query: str
    limit: int
    offset: int
    role: Role | None = None
    after: str | None = None

    @classmethod
    def checked(
        cls, query: object, limit: int, offset: int, *, role: Role | str | None = None, after: object = None
    ) -> Self:
        """The same, if it can be; raises InvalidInput."""
        return cls(
            checked_query(query),
            whole_number("limit", limit, 1, MAX_HITS),
            whole_number("offset", offset, 0, MAX_OFFSET),
            None if role is None else one_of("role", role, Role),
            checked_cursor(after),
        )


def checked_query(query: object, *, empty: bool = False) -> str:
    """The words, if they can be looked for; raises InvalidInput."""
    if not isinstance(query, str) or not (query or empty):
        raise InvalidInput("query", query, "words to look for")
    if len(query) > MAX_QUERY:
        raise InvalidInput("query", f"{len(query):,} characters", f"at most {MAX_QUERY:,}")
    return query


def checked_cursor(after: object) -> str | None:
    """Where a page begins; raises InvalidInput for what is no text."""
    if after is not None and not isinstance(after, str):
        raise InvalidInput("after", after, "a string")
    return after


async def messages(core: Core, user: str, asked: Asked, *, id: str | None) -> Found:
    """See Scope.search."""
    found = await core.store.search(
        user,
        asked.query,
        id=id,
        roles=None if asked.role is None else frozenset({asked.role}),
        limit=asked.limit,
        after=asked.after,
        offset=asked.offset,
    )
    return Found(hits=[_hit(row) for row in found.hits], total=found.total, exact=found.exact, next=found.next)


async def sessions(core: Core, user: str, asked: Asked) -> FoundSessions:
    """See Scope.search_sessions."""
    found = await core.store.search_sessions(user, asked.query, limit=asked.limit, offset=asked.offset)
    hits = [SessionHit(session=session_of(row.session), count=row.count, first=_hit(row.first)) for row in found.hits]
    return FoundSessions(hits=hits, total=found.total, exact=found.exact)


def _hit(row: HitRow) -> SearchHit:
    entry = row.entry
    message = None
    if entry is not None:
        message = Message(
            seq=entry.seq,
            turn=entry.turn,
            role=SEARCHED[entry.kind],
            text=entry.text,
            created=from_ms(entry.created),
        )
    return SearchHit(session=row.session, message=message, matched=row.matched, context=row.context, index=row.index)
