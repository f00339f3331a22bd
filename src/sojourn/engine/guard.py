"""What is added to every run: a tool's failure is told to the model, and what needs a person is left to people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import ValidationError
from pydantic_ai import RunContext
from pydantic_ai.capabilities import (
    AbstractCapability,
    CombinedCapability,
    WrapModelRequestHandler,
    WrapperCapability,
    WrapRunHandler,
)
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    RunCancelled,
    SkipToolValidation,
    ToolFailed,
    UnexpectedModelBehavior,
)
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturn, tool_return_ta
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDefinition, ToolDenied
from pydantic_ai.toolsets import AbstractToolset

from sojourn.engine.questions import ASKED_AGAIN
from sojourn.engine.servers import tolerant
from sojourn.engine.steps import UNKNOWN

_log = logging.getLogger(__name__)

NEEDS_OTHERS = "This call is to be done outside of the agent, which this version of Sojourn cannot do; it was not run."

#: The key in a tool's metadata, with the value True, that marks a tool as one that may be run again.
IDEMPOTENT = "idempotent"

#: What a hook or a validator raises to steer the run, rather than because it broke.
_STEERING = (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    RunCancelled,
    SkipToolValidation,
    ToolFailed,
    UnexpectedModelBehavior,
    ValidationError,
)


@dataclass
class Guard(AbstractCapability[Any]):
    """Keeps one tool's trouble from ending the turn; one for each run."""

    #: The ids of calls that people have allowed.
    allowed: Collection[str] = frozenset()
    #: The ids of calls that are run again.
    repeated: Collection[str] = frozenset()
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set, init=False, repr=False)

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        self._note_task()
        return await handler()

    async def wrap_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, handler: WrapModelRequestHandler
    ) -> ModelResponse:
        self._note_task()
        return await handler(request_context)

    def _note_task(self) -> None:
        """Remember the task that pydantic-ai made for a run or for a streamed request."""
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def wind_up(self) -> None:
        """End what a run left behind.

        pydantic-ai forgets these tasks when a cancel hits the moment in which a run begins or an opened stream changes
        hands, and a forgotten stream goes on to be read from the provider by nobody.
        """
        left = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        if left:
            with anyio.CancelScope(shield=True):
                await asyncio.gather(*left, return_exceptions=True)

    async def on_tool_execute_error(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        error: Exception,
    ) -> Any:
        if isinstance(error, _STEERING):
            raise error
        raise _failed(call, error) from error

    async def wrap_tool_validate(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any, handler: Any
    ) -> dict[str, Any]:
        repeated = call.tool_call_id in self.repeated
        if repeated and not is_repeatable(tool_def):
            raise ToolFailed(UNKNOWN)  # it was when it was called
        checked = await self._validate(call, args, handler)
        if repeated and tool_def.kind == "unapproved" and call.tool_call_id not in self.allowed:
            raise ApprovalRequired  # it needed none when it was called
        return checked

    async def _validate(self, call: ToolCallPart, args: Any, handler: Any) -> dict[str, Any]:
        try:
            checked: dict[str, Any] = await handler(args)
        except Exception as error:
            # pydantic-ai's own signals are no failures, and their classes are not all public.
            if isinstance(error, _STEERING) or type(error).__module__.startswith("pydantic_ai."):
                raise
            raise _failed(call, error) from error
        return checked

    async def after_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], result: Any
    ) -> Any:
        value = result.return_value if isinstance(result, ToolReturn) else result
        if result == [] and tool_def.tool_kind is None:
            return "[]"  # an empty list is sent as no text at all, which reads as if nothing came back
        if value is not None and not isinstance(value, str | int | float):
            try:
                tool_return_ta.dump_json(value)
            except ValueError as error:
                # Found here it is the tool's failure; found in the next request it would be the turn's.
                raise ToolFailed(f"The tool's result cannot be told: {error}") from error
        return result

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        # The other calls that need approval end the run, and people are asked. One that asks whatever was decided
        # would be asked about for ever, and without a person where the approval is remembered.
        ids = [call.tool_call_id for call in requests.approvals]
        return DeferredToolResults(
            approvals={call_id: ToolDenied(ASKED_AGAIN) for call_id in ids if call_id in self.allowed},
            calls={call.tool_call_id: ToolFailed(NEEDS_OTHERS) for call in requests.calls},
        )

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any] | None:
        return toolset.visit_and_replace(tolerant)


def is_repeatable(tool: ToolDefinition) -> bool:
    """Whether the tool is marked as one that may be run again; what an MCP server says of its own tools is no mark."""
    return tool.kind in ("function", "unapproved") and (tool.metadata or {}).get(IDEMPOTENT) is True


def others_decide(capability: AbstractCapability[Any]) -> bool:
    """Whether the agent itself may decide about calls that need approval: then they may be run without a question."""
    found: list[Any] = []
    capability.apply(found.append)
    neutral = (Guard, CombinedCapability, WrapperCapability)
    undecided = AbstractCapability.handle_deferred_tool_calls
    return any(type(one).handle_deferred_tool_calls is not undecided for one in found if not isinstance(one, neutral))


def _failed(call: ToolCallPart, error: Exception) -> ToolFailed:
    """What the model is told; the log gets no message, which may hold what a person said."""
    _log.warning("tool %r failed: %s", call.tool_name, type(error).__name__)
    _log.debug("tool %r failed", call.tool_name, exc_info=error)
    return ToolFailed(f"The tool failed: {type(error).__name__}: {error}")
