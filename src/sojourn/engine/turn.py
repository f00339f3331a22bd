"""One run of the agent, driven node by node: nothing happens that the core has not asked for.

    user prompt -> ask the model -> (calls) run the tools -> ask the model -> … -> (no calls) judge the answer -> end
                                                          -> (calls that need a person) end, to be gone on with later

pydantic-ai's graph stands still between two nodes, so what a node gave is durable before the next one starts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from typing import Any

from pydantic_ai import CallToolsNode, ModelRequestNode
from pydantic_ai.messages import (
    FunctionToolResultEvent,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolRequests
from pydantic_graph import End

from sojourn.abc import Asking, FeedbackGiven, ModelResponded, RunFinished, RunPaused, Step, TextDelta, ToolFinished
from sojourn.engine import codec
from sojourn.engine.guard import is_repeatable, others_decide
from sojourn.engine.history import PydanticAIHistory, calls_of
from sojourn.engine.questions import Verdicts, asks_of
from sojourn.engine.steps import (
    make_call_ids_unique,
    model_of,
    responded,
    run_finished,
    text_of,
    told_by,
    tool_finished,
    usage_of,
)
from sojourn.errors import AgentUnsupported, ModelRequestLimit
from sojourn.records import Usage

_NOT_RUN = "The run went on without running this call."


class TurnDriver:
    """Drives one run and says what happens in it.

    The last answer is kept back in `answer`: whether it is final is known only when the run has wound down, and then
    it is for the caller to yield, before `finished`, or instead of both `paused`.
    """

    def __init__(
        self, run: AgentRun[Any, Any], history: PydanticAIHistory, max_requests: int, decided: Verdicts
    ) -> None:
        self._run = run
        self._history = history
        self._max_requests = max_requests
        self._decided = decided
        self._node: Any = run.next_node
        self._response: ModelResponse | None = None
        #: Calls without a result, by id, with their places.
        self._open: dict[str, int] = {}
        #: Parts that the log has; kept, so that no other object gets the identity of one.
        self._told: dict[int, ModelRequestPart] = {}
        #: Whether the model is being asked.
        self.asking = False
        self.answer: ModelResponded | None = None
        self.finished: RunFinished | None = None
        self.paused: RunPaused | None = None
        # As if the agent had DeferredToolRequests among its output types; adding it to those of a run is refused
        # where the agent has output validators.
        schema = run.ctx.deps.output_schema = copy(run.ctx.deps.output_schema)
        schema.allows_deferred_tools = True
        self._others_decide = others_decide(run.ctx.deps.root_capability)

    async def steps(self) -> AsyncGenerator[Step]:
        """Everything up to the last answer."""
        await self._begin()
        while not isinstance(self._node, End):
            async with aclosing(self._node_steps()) as steps:
                async for step in steps:
                    yield step
        if self.paused is None:
            self.finished = run_finished(self._node.data.output, self._response)

    def spent(self) -> tuple[str, Usage | None]:
        """The model, and what a request that failed in the middle of its answer has used, where that is known."""
        last = self._run.ctx.state.message_history[-1]
        if not isinstance(last, ModelResponse) or last.state != "interrupted":
            return "unknown", None
        return model_of(last), usage_of(last) if last.usage.has_values() else None

    def _node_steps(self) -> AsyncGenerator[Step]:
        if isinstance(self._node, ModelRequestNode):
            return self._ask()
        if self._open:
            return self._run_tools()
        return self._judge()

    async def _begin(self) -> None:
        last = self._history.last
        self._node = await self._run.next(self._node)
        if self._decided.results is not None:
            self._response = self._node.model_response
            for call_id in self._decided.repeated:
                if call_id not in self._decided.allowed:
                    # Run as a new one, and not as one that a person has allowed: it may still ask for that.
                    self._node.tool_call_results[call_id] = None
            calls = self._history.calls
            self._open = {calls[index].tool_call_id: index for index in self._history.unanswered}
        elif isinstance(last, ModelResponse):
            # The process stopped between an answer that was refused and the reason why. pydantic-ai would ask again
            # without a word; judging it again finds the reason.
            self._node = CallToolsNode(model_response=last)
        if isinstance(last, ModelRequest):
            self._told = {id(part): part for part in last.parts}

    async def _ask(self) -> AsyncGenerator[Step]:
        # Of the turn and not of this run, which may be its second: the history has the requests before it.
        if self._history.requests >= self._max_requests:
            raise ModelRequestLimit(self._max_requests)
        yield Asking()
        late: list[ModelRequestPart] = []
        self.asking = True
        async with self._node.stream(self._run.ctx) as stream:
            async for event in stream:
                if text := text_of(event):
                    yield TextDelta(text)
                late += told_by(event)
        self._node = await self._run.next(self._node)
        self.asking = False
        if feedback := self._feedback(late):
            yield feedback
        if (response := self._new_response()) is not None:
            step = self._take(response)
            if not self._open and isinstance(self._node, CallToolsNode):
                self.answer = step
                return
            yield step
        if isinstance(self._node, ModelRequestNode):
            # A hook refused what came, or asks for something else before anything came.
            async for other in self._close_request(self._node.request.parts):
                yield other

    def _take(self, response: ModelResponse) -> ModelResponded:
        make_call_ids_unique(response, self._history.has_call)
        self._response = response
        self._open = {call.tool_call_id: index for index, call in enumerate(calls_of(response))}
        return responded(response, self._is_gated, self._is_repeatable)

    def _is_gated(self, call: ToolCallPart) -> bool:
        """Whether it is certain that the call is not run before a person has allowed it."""
        if self._others_decide:
            return False
        known = self._run.ctx.deps.tool_manager.get_tool_def(call.tool_name)
        return known is not None and known.kind == "unapproved"

    def _is_repeatable(self, call: ToolCallPart) -> bool:
        known = self._run.ctx.deps.tool_manager.get_tool_def(call.tool_name)
        return known is not None and is_repeatable(known)

    def _new_response(self) -> ModelResponse | None:
        """The response that the last request brought; None where a hook asked for another request instead."""
        if isinstance(self._node, CallToolsNode):
            return self._node.model_response
        newest = next(
            (one for one in reversed(self._run.ctx.state.message_history) if isinstance(one, ModelResponse)), None
        )
        known = self._response or self._history.response
        return None if newest is known else newest

    async def _run_tools(self) -> AsyncGenerator[Step]:
        async with self._node.stream(self._run.ctx) as events:
            async for event in events:
                # An output tool's result may still change when its siblings are done; it comes with the request.
                if isinstance(event, FunctionToolResultEvent) and (step := self._finish(event.part)):
                    yield step
        self._node = await self._run.next(self._node)
        waiting = self._waiting()
        async for other in self._close_request(self._next_parts(), waiting):
            yield other
        if waiting:
            self.paused = RunPaused(asks_of(calls_of(self._response) if self._response else [], waiting.values()))
        elif self._decided.results is not None and isinstance(self._node, ModelRequestNode):
            self._go_on_as_stored()

    def _waiting(self) -> dict[str, int]:
        """The calls that ended the run because people have to allow them, by id, with their places."""
        output = self._node.data.output if isinstance(self._node, End) else None
        if not isinstance(output, DeferredToolRequests):
            return {}
        found = {
            call.tool_call_id: self._open[call.tool_call_id]
            for call in output.approvals
            if call.tool_call_id in self._open and call.tool_call_id not in self._decided.allowed
        }
        if not found:
            raise AgentUnsupported(
                "the agent itself allowed a call which then turned out to be done elsewhere, or to need approval again"
            )
        return found

    def _go_on_as_stored(self) -> None:
        """Send what the log holds: other calls of the response were answered in an earlier run, in an order of its own.

        The log has the results in the order of the calls, and with what people changed.
        """
        last, messages = self._history.last, self._run.ctx.state.message_history
        if not isinstance(last, ModelRequest):
            return
        if isinstance(messages[-1], ModelRequest):
            messages.pop()
        self._node.request = replace(self._node.request, parts=list(last.parts))
        self._told.update((id(part), part) for part in last.parts)
        self._decided = Verdicts()

    async def _judge(self) -> AsyncGenerator[Step]:
        self._node = await self._run.next(self._node)
        if isinstance(self._node, End):
            return
        if self.answer is not None:
            refused, self.answer = self.answer, None
            yield refused
        if feedback := self._feedback(self._next_parts()):
            yield feedback

    def _next_parts(self) -> Iterable[ModelRequestPart]:
        """What the model is told next, or would be told if the run went on."""
        if isinstance(self._node, ModelRequestNode):
            return self._node.request.parts
        last = self._run.ctx.state.message_history[-1]
        return last.parts if isinstance(last, ModelRequest) else ()

    async def _close_request(
        self, parts: Iterable[ModelRequestPart], waiting: Collection[str] = ()
    ) -> AsyncGenerator[Step]:
        """What of a request the log lacks: results that had no event of their own, and everything else."""
        others: list[ModelRequestPart] = []
        for part in parts:
            if isinstance(part, ToolReturnPart):
                if step := self._finish(part):
                    yield step
            else:
                others.append(part)
        for call_id, index in list(self._open.items()):
            if call_id in waiting:
                continue
            call = self._call(call_id)
            yield tool_finished(
                index,
                ToolReturnPart(tool_name=call.tool_name, content=_NOT_RUN, tool_call_id=call_id, outcome="interrupted"),
            )
        self._open = {}
        if feedback := self._feedback(others):
            yield feedback

    def _call(self, call_id: str) -> ToolCallPart:
        calls = calls_of(self._response) if self._response else []
        return next(call for call in calls if call.tool_call_id == call_id)

    def _finish(self, part: ToolReturnPart) -> ToolFinished | None:
        index = self._open.pop(part.tool_call_id, None)
        return None if index is None else tool_finished(index, self._decided.told(index, part))

    def _feedback(self, parts: Iterable[ModelRequestPart]) -> FeedbackGiven | None:
        """A step of those parts that the log does not have yet."""
        new = [part for part in parts if id(part) not in self._told]
        self._told.update((id(part), part) for part in new)
        return FeedbackGiven(body=codec.dump_feedback(new)) if new else None


def final(answer: ModelResponded) -> ModelResponded:
    """The same answer, which ends the turn."""
    return replace(answer, final=True)
