"""From records to what is sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sojourn.records import (
    Approval,
    Message,
    QueuedInput,
    Remembered,
    Reply,
    Role,
    SearchHit,
    Session,
    SessionHit,
    SessionStatus,
    Turn,
    Usage,
)
from sojourn.server import wire

_BUSY = frozenset({SessionStatus.QUEUED, SessionStatus.RUNNING})

#: pydantic-ai's words for how an answer ended, where Dexto's are others.
_FINISH = {"": "stop", "content_filter": "content-filter", "tool_call": "tool-calls", "waiting": "waiting"}


def milliseconds(when: datetime) -> int:
    """Since 1970."""
    return round(when.timestamp() * 1000)


def is_busy(session: Session) -> bool:
    """Whether a turn runs or is in line."""
    return session.status in _BUSY


def tokens(used: Usage) -> wire.TokenUsage:
    """Tokens of some requests."""
    return wire.TokenUsage(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        reasoning_tokens=0,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
        total_tokens=used.input_tokens + used.output_tokens,
    )


def total(usage: Mapping[str, Usage]) -> Usage:
    """Of all models."""
    return sum(usage.values(), Usage())


def cost(used: Usage) -> dict[str, float]:
    """US dollars, where they are known."""
    return {} if used.cost is None else {"estimated_cost": float(used.cost)}


def session_fields(session: Session) -> dict[str, Any]:
    """What all shapes of a session have."""
    used = total(session.usage)
    return {
        "id": session.id,
        "created_at": milliseconds(session.created),
        "last_activity": milliseconds(session.last_activity),
        "message_count": session.message_count,
        "title": session.title,
        "token_usage": tokens(used),
        "model_stats": [
            wire.ModelStats(
                model=model, requests=one.requests, message_count=one.requests, token_usage=tokens(one), **cost(one)
            )
            for model, one in session.usage.items()
        ],
        "workspace_id": None,
        "parent_session_id": session.parent,
        "status": session.status.value,
        **cost(used),
    }


def session_meta(session: Session) -> wire.SessionMetadata:
    """A session."""
    return wire.SessionMetadata(**session_fields(session))


def session_loaded(session: Session) -> wire.SessionLoaded:
    """A session, for a client that opens it."""
    used = total(session.usage)
    unpriced = any(one.cost is None for one in session.usage.values())
    summary = {
        "tokenUsage": tokens(used).model_dump(by_alias=True),
        "estimatedCost": None if used.cost is None else float(used.cost),
        "hasUnpricedResponses": unpriced,
    }
    return wire.SessionLoaded(
        **session_fields(session), is_busy=is_busy(session), usage_summary=summary, active_usage_scope_id=None,
        active_usage_scope=None,
    )  # fmt: skip


def said(found: Message) -> str | list[dict[str, Any]]:
    """What a message says, without how its writer came to it."""
    content = [dict(part) for part in found.parts if part.get("type") != "reasoning"]
    if found.role is Role.ASSISTANT and all(part.get("type") == "text" for part in content):
        return found.text
    return content or found.text


def written(found: Message) -> dict[str, Any]:
    """How an answer came to be: reasoning, model and provider, as far as they are known."""
    reasoning = "\n\n".join(part["text"] for part in found.parts if part.get("type") == "reasoning")
    told = {"reasoning": reasoning, "model": found.model, "provider": found.provider}
    return {name: value for name, value in told.items() if value}


def message(found: Message) -> wire.HistoryMessage:
    """One message of a history."""
    more: dict[str, Any] = written(found)
    if found.usage is not None:
        more |= {"token_usage": tokens(found.usage), **cost(found.usage)}
    if found.tool_calls:
        more["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in found.tool_calls
        ]
    if found.role is Role.TOOL:
        more |= {"tool_call_id": found.tool_call_id or "", "name": found.tool_name, "success": succeeded(found)}
    return wire.HistoryMessage(
        id=str(found.seq),
        role=found.role.value,
        timestamp=milliseconds(found.created),
        content=said(found),
        seq=found.seq,
        turn=found.turn,
        **more,
    )


def size(found: Message) -> int:
    """About how many characters a message has."""
    values = (value for part in found.parts for value in part.values())
    return len(found.text) + sum(len(value) for value in values if isinstance(value, str))


def succeeded(found: Message) -> bool:
    """Whether a tool did what it was called for."""
    return found.outcome in {None, "success"}


def turn(found: Turn) -> wire.TurnInfo:
    """One turn."""
    return wire.TurnInfo(
        turn=found.turn,
        status=found.status.value,
        attempts=found.attempts,
        key=found.key,
        accepted_at=milliseconds(found.accepted),
        started_at=None if found.started is None else milliseconds(found.started),
        ended_at=None if found.ended is None else milliseconds(found.ended),
        reason=found.reason,
        token_usage=tokens(total(found.usage)),
    )


def search_hit(found: SearchHit) -> wire.SearchHit:
    """Where a search found its words."""
    return wire.SearchHit(
        session_id=found.session,
        message=None if found.message is None else message(found.message),
        matched_text=found.matched,
        context=found.context,
        message_index=found.index,
    )


def session_hit(found: SessionHit) -> wire.FoundSession:
    """A session that a search found."""
    return wire.FoundSession(
        session_id=found.session.id,
        match_count=found.count,
        first_match=search_hit(found.first),
        metadata=session_meta(found.session),
    )


def parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was said, as parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else [dict(part) for part in content]


def queued_id(position: int) -> str:
    """The id of an input in line."""
    return f"msg_{position}"


def queued(found: QueuedInput) -> wire.QueuedMessage:
    """An input in line."""
    return wire.QueuedMessage(
        id=queued_id(found.position), content=parts(found.content), queued_at=milliseconds(found.accepted),
        kind="default", turn=found.turn, held=found.held,
    )  # fmt: skip


def finish_reason(reason: str) -> str:
    """How an answer ended, in Dexto's words."""
    return _FINISH.get(reason, reason)


def model_of(usage: Mapping[str, Usage]) -> str | None:
    """The model that answered last."""
    return list(usage)[-1] if usage else None


def reply(session: str, found: Reply, asked: Sequence[wire.ApprovalInfo]) -> wire.MessageAnswer:
    """The agent's answer."""
    used = total(found.usage)
    more: dict[str, Any] = cost(used) | ({"approvals": list(asked)} if asked else {})
    if found.output is not None and not isinstance(found.output, str) and _is_json(found.output):
        more["output"] = found.output
    return wire.MessageAnswer(
        response=found.text,
        session_id=session,
        token_usage=tokens(used),
        model=model_of(found.usage),
        turn=found.turn,
        finish_reason=finish_reason(found.finish_reason),
        **more,
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def arguments(text: str) -> Any:
    """A call's arguments as an object; as they were written where they are none."""
    try:
        return sendable(json.loads(text))
    except (ValueError, RecursionError):
        return text


def sendable(value: Any) -> Any:
    """A JSON value as it is, but for halves of characters, which nobody could read."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def approval(found: Approval, call_id: str) -> wire.ApprovalInfo:
    """A question to a person."""
    more: dict[str, Any] = {}
    if found.expires is not None:
        more["timeout"] = milliseconds(found.expires) - milliseconds(found.asked)
    return wire.ApprovalInfo(
        approval_id=found.id,
        type="tool_approval",
        session_id=found.session,
        timestamp=found.asked.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        metadata={"toolName": found.tool, "toolCallId": call_id, "args": arguments(found.arguments)},
        status=found.status.value,
        turn=found.turn,
        **more,
    )


def remembered(found: Remembered) -> wire.RememberedInfo:
    """A yes that holds for more."""
    return wire.RememberedInfo(
        id=found.id,
        session_id=found.session,
        tool_name=found.tool,
        arguments=None if found.arguments is None else arguments(found.arguments),
        since=milliseconds(found.since),
        by=found.by,
    )
