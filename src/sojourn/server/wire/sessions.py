"""What is answered about sessions and their histories."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sojourn.server.wire.base import Wire

SESSION: dict[str, Any] = {
    "id": "support-42",
    "createdAt": 1763800000000,
    "lastActivity": 1763800004200,
    "messageCount": 2,
    "title": "My favourite colour is teal.",
    "tokenUsage": {
        "inputTokens": 120, "outputTokens": 9, "reasoningTokens": 0, "cacheReadTokens": 0, "cacheWriteTokens": 0,
        "totalTokens": 129,
    },
    "modelStats": [],
    "workspaceId": None,
    "parentSessionId": None,
    "status": "idle",
}  # fmt: skip

MESSAGE: dict[str, Any] = {
    "id": "1", "role": "user", "timestamp": 1763800000000, "content": "My favourite colour is teal.", "seq": 1,
    "turn": 1,
}  # fmt: skip

_TURN: dict[str, Any] = {
    "turn": 1, "status": "completed", "attempts": 1, "key": None, "acceptedAt": 1763800000000,
    "startedAt": 1763800000001, "endedAt": 1763800004200, "reason": None,
}  # fmt: skip


class TokenUsage(Wire):
    """Tokens, counted over some requests to a model."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int


class ModelStats(Wire):
    """What one model was used for in a session."""

    model: str
    requests: int
    #: Dexto's name for it.
    message_count: int
    token_usage: TokenUsage
    estimated_cost: float | None = None


class SessionMetadata(Wire):
    """A session as it is stored."""

    sample = SESSION
    id: str
    created_at: int
    last_activity: int
    message_count: int
    title: str | None
    token_usage: TokenUsage
    #: US dollars; missing where no price is known.
    estimated_cost: float | None = None
    model_stats: list[ModelStats]
    workspace_id: None
    parent_session_id: str | None
    status: str


class SessionDetail(SessionMetadata):
    """The same with the number of messages in its history."""

    sample: ClassVar[dict[str, Any]] = {**SESSION, "history": 2}
    history: int


class SessionLoaded(SessionMetadata):
    """The same as a client wants it that opens the session."""

    sample: ClassVar[dict[str, Any]] = {
        **SESSION,
        "isBusy": False,
        "usageSummary": {"tokenUsage": SESSION["tokenUsage"], "estimatedCost": None, "hasUnpricedResponses": True},
    }
    is_busy: bool
    usage_summary: dict[str, Any]
    active_usage_scope_id: str | None = None
    active_usage_scope: dict[str, Any] | None = None


class SessionList(Wire):
    """A page of sessions; pass `next` as `after` for the one that follows."""

    sample: ClassVar[dict[str, Any]] = {"sessions": [SESSION], "next": None}
    sessions: list[SessionMetadata]
    next: str | None


class OneSession(Wire):
    """One session."""

    sample: ClassVar[dict[str, Any]] = {"session": SESSION}
    session: SessionMetadata


class OneSessionDetail(Wire):
    """One session, with the size of its history."""

    sample: ClassVar[dict[str, Any]] = {"session": SessionDetail.sample}
    session: SessionDetail


class OneSessionLoaded(Wire):
    """One session, for a client that opens it."""

    sample: ClassVar[dict[str, Any]] = {"session": SessionLoaded.sample}
    session: SessionLoaded


class SessionStatusAnswer(Wire):
    """What was done with a session."""

    sample: ClassVar[dict[str, Any]] = {"status": "deleted", "sessionId": "support-42"}
    status: str
    session_id: str


class HistoryMessage(Wire):
    """One message of a history."""

    sample = MESSAGE
    id: str
    role: Literal["user", "assistant", "tool"]
    timestamp: int
    content: str | list[dict[str, Any]] | None
    reasoning: str | None = None
    #: What this answer took, and the model that wrote it.
    token_usage: TokenUsage | None = None
    estimated_cost: float | None = None
    model: str | None = None
    provider: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    success: bool | None = None
    seq: int
    turn: int


class History(Wire):
    """Messages, oldest first; with a `limit`, `before` is where the older ones end."""

    sample: ClassVar[dict[str, Any]] = {"history": [MESSAGE], "isBusy": False}
    history: list[HistoryMessage]
    is_busy: bool
    before: int | None = None


class CancelAnswer(Wire):
    """What a cancel did."""

    sample: ClassVar[dict[str, Any]] = {
        "cancelled": True, "sessionId": "support-42", "queueCleared": False, "clearedCount": 0,
    }  # fmt: skip
    cancelled: bool
    session_id: str
    queue_cleared: bool
    cleared_count: int


class TitleAnswer(Wire):
    """A session's title."""

    sample: ClassVar[dict[str, Any]] = {"title": "My favourite colour is teal.", "sessionId": "support-42"}
    title: str | None
    session_id: str


class UnloadAnswer(Wire):
    """Whether a session left memory."""

    sample: ClassVar[dict[str, Any]] = {"unloaded": True, "sessionId": "support-42"}
    unloaded: bool
    session_id: str


class StateAnswer(Wire):
    """What the agent's tools keep of a session."""

    sample: ClassVar[dict[str, Any]] = {"state": {"basket": ["tea"]}, "sessionId": "support-42"}
    state: dict[str, Any]
    session_id: str


class TurnInfo(Wire):
    """One turn."""

    sample = _TURN
    turn: int
    status: str
    attempts: int
    key: str | None
    accepted_at: int
    started_at: int | None
    ended_at: int | None
    reason: str | None
    token_usage: TokenUsage | None = None


class TurnList(Wire):
    """A session's turns, oldest first."""

    sample: ClassVar[dict[str, Any]] = {"turns": [_TURN]}
    turns: list[TurnInfo]


class TurnNumbers(Wire):
    """Turns that something was done with."""

    sample: ClassVar[dict[str, Any]] = {"turns": [4], "sessionId": "support-42"}
    turns: list[int]
    session_id: str
