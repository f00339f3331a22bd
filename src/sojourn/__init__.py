"""Sojourn runs one AI agent for many people at once.

`sessions/` is the core: who is live, whose turn it is, what is durable. It knows no SQL, HTTP or agent framework.
`stores/` keep sessions: memory and SQLite behind one contract (`abc.py`), proven by one suite.
`engine/` runs the agent: the only place that knows pydantic-ai.
`cli/` and `testing` sit on top; `bootstrap.py` alone picks the parts and puts them together.
`records.py`, `errors.py` and `clock.py` are the words that all of them share.
"""

from importlib.metadata import version as _version

from sojourn.bootstrap import Sojourn
from sojourn.errors import SojournError
from sojourn.records import (
    Event,
    EventKind,
    Found,
    FoundSessions,
    Message,
    Page,
    Reply,
    Role,
    SearchHit,
    Session,
    SessionHit,
    SessionStatus,
    Statistics,
    ToolCall,
    Turn,
    TurnStatus,
    Usage,
)
from sojourn.sessions.current import current_session

__version__ = _version("sojourn")

__all__ = [
    "Event",
    "EventKind",
    "Found",
    "FoundSessions",
    "Message",
    "Page",
    "Reply",
    "Role",
    "SearchHit",
    "Session",
    "SessionHit",
    "SessionStatus",
    "Sojourn",
    "SojournError",
    "Statistics",
    "ToolCall",
    "Turn",
    "TurnStatus",
    "Usage",
    "current_session",
]
