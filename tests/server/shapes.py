"""The shapes that Dexto's clients rely on, written from what it sends: which fields, and of what kind."""

from __future__ import annotations

from typing import Any

NUMBER = (int, float)
NONE = type(None)


class Maybe:
    """A field that may be missing."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


USAGE = {
    "inputTokens": int, "outputTokens": int, "reasoningTokens": int, "cacheReadTokens": int, "cacheWriteTokens": int,
    "totalTokens": int,
}  # fmt: skip
SESSION = {
    "id": str,
    "createdAt": int,
    "lastActivity": int,
    "messageCount": int,
    "title": (str, NONE),
    "tokenUsage": Maybe(USAGE),
    "estimatedCost": Maybe(NUMBER),
    "modelStats": [
        {"model": str, "messageCount": int, "requests": int, "tokenUsage": USAGE, "estimatedCost": Maybe(NUMBER)}
    ],
    "workspaceId": (str, NONE),
    "parentSessionId": (str, NONE),
    # ours
    "status": str,
}
SESSION_DETAIL = {**SESSION, "history": int}
SESSION_LOADED = {
    **SESSION,
    "isBusy": bool,
    "usageSummary": {
        "tokenUsage": USAGE, "estimatedCost": (*NUMBER, NONE), "hasUnpricedResponses": bool,
        "modelStats": Maybe([dict]),
    },
    "activeUsageScopeId": (str, NONE),
    "activeUsageScope": (dict, NONE),
}  # fmt: skip
TOOL_CALL = {"id": str, "type": str, "function": {"name": str, "arguments": str}}
MESSAGE = {
    "id": str,
    "role": str,
    "timestamp": int,
    "content": (str, list, NONE),
    "reasoning": Maybe(str),
    "tokenUsage": Maybe(USAGE),
    "estimatedCost": Maybe(NUMBER),
    "model": Maybe(str),
    "provider": Maybe(str),
    "toolCalls": Maybe([TOOL_CALL]),
    "toolCallId": Maybe(str),
    "name": Maybe(str),
    "success": Maybe(bool),
    # ours
    "seq": int,
    "turn": int,
}
SEARCH_HIT = {
    "sessionId": str, "message": MESSAGE, "matchedText": str, "context": str, "messageIndex": int,
}  # fmt: skip
#: Where nothing but a title was found.
TITLE_HIT = {**SEARCH_HIT, "message": NONE, "messageIndex": NONE}
FOUND_MESSAGES = {
    "results": [SEARCH_HIT],
    "total": int,
    "hasMore": bool,
    "query": str,
    "options": {
        "limit": int, "offset": int, "sessionId": Maybe(str), "role": Maybe(str),
        # ours
        "after": Maybe(str),
    },
    # ours
    "totalIsExact": bool,
    "next": (str, NONE),
}  # fmt: skip
FOUND_SESSION = {"sessionId": str, "matchCount": int, "firstMatch": SEARCH_HIT, "metadata": SESSION}
FOUND_SESSIONS = {
    "results": [FOUND_SESSION],
    "total": int,
    "hasMore": bool,
    "query": str,
    # ours
    "totalIsExact": bool,
}
HISTORY = {"history": [MESSAGE], "isBusy": bool, "before": Maybe(int)}
APPROVAL = {
    "approvalId": str,
    "type": str,
    "sessionId": str,
    "timeout": Maybe(int),
    "timestamp": str,
    "metadata": {"toolName": str, "toolCallId": str, "args": object},
    # ours
    "status": str,
    "turn": int,
}
QUEUED = {"id": str, "content": [dict], "queuedAt": int, "kind": Maybe(str), "turn": int, "held": bool}
ERROR = {
    "code": str,
    "message": str,
    "scope": str,
    "type": str,
    "context": Maybe(dict),
    "traceId": str,
    "endpoint": str,
    "method": str,
}
ANSWER = {
    "response": str,
    "sessionId": str,
    "tokenUsage": Maybe(USAGE),
    "estimatedCost": Maybe(NUMBER),
    "model": Maybe(str),
    # ours
    "turn": int,
    "finishReason": str,
    "output": Maybe(object),
    "approvals": Maybe([APPROVAL]),
}

#: What is in the data of each event on a message's stream; that of a session's has no `name`.
EVENTS: dict[str, dict[str, Any]] = {
    "llm:thinking": {"turn": int, "input": (str, list)},
    "llm:chunk": {"chunkType": str, "content": str},
    "llm:tool-call": {"toolName": str, "args": object, "callId": str},
    "llm:tool-result": {
        "toolName": str, "callId": str, "success": bool,
        "sanitized": {"content": [dict], "meta": {"toolName": str, "toolCallId": str, "success": bool}},
        "outcome": (str, NONE), "error": Maybe(str), "requireApproval": Maybe(bool), "approvalStatus": Maybe(str),
    },
    "context:cleared": {},
    "llm:response": {
        "content": str, "messageId": str, "finishReason": str, "tokenUsage": Maybe(USAGE), "model": Maybe(str),
        "estimatedCost": Maybe(NUMBER), "provider": Maybe(str), "reasoning": Maybe(str),
    },
    "llm:error": {"error": {"name": str, "message": str}, "context": str, "recoverable": bool},
    "tool:running": {"toolName": str, "toolCallId": str},
    "approval:request": {name: shape for name, shape in APPROVAL.items() if name != "sessionId"},
    "approval:response": {"approvalId": str, "status": str, "reason": Maybe(str), "message": Maybe(str)},
    "run:complete": {
        "finishReason": str, "stepCount": int, "durationMs": int, "error": Maybe(dict), "reason": Maybe(str),
        "turn": (int, NONE), "status": (str, NONE),
    },
    "run:waiting": {"turn": int, "approvalIds": [str]},
}  # fmt: skip


def check(found: Any, shape: Any, place: str = "$") -> None:
    """The value has this shape: no field is missing, none is there that nobody knows."""
    if isinstance(shape, Maybe):
        shape = shape.shape
    if isinstance(shape, dict):
        assert isinstance(found, dict), f"{place}: {found!r}"
        needed = {name for name, inner in shape.items() if not isinstance(inner, Maybe)}
        assert needed <= set(found), f"{place}: {needed - set(found)} missing"
        assert set(found) <= set(shape), f"{place}: {set(found) - set(shape)} unknown"
        for name, value in found.items():
            check(value, shape[name], f"{place}.{name}")
    elif isinstance(shape, list):
        assert isinstance(found, list), f"{place}: {found!r}"
        for index, value in enumerate(found):
            check(value, shape[0], f"{place}[{index}]")
    else:
        assert isinstance(found, shape), f"{place}: {found!r} is no {shape}"
        kinds = shape if isinstance(shape, tuple) else (shape,)
        assert bool in kinds or object in kinds or not isinstance(found, bool), f"{place}: {found!r}"


def check_event(name: str, data: dict[str, Any], *, named: bool) -> None:
    """An event of a stream has the shape of its name."""
    head = {"sessionId": str, **({"name": str} if named else {})}
    check(data, {**head, **EVENTS[name]}, name)
    assert not named or data["name"] == name
