"""What is answered to messages, about what is in line, and about questions to people."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sojourn.server.wire.base import Wire
from sojourn.server.wire.sessions import SESSION, TokenUsage

_APPROVAL: dict[str, Any] = {
    "approvalId": "6b1c9a52-5d0e-4c7e-9d63-0d6a0d0a4f11",
    "type": "tool_approval",
    "sessionId": "support-42",
    "timestamp": "2026-11-22T10:00:00.000Z",
    "metadata": {"toolName": "send_mail", "toolCallId": "call_1", "args": {"to": "ann@example.org"}},
    "status": "pending",
    "turn": 3,
}

_QUEUED: dict[str, Any] = {
    "id": "msg_7", "content": [{"type": "text", "text": "Be brief."}], "queuedAt": 1763800000000, "turn": 2,
    "held": False,
}  # fmt: skip

_REMEMBERED: dict[str, Any] = {
    "id": "0f5e", "sessionId": None, "toolName": "send_mail", "arguments": None, "since": 1763800000000, "by": "local",
}  # fmt: skip


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


class MessageAccepted(Wire):
    """An input is stored and will run."""

    sample: ClassVar[dict[str, Any]] = {"accepted": True, "sessionId": "support-42", "turn": 1}
    accepted: Literal[True]
    session_id: str
    turn: int


class MessageAnswer(Wire):
    """The agent's answer; with `approvals`, what it waits for instead."""

    sample: ClassVar[dict[str, Any]] = {
        "response": "Your favourite colour is teal.",
        "sessionId": "support-42",
        "tokenUsage": SESSION["tokenUsage"],
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
    queued_at: int
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
