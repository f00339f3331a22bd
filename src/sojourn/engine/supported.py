"""Which agents this version can run: those that never wait for a person."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from sojourn.errors import AgentUnsupported


def check_supported(agent: Agent[Any, Any]) -> None:
    """Raise AgentUnsupported, naming what is in the way and what to do about it."""
    for name in _gated_tools(agent):
        raise AgentUnsupported(
            f"tool {name!r} is declared with requires_approval=True, and this version cannot ask for approval; "
            "remove requires_approval, or leave the tool out"
        )
    if DeferredToolRequests in _output_types(agent.output_type):
        raise AgentUnsupported(
            "the agent has DeferredToolRequests among its output types, and this version cannot ask for approval or "
            "wait for calls that are done elsewhere; remove it from output_type"
        )


def _gated_tools(agent: Agent[Any, Any]) -> list[str]:
    names: list[str] = []

    def look(toolset: AbstractToolset[Any]) -> None:
        if isinstance(toolset, FunctionToolset):
            names.extend(name for name, tool in toolset.tools.items() if tool.requires_approval)

    for toolset in agent.toolsets:
        toolset.apply(look)
    return names


def _output_types(spec: Any) -> Iterator[Any]:
    """The types in an output specification: one, a sequence or a union of them."""
    if isinstance(spec, list | tuple):
        for part in spec:
            yield from _output_types(part)
    elif typing.get_origin(spec) in (typing.Union, types.UnionType):
        for part in typing.get_args(spec):
            yield from _output_types(part)
    else:
        yield spec
