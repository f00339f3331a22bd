"""What people see of stored messages, read from the JSON alone: a history page costs no model classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sojourn.abc import Entry
from sojourn.clock import from_ms
from sojourn.records import EntryKind, Message, Role, ToolCall, Usage

_CALLS = frozenset({"tool-call", "tool-search-call", "capability-load-call"})
_FAILED = frozenset({"failed", "retried"})


def shown(entry: Entry) -> Message | None:
    """The message of a MESSAGE or TOOL_RESULT entry; None for any other."""
    if entry.kind is EntryKind.MESSAGE:
        return _answer(entry)
    if entry.kind is EntryKind.TOOL_RESULT:
        return _result(entry)
    return None


def _answer(entry: Entry) -> Message:
    body = json.loads(entry.body)
    response = body["message"]
    parts = response["parts"]
    calls = [
        ToolCall(id=part["tool_call_id"], name=part["tool_name"], arguments=_arguments(part.get("args")))
        for part in parts
        if part["part_kind"] in _CALLS
    ]
    return Message(
        seq=entry.seq,
        turn=entry.turn,
        role=Role.ASSISTANT,
        text=entry.text,
        parts=_answer_parts(parts, body.get("texts", []), entry.text),
        tool_calls=calls,
        model=response.get("model_name"),
        provider=response.get("provider_name") or (response.get("model_id") or "").partition(":")[0] or None,
        usage=_usage(response.get("usage")),
        created=from_ms(entry.created),
    )


def _usage(used: Mapping[str, Any] | None) -> Usage | None:
    """What a response took; None where it was cut before its provider said so."""
    if not used or not any(used.get(name) for name in ("input_tokens", "output_tokens")):
        return None
    cost = used.get("cost")
    return Usage.from_json({**used, "requests": 1, "cost": None if cost is None else str(cost)})


def _answer_parts(parts: Sequence[Mapping[str, Any]], lengths: Sequence[int], text: str) -> list[dict[str, Any]]:
    """The parts in order where there is more than text, such as reasoning or an image; else nothing."""
    found: list[dict[str, Any]] = []
    rest, start = iter(lengths), 0
    more = False
    for part in parts:
        kind = part["part_kind"]
        if kind == "text":
            length = next(rest, 0)
            found.append({"type": "text", "text": text[start : start + length]})
            start += length
        elif kind == "thinking" and part.get("content"):
            found.append({"type": "reasoning", "text": part["content"]})
            more = True
        elif kind == "file":
            found.append(_file(part["content"]))
            more = True
    return found if more else []


def _result(entry: Entry) -> Message:
    body = json.loads(entry.body)
    content = entry.text if body.get("in_text") else body["part"].get("content")
    data, files = _split(content)
    text = "" if data is None else data if isinstance(data, str) else _compact(data)
    if body["outcome"] in _FAILED:
        # Most providers have no place for a failure but the text, and then it goes like this.
        structured = body["outcome"] == "retried" and data is not None
        text = _compact({"error": data if structured else text})
    return Message(
        seq=entry.seq,
        turn=entry.turn,
        role=Role.TOOL,
        text=text,
        parts=[*([{"type": "text", "text": text}] if text else []), *files] if files else (),
        tool_call_id=body["call_id"],
        tool_name=body["tool"],
        outcome=body["outcome"],
        created=from_ms(entry.created),
    )


def _split(content: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A result's data and its files."""
    if _is_binary(content):
        return None, [_file(content)]
    if not isinstance(content, list) or not any(map(_is_binary, content)):
        return content, []
    data = [item for item in content if not _is_binary(item)]
    files = [_file(item) for item in content if _is_binary(item)]
    return data[0] if len(data) == 1 else data or None, files


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") == "binary" and "media_type" in value


def _file(content: Mapping[str, Any]) -> dict[str, Any]:
    kind = content["media_type"]
    if kind.startswith("image/"):
        return {"type": "image", "image": content["data"], "mimeType": kind}
    return {"type": "file", "data": content["data"], "mimeType": kind}


def _arguments(args: Any) -> str:
    """A call's arguments as JSON text, as the model wrote them where it wrote text."""
    if args is None or args == "":
        return "{}"
    return args if isinstance(args, str) else _compact(args)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
