"""The connections of an agent: which are kept, and that a dead MCP server costs its tools but not the run.

pydantic-ai's `mcp` module is heavy and optional, so nothing here imports it: an agent that has MCP toolsets did.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import anyio
from pydantic_ai import RunContext
from pydantic_ai.models import Model
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

T = TypeVar("T")

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
    """An MCP toolset for one run; without its server it has no tools, which is logged once.

    The server's connection is held by a task of its own: what pydantic-ai counts and fastmcp locks on the way in and
    out is left half done by a cancel at the wrong moment, and then the connection is never let go.
    """

    _held: _Hold | None = field(default=None, init=False, repr=False)

    async def __aenter__(self) -> Self:
        hold = _Hold(self.wrapped)
        try:
            error = await asyncio.shield(hold.entered)
        except asyncio.CancelledError:
            hold.release.set()
            raise
        if error is None:
            self._held = hold
        else:
            _report(self.wrapped, error)
        return self

    async def __aexit__(self, *args: Any) -> bool | None:  # noqa: PYI036 - as its base has it
        hold, self._held = self._held, None
        if hold is not None:
            hold.release.set()
            await asyncio.shield(hold.task)
        return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        if self._held is None:
            return {}
        try:
            tools = await asyncio.shield(_keep(self.wrapped.get_tools(ctx)))
        except Exception as error:  # noqa: BLE001 - whatever keeps the server away, the run goes on without it
            _report(self.wrapped, error)
            return {}
        _missing.discard(self.wrapped.label)
        return tools


class _Hold:
    """A task that enters a toolset, holds it until it is released, and leaves it, whoever is cancelled meanwhile."""

    def __init__(self, toolset: AbstractToolset[Any]) -> None:
        self._toolset = toolset
        #: What kept it from entering, or None when it has entered.
        self.entered: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.release = asyncio.Event()
        self.task = _keep(self._hold())

    async def _hold(self) -> None:
        try:
            async with self._toolset:
                self.entered.set_result(None)
                await self.release.wait()
        except Exception as error:  # noqa: BLE001 - a run goes on without its server, and its answer is not lost for it
            if self.entered.done():
                _log.warning("leaving MCP server %s: %s", self._toolset.label, type(error).__name__)
            else:
                self.entered.set_result(error)


#: Tasks that outlive whoever awaits them; the loop itself keeps only weak references.
_kept: set[asyncio.Task[Any]] = set()


def _keep(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task


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
            loop = asyncio.get_running_loop()
            if rest := [task for task in _kept if task.get_loop() is loop]:
                await asyncio.wait(rest)

    async def _end(self, toolset: AbstractToolset[Any]) -> None:
        client = getattr(toolset, "client", None)
        if client is None:
            return
        try:
            await client.close()  # however often it is still entered
        except Exception as error:  # noqa: BLE001 - the others are to be closed as well
            if toolset.label in _missing:
                return
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
