"""What the server answers: Dexto's names and shapes, and what is ours. Times are milliseconds since 1970."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

_SESSION: dict[str, Any] = {
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
_MESSAGE: dict[str, Any] = {
    "id": "1", "role": "user", "timestamp": 1763800000000, "content": "My favourite colour is teal.", "seq": 1,
    "turn": 1,
}  # fmt: skip
_TURN: dict[str, Any] = {
    "turn": 1, "status": "completed", "attempts": 1, "key": None, "acceptedAt": 1763800000000,
    "startedAt": 1763800000001, "endedAt": 1763800004200, "reason": None,
}  # fmt: skip
_APPROVAL: dict[str, Any] = {
    "approvalId": "6b1c9a52-5d0e-4c7e-9d63-0d6a0d0a4f11",
    "type": "tool_approval",
    "sessionId": "support-42",
    "timestamp": "2026-11-22T10:00:00.000Z",
    "metadata": {"toolName": "send_mail", "toolCallId": "call_1", "args": {"to": "ann@example.org"}},
    "status": "pending",
    "turn": 3,
}
_QUEUED: dict[str, Any] = {"id": "msg_7", "content": [{"type": "text", "text": "Be brief."}], "turn": 2, "held": False}
_REMEMBERED: dict[str, Any] = {
    "id": "0f5e", "sessionId": None, "toolName": "send_mail", "arguments": None, "since": 1763800000000, "by": "local",
}  # fmt: skip
_CONTRIBUTOR: dict[str, Any] = {"id": "tone", "priority": 45, "enabled": True, "contentLength": 8}


class Wire(BaseModel):
    """A JSON object in camelCase; a field that was not set is not sent."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    sample: ClassVar[dict[str, Any]] = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        if cls.sample:
            schema["example"] = cls.sample
        return schema


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
    token_usage: TokenUsage
    estimated_cost: float | None = None


class SessionMetadata(Wire):
    """A session as it is stored."""

    sample = _SESSION
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

    sample: ClassVar[dict[str, Any]] = {**_SESSION, "history": 2}
    history: int


class SessionLoaded(SessionMetadata):
    """The same as a client wants it that opens the session."""

    sample: ClassVar[dict[str, Any]] = {
        **_SESSION,
        "isBusy": False,
        "usageSummary": {"tokenUsage": _SESSION["tokenUsage"], "estimatedCost": None, "hasUnpricedResponses": True},
    }
    is_busy: bool
    usage_summary: dict[str, Any]
    active_usage_scope_id: str | None = None
    active_usage_scope: dict[str, Any] | None = None


class SessionList(Wire):
    """A page of sessions; pass `next` as `after` for the one that follows."""

    sample: ClassVar[dict[str, Any]] = {"sessions": [_SESSION], "next": None}
    sessions: list[SessionMetadata]
    next: str | None


class OneSession(Wire):
    """One session."""

    sample: ClassVar[dict[str, Any]] = {"session": _SESSION}
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

    sample = _MESSAGE
    id: str
    role: Literal["user", "assistant", "tool"]
    timestamp: int
    content: str | list[dict[str, Any]] | None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    success: bool | None = None
    seq: int
    turn: int


class History(Wire):
    """Messages, oldest first; with a `limit`, `before` is where the older ones end."""

    sample: ClassVar[dict[str, Any]] = {"history": [_MESSAGE], "isBusy": False}
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


class MessageAccepted(Wire):
    """An input is stored and will run."""

    sample: ClassVar[dict[str, Any]] = {"accepted": True, "sessionId": "support-42", "turn": 1}
    accepted: Literal[True]
    session_id: str
    turn: int


class ApprovalInfo(Wire):
    """A question to a person."""

    sample = _APPROVAL
    approval_id: str
    type: Literal["tool_approval"]
    session_id: str
    #: Milliseconds that people have; missing: for ever.
    timeout: int | None = None
    timestamp: str
    metadata: dict[str, Any]
    status: str
    turn: int


class MessageAnswer(Wire):
    """The agent's answer; with `approvals`, what it waits for instead."""

    sample: ClassVar[dict[str, Any]] = {
        "response": "Your favourite colour is teal.",
        "sessionId": "support-42",
        "tokenUsage": _SESSION["tokenUsage"],
        "model": "sojourn-demo",
        "turn": 2,
        "finishReason": "stop",
    }
    response: str
    session_id: str
    token_usage: TokenUsage
    estimated_cost: float | None = None
    model: str | None = None
    turn: int
    finish_reason: str
    output: Any = None
    approvals: list[ApprovalInfo] | None = None


class QueuedMessage(Wire):
    """An input that is not in the history yet."""

    sample = _QUEUED
    id: str
    content: list[dict[str, Any]]
    kind: str | None = None
    turn: int
    held: bool


class Queue(Wire):
    """What is in line, in order."""

    sample: ClassVar[dict[str, Any]] = {"messages": [_QUEUED], "count": 1}
    messages: list[QueuedMessage]
    count: int


class QueuedAnswer(Wire):
    """An input is in line."""

    sample: ClassVar[dict[str, Any]] = {"queued": True, "id": "msg_7", "position": 7, "turn": 2}
    queued: Literal[True]
    id: str
    position: int
    turn: int


class ClearedAnswer(Wire):
    """How many were taken out of the line."""

    sample: ClassVar[dict[str, Any]] = {"cleared": True, "count": 1}
    cleared: Literal[True]
    count: int


class RemovedAnswer(Wire):
    """One was taken out."""

    sample: ClassVar[dict[str, Any]] = {"removed": True, "id": "msg_7"}
    removed: Literal[True]
    id: str


class ApprovalList(Wire):
    """Questions, oldest first."""

    sample: ClassVar[dict[str, Any]] = {"ok": True, "approvals": [_APPROVAL]}
    ok: Literal[True]
    approvals: list[ApprovalInfo]


class ApprovalAnswer(Wire):
    """How a question was decided."""

    sample: ClassVar[dict[str, Any]] = {"ok": True, "approvalId": _APPROVAL["approvalId"], "status": "approved"}
    ok: Literal[True]
    approval_id: str
    status: str


class RememberedInfo(Wire):
    """A yes that holds for more than one call; without a session for all of the user."""

    sample = _REMEMBERED
    id: str
    session_id: str | None
    tool_name: str
    arguments: Any
    since: int
    by: str


class RememberedList(Wire):
    """What runs unasked."""

    sample: ClassVar[dict[str, Any]] = {"remembered": [_REMEMBERED]}
    remembered: list[RememberedInfo]


class LlmAnswer(Wire):
    """The model in use, without its key."""

    sample: ClassVar[dict[str, Any]] = {"config": {"model": "sojourn-demo"}, "sessionId": "support-42"}
    config: dict[str, Any]
    session_id: str | None = None
    routing: dict[str, Any] | None = None


class ContributorInfo(Wire):
    """A piece of a session's system prompt."""

    sample = _CONTRIBUTOR
    id: str
    enabled: bool
    priority: int | None = None
    replaced: bool | None = None
    removed: bool | None = None
    content_length: int | None = None


class ContributorList(Wire):
    """The pieces, in their order."""

    sample: ClassVar[dict[str, Any]] = {"contributors": [_CONTRIBUTOR]}
    contributors: list[ContributorInfo]


class ToolInfo(Wire):
    """A tool of the agent."""

    sample: ClassVar[dict[str, Any]] = {
        "id": "roll_dice", "name": "roll_dice", "description": "Roll one die.", "source": "local",
    }  # fmt: skip
    id: str
    name: str
    description: str
    source: Literal["local", "mcp"]
    server_name: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolList(Wire):
    """The agent's tools."""

    sample: ClassVar[dict[str, Any]] = {
        "tools": [ToolInfo.sample], "totalCount": 1, "localCount": 1, "mcpCount": 0,
    }  # fmt: skip
    tools: list[ToolInfo]
    total_count: int
    local_count: int
    mcp_count: int


class Greeting(Wire):
    """What the agent says before anybody has spoken."""

    sample: ClassVar[dict[str, Any]] = {"greeting": "Hello! How can I help?"}
    greeting: str | None = None


class Ready(Wire):
    """Whether requests can be answered."""

    sample: ClassVar[dict[str, Any]] = {"ready": True}
    ready: bool


class StatisticsAnswer(Wire):
    """How many sessions are where, of all users; times are milliseconds."""

    sample: ClassVar[dict[str, Any]] = {
        "live": 3, "busy": 1, "atRest": 2, "waiting": 0, "stored": 40, "restored": 5, "unloaded": {"idle": 2},
        "maxSessions": 100, "sessionTTL": 3600000,
    }  # fmt: skip
    live: int
    busy: int
    at_rest: int
    waiting: int
    stored: int
    restored: int
    unloaded: dict[str, int]
    max_sessions: int
    sessionTTL: int  # noqa: N815 - the setting's name


class ErrorAnswer(Wire):
    """Every error."""

    sample: ClassVar[dict[str, Any]] = {
        "code": "session_not_found", "message": "no session 's'; create it, or send to it", "scope": "session",
        "type": "not_found", "context": {"sessionId": "s"}, "traceId": "8f14e45fceea467a9d6f",
        "endpoint": "/api/sessions/s", "method": "GET",
    }  # fmt: skip
    code: str
    message: str
    scope: str
    type: str
    context: dict[str, Any] | None = None
    trace_id: str
    endpoint: str
    method: str
