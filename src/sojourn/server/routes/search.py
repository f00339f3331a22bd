"""What was said: messages by their words, and the sessions that say them most."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from sojourn.records import Role
from sojourn.server import shapes, wire
from sojourn.server.routes.common import OptionalSession, may_fail
from sojourn.server.service import Caller
from sojourn.sessions.searching import MAX_HITS, MAX_OFFSET, MAX_QUERY

router = APIRouter(prefix="/api/search", tags=["search"])

#: How many sessions are shown unless another number is asked for; Dexto's clients ask for none.
SESSIONS = 100

Words = Annotated[
    str, Query(alias="q", min_length=1, max_length=MAX_QUERY, description="words; the last may be the beginning of one")
]
Limit = Annotated[int, Query(ge=1, le=MAX_HITS, description="how many at most")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="how many to pass over")]


@router.get(
    "/messages", response_model=wire.FoundMessages, response_model_exclude_unset=True, responses=may_fail(404)
)  # fmt: skip
async def search_messages(
    caller: Caller,
    query: Words,
    *,
    session: OptionalSession = None,
    role: Annotated[
        Literal["user", "assistant", "tool", "system"] | None,
        Query(description="who said it; of tools and the system nothing is found"),
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
    after: Annotated[str | None, Query(description="the `next` of the page before")] = None,
) -> wire.FoundMessages:
    """Messages that have all the words, the last stored first."""
    # nobody speaks as the system here, and a tool is as silent
    speaker = Role.TOOL if role == "system" else role
    found = await caller.search(query, id=session, role=speaker, limit=limit, after=after, offset=offset)
    chosen = {"session_id": session, "role": role, "after": after}
    options = {name: value for name, value in chosen.items() if value is not None}
    return wire.FoundMessages(
        results=[shapes.search_hit(one) for one in found.hits],
        total=found.total,
        total_is_exact=found.exact,
        has_more=found.next is not None,
        next=found.next,
        query=query,
        options=wire.SearchOptions(limit=limit, offset=offset, **options),
    )


@router.get("/sessions", response_model=wire.FoundSessions, response_model_exclude_unset=True, responses=may_fail())
async def search_sessions(
    caller: Caller, query: Words, limit: Limit = SESSIONS, offset: Offset = 0
) -> wire.FoundSessions:
    """Sessions in which a message or the title has all the words: most matches first, then last activity."""
    found = await caller.search_sessions(query, limit=limit, offset=offset)
    return wire.FoundSessions(
        results=[shapes.session_hit(one) for one in found.hits],
        total=found.total,
        total_is_exact=found.exact,
        has_more=offset + len(found.hits) < found.total,
        query=query,
    )
