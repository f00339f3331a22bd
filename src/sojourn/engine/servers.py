"""The connections of an agent: which are kept, and that a dead MCP server costs its tools but not the run.

pydantic-ai's `mcp` module is heavy and optional, so nothing here imports it: an agent that has MCP toolsets did.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
from pydantic_ai import RunContext
from pydantic_ai.models import Model
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

_log = logging.getLogger(__name__)

#: Seconds to wait for a server's goodbye at the end.
CLOSE_TIMEOUT = 10.0

#: The labels of servers that were reported missing and have not been seen since.
_missing: set[str] = set()


def is_mcp(toolset: AbstractToolset[Any]) -> bool:
    """Whether the toolset speaks to an MCP server."""
    module = sys.modules.get("pydantic_ai.mcp")
    return module is not None and isinstance(toolset, module.MCPToolset)


def tolerant(toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
    """The toolset itself, or where it speaks to an MCP server one that survives the server's absence."""
    return TolerantToolset(toolset) if is_mcp(toolset) else toolset


@dataclass
class TolerantToolset(WrapperToolset[Any]):
    """An MCP toolset for one run; without its server it has no tools, which is logged once."""

    _entered: bool = field(default=False, init=False, repr=False)

    async def __aenter__(self) -> Self:
        try:
            await self.wrapped.__aenter__()
        except Exception as error:  # noqa: BLE001 - whatever keeps the server away, the run goes on without it
            _report(self.wrapped, error)
        else:
            self._entered = True
        return self

    async def __aexit__(self, *args: Any) -> bool | None:  # noqa: PYI036 - as its base has it
        if not self._entered:
            return None
        self._entered = False
        try:
            return await self.wrapped.__aexit__(*args)
        except Exception as error:  # noqa: BLE001 - the run is over; its answer is not to be lost for this
            _log.warning("leaving MCP server %s: %s", self.wrapped.label, type(error).__name__)
            return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        if not self._entered:
            return {}
        try:
            tools = await self.wrapped.get_tools(ctx)
        except Exception as error:  # noqa: BLE001 - as in __aenter__
            _report(self.wrapped, error)
            return {}
        _missing.discard(self.wrapped.label)
        return tools


class Connections:
    """The connections that outlive a run: the model's client, where the agent's provider made it, and MCP servers.

    Those over HTTP are entered once, which saves each run a connection, and survive a restart of the server. Those
    over stdio are not: an entered one whose process died stays broken, while one that each run enters anew keeps its
    process alive between runs and starts another when it died; but then somebody has to end the process at last.
    """

    def __init__(self, toolsets: Iterable[AbstractToolset[Any]], model: object = None) -> None:
        self._model = model if isinstance(model, Model) else None
        self._toolsets: list[AbstractToolset[Any]] = []
        for toolset in toolsets:
            toolset.apply(self._note)
        self._stack = AsyncExitStack()

    def _note(self, toolset: AbstractToolset[Any]) -> None:
        if is_mcp(toolset) and toolset not in self._toolsets:
            self._toolsets.append(toolset)

    async def open(self) -> None:
        """Connect to what is kept connected; a server that is not there is tried again by each run."""
        if self._model is not None:
            await self._stack.enter_async_context(self._model)
        for toolset in self._toolsets:
            if not _is_http(toolset):
                continue
            try:
                await self._stack.enter_async_context(toolset)
            except Exception as error:  # noqa: BLE001 - see TolerantToolset
                _report(toolset, error)

    async def close(self) -> None:
        """Disconnect and end the child processes, also while this is being cancelled."""
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await self._stack.aclose()
            except Exception as error:  # noqa: BLE001 - the others are to be closed as well
                _log.warning("closing connections: %s", type(error).__name__)
            for toolset in self._toolsets:
                await self._end(toolset)

    async def _end(self, toolset: AbstractToolset[Any]) -> None:
        close = getattr(_transport(toolset), "close", None)
        if close is None:
            return
        try:
            await close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed as well
            _log.warning("closing MCP server %s: %s", toolset.label, type(error).__name__)


def _transport(toolset: AbstractToolset[Any]) -> Any:
    return getattr(getattr(toolset, "client", None), "transport", None)


def _is_http(toolset: AbstractToolset[Any]) -> bool:
    return hasattr(_transport(toolset), "url")


def _report(toolset: AbstractToolset[Any], error: Exception) -> None:
    if toolset.label not in _missing:
        _missing.add(toolset.label)
        # The message may hold a URL with a key in it.
        _log.warning("MCP server %s is missing, and so are its tools: %s", toolset.label, type(error).__name__)
