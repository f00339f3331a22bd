"""Which session a person means: an id, or the beginning of one that no other id has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from sojourn.cli.exits import Refusal
from sojourn.errors import SessionNotFound
from sojourn.records import Session, SessionOrder
from sojourn.sessions.scope import Scope

#: A beginning this short is more likely a slip than meant, characters.
LEAST_PREFIX = 4

#: How many sessions are read at once, the most that is allowed.
_PAGE = 1000

#: How many ids are named where several begin alike.
_NAMED = 3


async def find(scope: Scope, text: str) -> Session:
    """The session with this id, or else the only one whose id begins so. Raises Refusal, InvalidSessionId."""
    try:
        return await scope.get(text)
    except SessionNotFound:
        # by what does not change: in a list by activity one that is spoken in meanwhile would be passed over
        found = await beginning(scope, text, _NAMED + 1, order=SessionOrder.ID)
    if not found:
        raise Refusal(f"no session {text!r}; `sojourn sessions list` shows those there are")
    if len(found) > 1:
        more = ", …" if len(found) > _NAMED else ""
        named = ", ".join(session.id for session in found[:_NAMED])
        raise Refusal(f"no session {text!r}, and several begin so: {named}{more}")
    if len(text) < LEAST_PREFIX:
        raise Refusal(f"no session {text!r}; did you mean {found[0].id}?")
    return found[0]


async def find_all(scope: Scope, texts: Sequence[str]) -> list[Session]:
    """The sessions that are meant, each once, in the order of the texts; raises as `find` does."""
    found = {session.id: session for session in [await find(scope, text) for text in texts]}
    return list(found.values())


async def beginning(
    scope: Scope, prefix: str, most: int, *, among: int | None = None, order: SessionOrder = SessionOrder.ACTIVITY
) -> list[Session]:
    """At most `most` sessions whose ids begin so, newest activity first or as said; of the first `among`, if given."""
    found: list[Session] = []
    seen = 0
    async with aclosing(every(scope, order=order)) as sessions:
        async for session in sessions:
            seen += 1
            if session.id.startswith(prefix):
                found.append(session)
            if len(found) == most or seen == among:
                break
    return found


async def every(scope: Scope, **wanted: Any) -> AsyncGenerator[Session]:
    """All sessions that `Scope.sessions` lists where it is asked so, read page by page."""
    after: str | None = None
    while True:
        page = await scope.sessions(**wanted, limit=_PAGE, after=after)
        for session in page.sessions:
            yield session
        after = page.next
        if after is None:
            return
