"""What the core asks of an engine: to run one turn of the agent and to yield its steps.

The core makes each step durable before it asks for the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sojourn.abc.rows import ApprovalRow, Entry
from sojourn.errors import AgentUnsupported
from sojourn.records import Effect, Message, Session, Usage


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer as it is written; not stored."""

    text: str


@dataclass(slots=True)
class Call:
    """A tool call in a response; `digest` is a digest of its arguments."""

    index: int
    tool: str
    digest: str
    #: Whether a person is asked before it is run.
    gated: bool = False


@dataclass(slots=True)
class ModelResponded:
    """The model's whole response. None of its calls has been started when this is yielded."""

    body: str
    text: str
    calls: Sequence[Call]
    model: str
    usage: Usage
    #: Whether the turn ends with it: then nothing but `RunFinished` follows.
    final: bool = False


@dataclass(slots=True)
class ToolFinished:
    """One call's result, in the order in which they land; `index` is the call's place in the last response."""

    index: int
    body: str
    text: str = ""


@dataclass(slots=True)
class FeedbackGiven:
    """What the model is told next besides results, such as why its answer was refused."""

    body: str
    text: str = ""


@dataclass(slots=True)
class ModelRetried:
    """A request to the model failed in passing, and the engine makes it again after `wait` seconds; not stored.

    It comes before the wait. Text since the last stored step is void; the request is made as if it had never been.
    """

    #: The number of the try that follows, from 2 on.
    attempt: int
    #: Seconds.
    wait: float
    #: For people: what happened, and how long the wait is. Nothing secret, nothing of the provider's own words.
    reason: str
    #: What the request that failed has used, where that is known.
    model: str = "unknown"
    usage: Usage | None = None


@dataclass(slots=True)
class Asking:
    """The model is about to be asked; what was said into the turn meanwhile is told now.

    Then the core closes this run and begins another one, whose history has what was said.
    """


@dataclass(slots=True)
class Ask:
    """A call of the last response that a person has to allow; `arguments` is JSON, `digest` a digest of it."""

    index: int
    tool: str
    arguments: str
    digest: str


@dataclass(slots=True)
class RunPaused:
    """The run cannot go on before people have decided: last of a run; every other call of the response has finished."""

    asks: Sequence[Ask]


@dataclass(slots=True)
class RunFinished:
    """The agent stopped: last of a run. `output_json` is the output as JSON, or None where it is the text itself."""

    output: Any
    output_json: str | None
    finish_reason: str


Step = TextDelta | ModelRetried | Asking | ModelResponded | ToolFinished | FeedbackGiven | RunPaused | RunFinished


@dataclass(slots=True)
class Run:
    """What an engine gets to run: a history that ends with what the model has to answer."""

    session: Session
    turn: int
    attempt: int
    history: History
    #: What people decided of the calls of the last response that have no result; all of them, or none.
    decided: Sequence[ApprovalRow] = ()
    #: What is chosen for this session alone: `llm`, as `check_model` gave it, and `contributors`, by priority.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: The calls of the last response, by index, that were cut off and are to be run again; see `Engine.repeatable`.
    #: `decided` has those of them that people allowed.
    repeated: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ToolSeen:
    """A tool as people see it; `parameters` is a JSON schema, `server` the MCP server that has it."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    server: str | None = None


class History(ABC):
    """A session's log as the engine wants it: parsed once, extended entry by entry.

    A history that was extended piecemeal while a turn ran must equal one that was built from the stored log.

    Of what stands before a CONTEXT_CLEARED entry the model is sent nothing, though storage keeps it, and neither is it
    of results that come behind one and belong to a call before it.
    """

    @abstractmethod
    def extend(self, entries: Sequence[Entry]) -> None:
        """Take in further entries, in order; raises ValueError for one that cannot be read."""


class Engine(ABC):
    """Runs turns of one agent. One engine serves all sessions at once and holds nothing of any of them."""

    @abstractmethod
    async def open(self) -> None:
        """Make ready; raises AgentUnsupported."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and child processes."""

    @abstractmethod
    def history(self) -> History:
        """An empty history."""

    @abstractmethod
    def run(self, run: Run) -> AsyncGenerator[Step]:
        """Do the turn.

        The core stores each step before it asks for the next, so:

        * ModelResponded comes before any of its calls is started, and once for each request that the model answered;
        * ModelRetried comes only between stored steps: what was asked for before it is stored, and no tool runs;
        * the engine never changes `run.history`; the core extends it with what it stored;
        * raising ends the turn as failed, with the exception's sentence as the reason; AgentUnsupported too;
        * closing the generator or cancelling its task stops the model request and every async tool at once.
        """

    @abstractmethod
    def unknown(self, history: History, call: Effect) -> ToolFinished:
        """The result to tell the model of a call without one.

        One that was started may have happened; one that was only intended waited for a person and was not run.
        """

    def asks(self, history: History, calls: Sequence[Effect]) -> Sequence[Ask]:
        """The questions for calls of the last response that were intended and not asked about yet."""
        raise NotImplementedError

    def repeatable(self, history: History, calls: Sequence[Effect]) -> Sequence[Effect]:
        """Those of the last response's calls that may be run again, though they may have happened; here none.

        They were started and have no result. The others are closed as `unknown` has it.
        """
        return ()

    def check_model(self, llm: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is stored of a model that a session is to use: never a key. Raises InvalidInput, AgentUnsupported."""
        raise AgentUnsupported("this agent has one model; only an agent of an agent.yml can use another")

    def model(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """The model that a session with these settings uses, for people: at least its name as `model`."""
        return {"model": "unknown"}

    async def tools(self) -> Sequence[ToolSeen]:
        """The tools that the agent has now, for people."""
        return ()

    @abstractmethod
    def interrupted(self, text: str) -> str:
        """The body of a MESSAGE entry for an answer that was cut off by cancel after `text`."""

    @abstractmethod
    def message(self, entry: Entry) -> Message | None:
        """What a person sees of a MESSAGE or TOOL_RESULT entry, without parsing more than that; None for nothing."""


#: Called with the session for each run; gives the agent's `deps`.
DepsFactory = Callable[[Session], Any]
