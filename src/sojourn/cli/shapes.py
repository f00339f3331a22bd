"""What commands print with `--json`: Dexto's names where it has one. Stable; see docs/commands.md. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sojourn.records import Approval, Message, QueuedInput, Reply, SearchHit, Session, Turn, Usage

Shape = dict[str, Any]


def session_shape(session: Session) -> Shape:
    """A session's metadata; times are milliseconds since 1970, money is in US dollars."""
    total = sum(session.usage.values(), Usage())
    return {
        "id": session.id,
        "title": session.title,
        "createdAt": _milliseconds(session.created),
        "lastActivity": _milliseconds(session.last_activity),
        "messageCount": session.message_count,
        "parentSessionId": session.parent,
        "status": session.status.value,
        **_usage_shape(total),
        "modelStats": [
            {"model": model, "requests": used.requests, **_usage_shape(used)} for model, used in session.usage.items()
        ],
    }


def turn_shape(turn: Turn) -> Shape:
    """One turn."""
    return {
        "turn": turn.turn,
        "status": turn.status.value,
        "attempts": turn.attempts,
        "key": turn.key,
        "acceptedAt": _milliseconds(turn.accepted),
        "startedAt": None if turn.started is None else _milliseconds(turn.started),
        "endedAt": None if turn.ended is None else _milliseconds(turn.ended),
        "reason": turn.reason,
        **_usage_shape(sum(turn.usage.values(), Usage())),
    }


def queued_shape(queued: QueuedInput) -> Shape:
    """An input that is not in the history yet."""
    return {
        "position": queued.position,
        "turn": queued.turn,
        "kind": queued.kind.value,
        "content": queued.content,
        "held": queued.held,
        "acceptedAt": _milliseconds(queued.accepted),
    }


def message_shape(message: Message) -> Shape:
    """One message of a history; the last three keys are those of a tool's message."""
    shape: Shape = {
        "seq": message.seq,
        "turn": message.turn,
        "role": message.role.value,
        "timestamp": _milliseconds(message.created),
        "content": list(message.parts) or message.text,
        "toolCalls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls],
    }
    if message.tool_call_id is not None:
        shape |= {"toolCallId": message.tool_call_id, "name": message.tool_name, "outcome": message.outcome}
    return shape


def hit_shape(hit: SearchHit) -> Shape:
    """Where a search found its words."""
    return {
        "sessionId": hit.session,
        "message": None if hit.message is None else message_shape(hit.message),
        "matchedText": hit.matched,
        "context": hit.context,
        "messageIndex": hit.index,
    }


def reply_shape(session: str, reply: Reply) -> Shape:
    """What an agent answered, with the library's own names."""
    return {
        "text": reply.text,
        "session": session,
        "turn": reply.turn,
        "usage": usage_by_model(reply.usage),
        "finish_reason": reply.finish_reason,
        **({"approvals": [approval_shape(one) for one in reply.approvals]} if reply.approvals else {}),
    }


def approval_shape(approval: Approval) -> Shape:
    """A question to people; the arguments as JSON where they are, and the text that the model wrote where not."""
    changed = approval.changed_arguments
    return {
        "approvalId": approval.id,
        "sessionId": approval.session,
        "turn": approval.turn,
        "toolName": approval.tool,
        "args": _json_or_text(approval.arguments),
        "changedArgs": None if changed is None else _json_or_text(changed),
        "status": approval.status.value,
        "askedAt": _milliseconds(approval.asked),
        "expiresAt": None if approval.expires is None else _milliseconds(approval.expires),
        "decidedAt": None if approval.decided is None else _milliseconds(approval.decided),
        "decidedBy": approval.decided_by,
        "reason": approval.reason,
    }


def usage_by_model(usage: Mapping[str, Usage]) -> Shape:
    """Usage as the library counts it."""
    return {model: used.to_json() for model, used in usage.items()}


def _usage_shape(used: Usage) -> Shape:
    tokens = {
        "inputTokens": used.input_tokens,
        "outputTokens": used.output_tokens,
        "cacheReadTokens": used.cache_read_tokens,
        "cacheWriteTokens": used.cache_write_tokens,
        "totalTokens": used.input_tokens + used.output_tokens,
    }
    return {"tokenUsage": tokens, "estimatedCost": _money(used.cost)}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _money(cost: Decimal | None) -> float | None:
    return None if cost is None else float(cost)


def _milliseconds(when: datetime) -> int:
    return round(when.timestamp() * 1000)
