"""How many tokens a model will count, estimated on the safe side: without a network, a tokenizer or knowing the model.

Text: one token for 3 ASCII characters (English has 4 to 5, code and JSON 3) and one for 2 bytes of other characters
(Chinese has 3 bytes and about one token a character). Images, sounds and documents by kind and size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic_core
from pydantic_ai.messages import (
    BinaryContent,
    FileUrl,
    ModelRequestPart,
    ModelResponsePart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

#: What a part costs besides its content: who speaks, where it begins and ends, the id of a call.
PER_PART = 8

#: What a tool costs besides its name, description and schema, and what one that the provider runs itself costs.
PER_TOOL, PER_NATIVE_TOOL = 16, 500

#: An image of ordinary size, and the largest that models divide one into.
IMAGE, LARGEST_IMAGE = 1_600, 5_000

#: A file that is somewhere else and has an unknown size.
FILE = 5_000


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    if text.isascii():
        return -(-len(text) // 3)
    ascii_only = len(text.encode("ascii", "ignore"))
    others = len(text.encode("utf-8", "surrogatepass")) - ascii_only
    return -(-ascii_only // 3) + -(-others // 2)


def part_tokens(part: ModelRequestPart | ModelResponsePart) -> int:
    """Tokens of a part of a message."""
    if isinstance(part, ToolCallPart):
        return PER_PART + text_tokens(part.tool_name) + _value(part.args)
    found = _value(getattr(part, "content", None))
    if isinstance(part, ThinkingPart) and not part.content:
        found += _value(part.signature)  # what was thought, in a form that only the provider reads
    return PER_PART + found


def parts_tokens(parts: Iterable[ModelRequestPart | ModelResponsePart]) -> int:
    """Tokens of some parts."""
    return sum(part_tokens(part) for part in parts)


def setting_tokens(parameters: ModelRequestParameters) -> int:
    """Tokens of what stands around the messages of a request: instructions, tools, the schema of the output."""
    told = sum(text_tokens(part.content) + PER_PART for part in parameters.instruction_parts or ())
    tools = sum(_tool(tool) for tool in (*parameters.function_tools, *parameters.output_tools))
    native = PER_NATIVE_TOOL * len(parameters.native_tools)
    output = 0 if parameters.output_object is None else _json(parameters.output_object.json_schema)
    return told + tools + native + output


def _tool(tool: ToolDefinition) -> int:
    words = text_tokens(tool.name) + text_tokens(tool.description or "")
    return PER_TOOL + words + _json(tool.parameters_json_schema)


def _value(value: Any) -> int:
    """Tokens of whatever somebody said or returned."""
    if value is None:
        return 0
    if isinstance(value, str):
        return text_tokens(value)
    if isinstance(value, BinaryContent):
        return _media(value.media_type, len(value.data))
    if isinstance(value, FileUrl):
        return FILE
    if isinstance(value, Mapping):
        return sum(_value(key) + _value(found) + 2 for key, found in value.items())
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return sum(_value(found) + 1 for found in value)
    return _json(value)


def _media(media_type: str, size: int) -> int:
    """Tokens of a file's bytes."""
    kind = media_type.partition("/")[0]
    if kind == "image":
        return min(LARGEST_IMAGE, IMAGE + size // 200)
    if kind in ("audio", "video"):
        return 100 + size // 30
    # Compressed text: a page of 2 kB reads as 1,000 tokens.
    return 100 + size // 2


def _json(value: Any) -> int:
    return text_tokens(pydantic_core.to_json(value, fallback=repr).decode("utf-8", "replace"))
