"""What the engine's tests share: a core that keeps the log in a list, and a model that says what a script says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from sojourn.abc import (
    ApprovalRow,
    Asking,
    Engine,
    Entry,
    FeedbackGiven,
    ModelResponded,
    Run,
    RunFinished,
    RunPaused,
    Step,
    TextDelta,
    ToolFinished,
)
from sojourn.engine.history import PydanticAIHistory
from sojourn.records import Effect, EffectStatus, EntryKind, Message, Session, SessionStatus

T = TypeVar("T")

START = datetime(2026, 11, 1, tzinfo=UTC)

#: What a model says at one request: text, calls as (tool, arguments[, id]), or something that computes or raises it.
Line = str | list[tuple[Any, ...]] | BaseException | Callable[[list[ModelMessage]], Any]

KINDS = {
    ModelResponded: EntryKind.MESSAGE,
    ToolFinished: EntryKind.TOOL_RESULT,
    FeedbackGiven: EntryKind.FEEDBACK,
}


class Script(FunctionModel):
    """A model that says its lines in order and remembers what it was sent."""

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)
        self.sent: list[list[ModelMessage]] = []
        super().__init__(self._whole, stream_function=self._play, model_name="script")

    async def _play(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        line = self.lines[len(self.sent)]
        self.sent.append(list(messages))
        if callable(line):
            line = line(messages)
        if isinstance(line, BaseException):
            raise line
        if isinstance(line, str):
            for word in re.findall(r"\S+\s*", line):
                yield word
            return
        yield {
            place: DeltaToolCall(name=call[0], json_args=_json(call[1]), tool_call_id=call[2] if call[2:] else None)
            for place, call in enumerate(line)
        }

    async def _whole(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        text, calls = "", list[ToolCallPart]()
        async for piece in self._play(messages, info):
            if isinstance(piece, str):
                text += piece
                continue
            for call in piece.values():
                calls.append(ToolCallPart(call.name or "", call.json_args, call.tool_call_id or f"c{len(calls)}"))
        return ModelResponse(parts=[*calls] if calls else [TextPart(text)])


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Core:
    """One session, kept as the real core keeps it: every step is in the log before the next is asked for."""

    def __init__(self, engine: Engine, log: Sequence[Entry] = (), id: str = "s") -> None:
        self.engine = engine
        self.id = id
        self.log: list[Entry] = []
        self.turn = 0
        self.history = new_history(engine)
        for entry in log:
            self.log.append(entry)
            self.turn = entry.turn
        self.history.extend(self.log)

    def put(self, kind: EntryKind, body: str = "{}", text: str = "") -> Entry:
        entry = Entry(len(self.log) + 1, kind, self.turn, body, text, 1000 * len(self.log))
        self.log.append(entry)
        self.history.extend([entry])
        return entry

    def open(self, text: str, body: str = "{}") -> None:
        self.turn += 1
        self.put(EntryKind.TURN_OPENED, body, text)

    def store(self, step: Step) -> None:
        if isinstance(step, ModelResponded | ToolFinished | FeedbackGiven):
            self.put(KINDS[type(step)], step.body, step.text)

    def run(self, decided: Sequence[ApprovalRow] = ()) -> Run:
        return Run(session=session(self.id), turn=self.turn, attempt=1, history=self.history, decided=decided)

    async def go(
        self, stop: Callable[[Step], bool] = lambda _: False, decided: Sequence[ApprovalRow] = ()
    ) -> list[Step]:
        """Run the open turn, up to and with the step at which the process is to stop."""
        steps: list[Step] = []
        async with aclosing(self.engine.run(self.run(decided))) as run:
            async for step in run:
                if isinstance(step, Asking):
                    continue  # nothing was said into the turn
                self.store(step)
                steps.append(step)
                if stop(step):
                    return steps
        if not of(steps, RunPaused):
            self.put(EntryKind.TURN_ENDED)
        return steps

    async def send(self, text: str, body: str = "{}") -> list[Step]:
        self.open(text, body)
        return await self.go()

    def close_calls(self) -> None:
        """What the core does with calls that were started and have no result."""
        seq = max(entry.seq for entry in self.log if entry.kind is EntryKind.MESSAGE)
        for index in self.history.unanswered:
            call = self.history.calls[index]
            effect = Effect(seq=seq, index=index, tool=call.tool_name, status=EffectStatus.STARTED)
            self.store(self.engine.unknown(self.history, effect))

    def stored(self) -> PydanticAIHistory:
        """The history as another process would read it."""
        history = new_history(self.engine)
        history.extend(self.log)
        return history

    def messages(self) -> list[Message]:
        return [message for entry in self.log if (message := self.engine.message(entry))]


def new_history(engine: Engine) -> PydanticAIHistory:
    history = engine.history()
    assert isinstance(history, PydanticAIHistory)
    return history


def session(id: str = "s") -> Session:
    return Session(
        id=id,
        user="local",
        title=None,
        created=START,
        last_activity=START,
        message_count=0,
        parent=None,
        status=SessionStatus.RUNNING,
    )


def of(steps: Sequence[Step], kind: type[T]) -> list[T]:
    return [step for step in steps if isinstance(step, kind)]


def said(steps: Sequence[Step]) -> str:
    """The last answer's text."""
    return of(steps, ModelResponded)[-1].text


def streamed(steps: Sequence[Step]) -> str:
    return "".join(step.text for step in of(steps, TextDelta))


def shape(steps: Sequence[Step]) -> list[str]:
    """The kinds of steps in order, the pieces of text left out."""
    return [type(step).__name__ for step in steps if not isinstance(step, TextDelta)]


def finish(steps: Sequence[Step]) -> RunFinished:
    last = steps[-1]
    assert isinstance(last, RunFinished)
    return last


def returns(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    """The tool results in the last request."""
    return [part for part in last_parts(messages) if isinstance(part, ToolReturnPart)]


def last_parts(messages: Sequence[ModelMessage]) -> Sequence[ModelRequestPart]:
    last = messages[-1]
    assert isinstance(last, ModelRequest)
    return last.parts


def plain(messages: Sequence[ModelMessage]) -> list[Any]:
    """Messages reduced to what a model is told: who said what, with calls and results by their ids."""
    return [
        (
            message.kind,
            part.part_kind,
            getattr(part, "tool_name", None),
            getattr(part, "tool_call_id", None) if part.part_kind != "retry-feedback" else None,
            getattr(part, "args", None),
            _plain_content(getattr(part, "content", None)),
        )
        for message in messages
        for part in message.parts
    ]


def _plain_content(content: Any) -> Any:
    """Content without what a round trip may add: an image knows afterwards that it is one."""
    if isinstance(content, BinaryContent):
        return (content.media_type, content.data)
    return [_plain_content(item) for item in content] if isinstance(content, list) else content
