"""What is answered to searches."""

from __future__ import annotations

from typing import Any, ClassVar

from sojourn.server.wire.base import Wire
from sojourn.server.wire.sessions import MESSAGE, SESSION, HistoryMessage, SessionMetadata

_HIT: dict[str, Any] = {
    "sessionId": "support-42", "message": MESSAGE, "matchedText": "colour", "context": "My favourite colour is teal.",
    "messageIndex": 0,
}  # fmt: skip


class SearchHit(Wire):
    """Where the words are."""

    sample = _HIT
    session_id: str
    #: Its text, cut around the words where it is long; null: the words are in the session's title.
    message: HistoryMessage | None
    #: As it was said.
    matched_text: str
    context: str
    #: Its place in the history, from 0; null where too much is before it to be counted.
    message_index: int | None


class SearchOptions(Wire):
    """What was asked for."""

    limit: int
    offset: int
    session_id: str | None = None
    role: str | None = None
    after: str | None = None


class FoundMessages(Wire):
    """A page of what was found; pass `next` as `after` for the one that follows."""

    sample: ClassVar[dict[str, Any]] = {
        "results": [_HIT], "total": 1, "totalIsExact": True, "hasMore": False, "next": None, "query": "colour",
        "options": {"limit": 20, "offset": 0},
    }  # fmt: skip
    results: list[SearchHit]
    #: At least so many where it is not exact.
    total: int
    total_is_exact: bool
    has_more: bool
    next: str | None
    query: str
    options: SearchOptions


class FoundSession(Wire):
    """A session that says the words."""

    sample: ClassVar[dict[str, Any]] = {
        "sessionId": "support-42", "matchCount": 2, "firstMatch": _HIT, "metadata": SESSION,
    }  # fmt: skip
    session_id: str
    #: Messages; the title counts as one.
    match_count: int
    first_match: SearchHit
    metadata: SessionMetadata


class FoundSessions(Wire):
    """Sessions that say the words, those that say them most first."""

    sample: ClassVar[dict[str, Any]] = {
        "results": [FoundSession.sample], "total": 1, "totalIsExact": True, "hasMore": False, "query": "colour",
    }  # fmt: skip
    results: list[FoundSession]
    #: At least so many where it is not exact.
    total: int
    total_is_exact: bool
    has_more: bool
    query: str
