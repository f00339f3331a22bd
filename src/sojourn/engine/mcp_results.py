"""From an MCP server's answers to what pydantic-ai's tools return, as its own MCP toolset does it."""

from __future__ import annotations

import base64
from typing import Any

import mcp_types as types
import pydantic_core
from pydantic_ai.messages import BinaryContent, BinaryImage, tool_return_ta


def value_of(result: types.CallToolResult) -> Any:
    """What a tool that did its work gives the model: the structured content if all else is text, or else the parts."""
    structured = result.structured_content
    if structured is not None and all(isinstance(part, types.TextContent) for part in result.content):
        # Servers wrap what is no object into one of this key.
        return structured["result"] if list(structured) == ["result"] else structured
    parts = [_part(part) for part in result.content]
    return parts[0] if len(parts) == 1 else parts


def failure_of(result: types.CallToolResult) -> str:
    """What the server said about a tool that failed."""
    texts = [part.text for part in result.content if isinstance(part, types.TextContent)]
    if not texts and result.structured_content is not None:
        return tool_return_ta.dump_json(result.structured_content).decode()
    return "\n".join(texts) or "the tool failed and did not say why"


def _part(part: types.ContentBlock) -> Any:
    if isinstance(part, types.TextContent):
        return _text(part.text)
    if isinstance(part, types.ImageContent):
        return BinaryImage(data=base64.b64decode(part.data), media_type=part.mime_type)
    if isinstance(part, types.AudioContent):
        return BinaryContent(data=base64.b64decode(part.data), media_type=part.mime_type)
    if isinstance(part, types.EmbeddedResource):
        return _resource(part.resource)
    return str(part.uri)


def _text(text: str) -> Any:
    if text.startswith(("[", "{")):
        try:
            return pydantic_core.from_json(text)
        except ValueError:
            return text
    return text


def _resource(resource: types.TextResourceContents | types.BlobResourceContents) -> str | BinaryContent:
    if isinstance(resource, types.TextResourceContents):
        return resource.text
    media_type = resource.mime_type or "application/octet-stream"
    return BinaryContent.narrow_type(BinaryContent(data=base64.b64decode(resource.blob), media_type=media_type))
