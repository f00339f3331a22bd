"""The engine on pydantic-ai: one agent, the runs of all sessions, nothing kept of any of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import Agent, AgentRetries, UsageLimits
from pydantic_ai.capabilities import AbstractCapability, ReinjectSystemPrompt
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.run import AgentRun

from sojourn.abc import Ask, DepsFactory, Engine, Entry, History, ModelResponded, Run, Step, ToolFinished, ToolSeen
from sojourn.clock import Clock, SystemClock
from sojourn.engine import codec
from sojourn.engine.choices import Choice, told_model, whom
from sojourn.engine.guard import Guard
from sojourn.engine.history import PydanticAIHistory
from sojourn.engine.listing import tools_of
from sojourn.engine.prompts import own_pieces, put_together
from sojourn.engine.questions import Verdicts, asks_of, verdicts
from sojourn.engine.retrying import RequestFailed, Retries
from sojourn.engine.servers import Connections
from sojourn.engine.shown import shown
from sojourn.engine.steps import unknown_result
from sojourn.engine.turn import TurnDriver, final
from sojourn.engine.view import View
from sojourn.errors import InvalidInput
from sojourn.records import Effect, Message, Session

# A server's standard error is no place for an advertisement at the first run.
os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")

#: Requests to the model in one turn; more is a loop. pydantic-ai's own default is 50.
MAX_REQUESTS = 1000

#: How often a model may correct a call or an answer where the agent leaves that to pydantic-ai's default of once.
RETRIES = 3


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How far a turn may go; raises InvalidInput."""

    #: Requests to the model in one turn; None: 1000, where nothing but a loop gets to.
    max_requests: int | None = None
    #: How often a request is made again after a passing failure.
    model_retries: int = 3
    #: What a request may hold, in tokens as they are estimated here; None: the whole history.
    max_input_tokens: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_requests", 1), ("model_retries", 0), ("max_input_tokens", 1)):
            value = getattr(self, name)
            if value is None and name != "model_retries":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidInput(name, value, f"an integer of at least {least}")


class PydanticAIEngine(Engine):
    """Runs turns of a pydantic-ai agent."""

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        deps: DepsFactory | None = None,
        options: EngineOptions = EngineOptions(),
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(agent, Agent):
            raise InvalidInput("agent", agent, "a pydantic_ai.Agent, or an Engine")
        if agent.name is None:
            # Else pydantic-ai looks for a name in the variables of whoever calls it.
            agent.name = "sojourn"
        self._agent = agent
        self._deps = deps
        self._options = options
        self._clock = clock or SystemClock()
        #: What runs use unless something else is chosen for their session.
        self.choice = Choice(options.max_requests or MAX_REQUESTS, options.max_input_tokens)
        self._retries = _retries(agent)
        self._connections: Connections | None = None

    async def open(self) -> None:
        self._connections = Connections(self._agent.toolsets, self._agent.model)
        await self._connections.open()

    async def close(self) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    def history(self) -> PydanticAIHistory:
        return PydanticAIHistory()

    async def run(self, run: Run) -> AsyncGenerator[Step]:
        history = _ours(run.history)
        decided = _verdicts(history, run)
        deps, retries = await self._make_deps(run.session), Retries(self._options.model_retries)
        async with self.choose(run.settings) as choice:
            while True:
                play = _Play(run.session.id, history, deps, decided, choice)
                try:
                    async with aclosing(self._run_agent(play)) as steps:
                        async for step in steps:
                            if isinstance(step, ModelResponded):
                                retries.answered()
                            yield step
                    return
                except RequestFailed as error:
                    failed = error
                again = retries.after(failed, lambda: self._asked(run, choice))
                del failed  # and with it the run that broke, before the wait
                yield again
                await self._clock.sleep(again.wait)
                # As after a crash: the history has all that was stored, and nothing of it is done twice.
                decided = _verdicts(history, run)

    @asynccontextmanager
    async def choose(self, settings: Mapping[str, Any]) -> AsyncGenerator[Choice]:
        """What a run in a session with these settings uses, for as long as it runs."""
        pieces = put_together(one.content for one in own_pieces(settings) if one.enabled)
        yield replace(self.choice, instructions=pieces or None)

    async def _run_agent(self, play: _Play) -> AsyncGenerator[Step]:
        """One run from where the history ends; raises RequestFailed where the model gave no answer."""
        driver: TurnDriver | None = None
        guard = Guard(play.decided.allowed, play.decided.repeated)
        try:
            async with self._iter(play, guard) as agent_run:
                driver = TurnDriver(agent_run, play.history, play.choice.max_requests, play.decided)
                async with aclosing(driver.steps()) as steps:
                    async for step in steps:
                        yield step
        except Exception as error:
            if driver is not None and driver.answer is not None:
                yield driver.answer  # it was paid for, and the next turn refers to it
            if driver is not None and driver.asking:
                raise RequestFailed(error, *driver.spent()) from error
            raise
        finally:
            await guard.wind_up()
        if driver.answer is not None:
            yield final(driver.answer)
        if driver.finished is not None:
            yield driver.finished
        if driver.paused is not None:
            yield driver.paused

    def unknown(self, history: History, call: Effect) -> ToolFinished:
        return unknown_result(_ours(history), call)

    def asks(self, history: History, calls: Sequence[Effect]) -> Sequence[Ask]:
        return asks_of(_ours(history).calls, [call.index for call in calls])

    def repeatable(self, history: History, calls: Sequence[Effect]) -> Sequence[Effect]:
        known = _ours(history)
        return [call for call in calls if call.index in known.repeatable and call.index in known.unanswered]

    def interrupted(self, text: str) -> str:
        body, _ = codec.dump_response(ModelResponse(parts=[TextPart(content=text)], state="interrupted"))
        return body

    def message(self, entry: Entry) -> Message | None:
        return shown(entry)

    async def tools(self) -> Sequence[ToolSeen]:
        return await tools_of(self._agent)

    async def _make_deps(self, session: Session) -> Any:
        if self._deps is None:
            return None
        made = self._deps(session)
        return await made if inspect.isawaitable(made) else made

    def model(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return told_model(self._agent.model)

    def _asked(self, run: Run, choice: Choice) -> str:
        """The provider and where it answers."""
        return whom(self.model(run.settings), choice.model or self._agent.model)

    def _iter(self, play: _Play, guard: Guard) -> AbstractAsyncContextManager[AgentRun[Any, Any]]:
        choice = play.choice
        # Limits and no `usage=` or `conversation=`: with those a limit of one run becomes one of the session's life.
        return self._agent.iter(
            message_history=play.history.messages(choice.max_input_tokens),
            deferred_tool_results=play.decided.results,
            conversation_id=play.session,
            model=choice.model,
            instructions=choice.instructions,
            deps=play.deps,
            usage_limits=UsageLimits(request_limit=choice.max_requests),
            retries=self._retries,
            capabilities=self._capabilities(play, guard),
            infer_name=False,
        )

    def _capabilities(self, play: _Play, guard: Guard) -> list[AbstractCapability[Any]]:
        found: list[AbstractCapability[Any]] = [guard]
        if _has_system_prompt(self._agent):
            # pydantic-ai adds `system_prompt=` to a history that it begins itself; ours begins with the user's message,
            # and holds no system prompt, so that a changed one takes effect.
            found.append(ReinjectSystemPrompt())
        if play.choice.max_input_tokens is not None:
            # Last, since all the others add to a request.
            found.append(View(play.history, play.choice.max_input_tokens))
        return found


@dataclass(frozen=True, slots=True)
class _Play:
    """What one run of the agent is given."""

    #: The session's id.
    session: str
    history: PydanticAIHistory
    deps: Any
    decided: Verdicts
    choice: Choice


def _ours(history: History) -> PydanticAIHistory:
    if not isinstance(history, PydanticAIHistory):
        raise TypeError(f"expected a history of this engine, found {type(history).__name__}")
    return history


def _verdicts(history: PydanticAIHistory, run: Run) -> Verdicts:
    """The verdicts that are left to carry out.

    Refuses what pydantic-ai would not: to run calls that may have been run before.
    """
    left = set(history.unanswered) - {row.index for row in run.decided} - set(run.repeated)
    if left:
        raise ValueError(f"calls {sorted(left)} of the last response have no result")
    if history.last is None:
        raise ValueError("the history is empty: there is nothing to answer")
    return verdicts(history.calls, history.unanswered, run.decided, run.repeated)


def _retries(agent: Agent[Any, Any]) -> AgentRetries:
    """Budgets for what the agent left at pydantic-ai's default; an agent's own choice of one is taken for that too."""
    retries = AgentRetries()
    if getattr(agent, "_max_tool_retries", None) == 1:
        retries["tools"] = RETRIES
    if getattr(agent, "_max_output_retries", None) == 1:
        retries["output"] = RETRIES
    return retries


def _has_system_prompt(agent: Agent[Any, Any]) -> bool:
    """Whether `system_prompt=` or its decorator was used; where that cannot be told, it is assumed."""
    prompts = getattr(agent, "_system_prompts", True)
    return bool(prompts or getattr(agent, "_system_prompt_functions", True))
