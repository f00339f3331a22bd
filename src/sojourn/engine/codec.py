"""How pydantic-ai's messages are written into log entries and read back; text is kept in `Entry.text` alone.

* MESSAGE: `{"format", "texts": [lengths], "message": response}`; Entry.text holds the contents of its text parts.
  `"repeatable": [places]` where there are calls that may be run again after a crash inside them.
* FEEDBACK: `{"format", "message": request}`.
* TOOL_RESULT: `{"format", "call": [null, index], "tool", "call_id", "outcome", "part"}`, with `"response": seq` where
  the result was made up later, and `"in_text": true` where Entry.text holds the part's content.
* TURN_OPENED: `{}` or `{"content": [parts]}`, written by the core.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import __version__ as _version
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from sojourn.abc import Entry
from sojourn.clock import from_ms
from sojourn.config.wording import masked_text

#: The name of the format and the version that wrote it: a reader older than a message's parts cannot read them.
FORMAT = f"pydantic-ai/{_version}"


class _Body(TypedDict, total=False):
    """A body of any of the kinds: one class, because each adapter of pydantic-ai's messages costs every start 30 ms."""

    format: str
    texts: list[int]
    repeatable: list[int]
    message: ModelMessage
    call: tuple[int | None, int]
    response: int
    tool: str
    call_id: str
    outcome: str
    in_text: bool
    part: ModelRequestPart


_BODY = TypeAdapter(_Body)

#: What a message would say of where it belongs: the log knows, and a fork's copy belongs to another session.
_ELSEWHERE = frozenset({"run_id", "conversation_id"})


def dump_response(response: ModelResponse, *, repeatable: Sequence[int] = ()) -> tuple[str, str]:
    """A MESSAGE entry's body and text; `repeatable` are the places of calls that may be run again."""
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    parts = [dataclasses.replace(part, content="") if isinstance(part, TextPart) else part for part in response.parts]
    # The address as it was configured: a login or a key may be in it.
    url = None if response.provider_url is None else masked_text(response.provider_url)
    bare = dataclasses.replace(response, parts=parts, provider_url=url)
    body: _Body = {"format": FORMAT, "texts": [len(text) for text in texts], "message": bare}
    if repeatable:
        body["repeatable"] = list(repeatable)
    return _dump(body), "".join(texts)


def load_response(entry: Entry) -> ModelResponse:
    """The response of a MESSAGE entry."""
    body = _load(entry)
    response = body.get("message")
    if not isinstance(response, ModelResponse):
        raise ValueError(f"entry {entry.seq}: it holds no response")  # noqa: TRY004 - what is read is at fault
    texts = [part for part in response.parts if isinstance(part, TextPart)]
    lengths = body.get("texts", [])
    if len(lengths) != len(texts) or sum(lengths) != len(entry.text):
        raise ValueError(f"entry {entry.seq}: its text does not fit its body")
    start = 0
    for part, length in zip(texts, lengths, strict=True):
        part.content = entry.text[start : start + length]
        start += length
    return response


def load_repeatable(entry: Entry) -> Sequence[int]:
    """The places of the calls of a MESSAGE entry that may be run again."""
    # Few have any, and to parse a body a second time is slow.
    return _load(entry).get("repeatable", ()) if '"repeatable":' in entry.body else ()


def dump_feedback(parts: Sequence[ModelRequestPart]) -> str:
    """A FEEDBACK entry's body."""
    # A new request carries no instructions: the agent's own are sent anew with each request.
    return _dump({"format": FORMAT, "message": ModelRequest(parts=list(parts))})


def load_feedback(entry: Entry) -> Sequence[ModelRequestPart]:
    """What a FEEDBACK entry told the model."""
    request = _load(entry).get("message")
    if not isinstance(request, ModelRequest):
        raise ValueError(f"entry {entry.seq}: it holds no request")  # noqa: TRY004 - what is read is at fault
    return request.parts


def dump_result(index: int, part: ToolReturnPart, *, response: int | None = None) -> tuple[str, str]:
    """A TOOL_RESULT entry's body and text; `response` is the seq of the response where the entry comes out of turn."""
    body: _Body = {
        "format": FORMAT,
        "call": (None, index),
        "tool": part.tool_name,
        "call_id": part.tool_call_id,
        "outcome": part.outcome,
    }
    if response is not None:
        body["response"] = response
    text = ""
    if isinstance(part.content, str):
        text, part = part.content, dataclasses.replace(part, content="")
        body["in_text"] = True
    body["part"] = part
    return _dump(body), text


def load_result(entry: Entry) -> tuple[int, ToolReturnPart]:
    """The call's place in its response, and the result, of a TOOL_RESULT entry."""
    body = _load(entry)
    part, call = body.get("part"), body.get("call")
    if not isinstance(part, ToolReturnPart) or call is None:
        raise ValueError(f"entry {entry.seq}: it holds no result of a call")
    if body.get("in_text"):
        part.content = entry.text
    return call[1], part


def load_prompt(entry: Entry) -> UserPromptPart:
    """The user's message of a TURN_OPENED entry."""
    # Not now, which is the default: a history that is built again is the same.
    said = from_ms(entry.created)
    # The common body is known without a parse.
    content = None if entry.body == "{}" else json.loads(entry.body).get("content")
    if content is None:
        return UserPromptPart(content=entry.text, timestamp=said)
    return UserPromptPart(content=[_user_content(part, entry) for part in content], timestamp=said)


def _user_content(part: Mapping[str, Any], entry: Entry) -> UserContent:
    """One part of a user's message."""
    kind = part.get("type")
    if kind == "text":
        return str(part["text"])
    if kind in ("image", "file"):
        data = part["image"] if kind == "image" else part["data"]
        media_type = part.get("mimeType") or ("image/png" if kind == "image" else "application/octet-stream")
        try:
            raw = base64.b64decode(data)
        except (binascii.Error, TypeError) as exc:
            raise ValueError(f"entry {entry.seq}: its {kind} is not base64") from exc
        name = part.get("filename")
        return BinaryContent(data=raw, media_type=media_type, vendor_metadata={"filename": name} if name else None)
    raise ValueError(f"entry {entry.seq}: a part of type {kind!r} is not known")


def _load(entry: Entry) -> _Body:
    return _BODY.validate_json(entry.body)


def _dump(body: _Body) -> str:
    absent: dict[str, Any] = {}
    if (message := body.get("message")) is not None:
        absent["message"] = dict.fromkeys(_absent(message) | _ELSEWHERE, True) | {
            "parts": {place: _absent(part) for place, part in enumerate(message.parts)}
        }
    elif (part := body.get("part")) is not None:
        absent["part"] = _absent(part)
    return _BODY.dump_json(body, exclude=absent).decode()


def _absent(thing: Any) -> set[str]:
    """The optional fields that are None: two thirds of a small message would be nulls.

    Not `exclude_none`, which would reach into what tools and providers said, nor `exclude_defaults`, which drops the
    kinds by which parts are told apart.
    """
    kind: Any = type(thing)
    return {name for name in _optional(kind) if getattr(thing, name) is None}


@cache
def _optional(kind: Any) -> tuple[str, ...]:
    """The fields that are None where nothing is known."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.default is None)
