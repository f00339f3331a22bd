"""What a run yields, made from what pydantic-ai says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pydantic_core
from pydantic_ai.messages import (
    AgentStreamEvent,
    EnqueuedMessagesEvent,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelSettingsDeltaEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolAvailabilityDeltaEvent,
    ToolCallPart,
    ToolReturnPart,
)

from sojourn.abc import Call, ModelResponded, RunFinished, ToolFinished
from sojourn.engine import codec
from sojourn.engine.history import PydanticAIHistory, calls_of
from sojourn.records import Effect, EffectStatus, Usage

UNKNOWN = (
    "The outcome of this call is unknown: it was started, and cut off before a result was stored. "
    "It may or may not have happened; check before you do it again."
)
UNDECIDED = "This call was not run: it needs a person's approval, and was not decided."

#: What OpenAI accepts as the length of a call's id.
_MAX_CALL_ID = 40


def text_of(event: AgentStreamEvent) -> str:
    """The piece of text that an event brings; the first piece of a part comes with its start."""
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


def told_by(event: AgentStreamEvent) -> list[ModelRequestPart]:
    """What was added to a request while it was on its way out: enqueued content, changes of tools or settings."""
    if isinstance(event, EnqueuedMessagesEvent):
        requests = (message for message in event.messages if isinstance(message, ModelRequest))
        return [part for request in requests for part in request.parts]
    if isinstance(event, ToolAvailabilityDeltaEvent | ModelSettingsDeltaEvent):
        return [event.part]
    return []


def make_call_ids_unique(response: ModelResponse, taken: Callable[[str], bool]) -> None:
    """Rename, in place, the calls whose id is used already: in this response or, says `taken`, before it.

    pydantic-ai refuses a response that has an id twice, providers refuse a history that does, and whoever reads the
    history joins calls and results by them. Some providers number the calls of each response from nought.
    """
    seen: set[str] = set()
    parts = list(response.parts)
    for place, part in enumerate(parts):
        if not isinstance(part, ToolCallPart):
            continue
        call_id, count = part.tool_call_id, 1
        while call_id in seen or taken(call_id):
            count += 1
            call_id = f"{part.tool_call_id[: _MAX_CALL_ID - 8]}-{count}"
        seen.add(call_id)
        if call_id != part.tool_call_id:
            parts[place] = replace(part, tool_call_id=call_id)
    response.parts = parts


def responded(
    response: ModelResponse,
    is_gated: Callable[[ToolCallPart], bool],
    is_repeatable: Callable[[ToolCallPart], bool],
) -> ModelResponded:
    """The step that says what the model responded; not final."""
    calls = calls_of(response)
    repeatable = [index for index, call in enumerate(calls) if is_repeatable(call)]
    body, text = codec.dump_response(response, repeatable=repeatable)
    return ModelResponded(
        body=body,
        text=text,
        calls=[
            Call(index=index, tool=call.tool_name, digest=digest(call.args), gated=is_gated(call))
            for index, call in enumerate(calls)
        ],
        model=model_of(response),
        usage=usage_of(response),
    )


def model_of(response: ModelResponse) -> str:
    """The name of the model that responded."""
    return response.model_name or response.model_id or "unknown"


def usage_of(response: ModelResponse) -> Usage:
    """What the request has used."""
    used = response.usage
    return Usage(
        requests=1,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
        cost=used.cost,
    )


def tool_finished(index: int, part: ToolReturnPart, *, response: int | None = None) -> ToolFinished:
    """The step that brings a result."""
    body, text = codec.dump_result(index, part, response=response)
    return ToolFinished(index=index, body=body, text=text)


def unknown_result(history: PydanticAIHistory, call: Effect) -> ToolFinished:
    """The result of a call of the history's last response that nobody allowed, or whose outcome nobody knows."""
    if call.index >= len(history.calls):
        raise ValueError(f"the last response has no call {call.index}")
    asked = history.calls[call.index]
    content = UNDECIDED if call.status is EffectStatus.INTENDED else UNKNOWN
    part = ToolReturnPart(
        tool_name=asked.tool_name, content=content, tool_call_id=asked.tool_call_id, outcome="interrupted"
    )
    return tool_finished(call.index, part, response=call.seq)


def run_finished(output: Any, response: ModelResponse | None) -> RunFinished:
    """The step that ends a run; `response` is the last one."""
    said = "" if response is None else "".join(part.content for part in response.parts if isinstance(part, TextPart))
    is_text = isinstance(output, str) and output == said
    return RunFinished(
        output=output,
        output_json=None if is_text else pydantic_core.to_json(output, fallback=repr).decode(),
        finish_reason=(response.finish_reason if response else None) or "stop",
    )


def arguments_json(args: str | dict[str, Any] | None) -> str:
    """A call's arguments as JSON: as the model wrote them, or its text as a string where that is none."""
    if not args:
        return "{}"
    if not isinstance(args, str):
        return pydantic_core.to_json(args, fallback=repr).decode()
    try:
        json.loads(args)
    except ValueError:
        return json.dumps(args)
    return args


def digest(args: str | dict[str, Any] | None) -> str:
    """A digest of a call's arguments that does not depend on their order or spacing."""
    if isinstance(args, str):
        try:
            args = json.loads(args)
        except ValueError:
            return hashlib.blake2b(str(args).encode(), digest_size=16).hexdigest()
    canonical = json.dumps(args or {}, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
