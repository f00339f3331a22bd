"""For tests of programs that use Sojourn: time that stands still, an engine that does what it is told."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sojourn.abc import (
    Ask,
    Call,
    Engine,
    Entry,
    FeedbackGiven,
    History,
    ModelResponded,
    ModelRetried,
    Run,
    RunFinished,
    RunPaused,
    Step,
    TextDelta,
    ToolFinished,
)
from sojourn.clock import Clock, from_ms
from sojourn.records import Effect, EffectStatus, EntryKind, Message, Role, ToolCall, Usage

__all__ = [
    "FakeClock",
    "ScriptedEngine",
    "ScriptedHistory",
    "answer",
    "ask_again",
    "call_tool",
    "feedback",
    "pause",
    "say",
    "settle",
]


class FakeClock(Clock):
    """Time that only moves when told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._elapsed = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _FakeTimer]] = []

    def now_ms(self) -> int:
        return self._now_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    def call_later(self, delay: float, callback: Callable[[], None]) -> _FakeTimer:
        timer = _FakeTimer(callback)
        heapq.heappush(self._timers, (self._elapsed + delay, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass: every timer that falls due runs at its moment, and so does what it sets off."""
        end = self._elapsed + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._elapsed = max(self._elapsed, due)
            timer.run()
            await settle()
        self._elapsed = end
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let everything run that can run without waiting for I/O."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class _FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def cancel(self) -> None:
        self._callback = None


@dataclass(slots=True)
class ScriptedHistory(History):
    """What the scripted engine knows of a session: plain tuples (role, text), from where it was cleared on."""

    told: list[tuple[str, str]] = field(default_factory=list)
    #: Whether the last response was cleared away, and so are results that are still to come.
    cleared: bool = False

    def extend(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind is EntryKind.MESSAGE:
                self.cleared = False
            if entry.kind in {EntryKind.SESSION_RESET, EntryKind.CONTEXT_CLEARED}:
                self.told.clear()
                self.cleared = True
            elif entry.kind in {EntryKind.TURN_OPENED, EntryKind.STEERED}:
                self.told.append(("user", entry.text))
            elif entry.kind is EntryKind.MESSAGE:
                self.told.append(("assistant", entry.text))
            elif entry.kind is EntryKind.TOOL_RESULT and not self.cleared:
                self.told.append(("tool", entry.text))
            elif entry.kind is EntryKind.FEEDBACK:
                self.told.append(("feedback", entry.text))


#: What a script is: given the run, it yields steps; between two of them it may wait for what it likes.
Script = Callable[[Run, ScriptedHistory], AsyncIterator[Step]]


class ScriptedEngine(Engine):
    """An engine whose every turn is played by a script, without a model."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or echo
        self.opened = False
        #: (session id, turn, attempt) of every run that was begun, in order.
        self.runs: list[tuple[str, int, int]] = []
        self.running: dict[tuple[str, str], int] = {}

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        self.opened = False

    def history(self) -> ScriptedHistory:
        return ScriptedHistory()

    async def run(self, run: Run) -> AsyncGenerator[Step]:
        if not isinstance(run.history, ScriptedHistory):
            raise TypeError(run.history)
        name = (run.session.user, run.session.id)
        self.runs.append((run.session.id, run.turn, run.attempt))
        self.running[name] = self.running.get(name, 0) + 1
        if self.running[name] > 1:
            raise AssertionError(f"two turns of {name} at once")
        steps = self.script(run, run.history)
        try:
            async for step in steps:
                yield step
        finally:
            if isinstance(steps, AsyncGenerator):
                await steps.aclose()  # now, and not when it is collected as garbage
            self.running[name] -= 1

    def asks(self, history: History, calls: Sequence[Effect]) -> Sequence[Ask]:
        return [Ask(call.index, call.tool, "{}", "") for call in calls]

    def unknown(self, history: History, call: Effect) -> ToolFinished:
        if call.status is EffectStatus.INTENDED:
            return call_tool(call.index, call.tool, f"{call.tool} was not decided")
        body = json.dumps({"format": "scripted", "call": call.index, "tool": call.tool, "outcome": "unknown"})
        return ToolFinished(call.index, body, f"the outcome of {call.tool} is unknown")

    def interrupted(self, text: str) -> str:
        return json.dumps({"format": "scripted", "interrupted": True})

    def message(self, entry: Entry) -> Message | None:
        if entry.kind not in {EntryKind.MESSAGE, EntryKind.TOOL_RESULT}:
            return None
        body = json.loads(entry.body)
        calls = [ToolCall(id=f"call-{i}", name=name, arguments="{}") for i, name in enumerate(body.get("calls", ()))]
        return Message(
            seq=entry.seq,
            turn=entry.turn,
            role=Role.ASSISTANT if entry.kind is EntryKind.MESSAGE else Role.TOOL,
            text=entry.text,
            tool_calls=calls,
            tool_call_id=f"call-{body['call']}" if "call" in body else None,
            tool_name=body.get("tool"),
            outcome=body.get("outcome"),
            created=from_ms(entry.created),
        )


def say(
    text: str,
    *,
    final: bool = False,
    calls: Sequence[str] = (),
    gated: Sequence[str] = (),
    usage: Usage | None = None,
) -> ModelResponded:
    """A response of the model, with calls of these tools; a person is asked before the `gated` ones are run."""
    body = json.dumps({"format": "scripted", "calls": list(calls)} if calls else {"format": "scripted"})
    made = [Call(index, tool, digest="", gated=tool in gated) for index, tool in enumerate(calls)]
    counted = usage or Usage(requests=1, input_tokens=10, output_tokens=5)
    return ModelResponded(body, text, made, "scripted", counted, final)


def pause(*calls: tuple[int, str], arguments: str = "{}") -> RunPaused:
    """The run stops for people: these calls, by index and tool, with the same arguments."""
    return RunPaused([Ask(index, tool, arguments, digest=arguments) for index, tool in calls])


def call_tool(index: int, tool: str, result: str) -> ToolFinished:
    """A tool's result."""
    body = json.dumps({"format": "scripted", "call": index, "tool": tool, "outcome": "success"})
    return ToolFinished(index, body, result)


async def answer(text: str) -> AsyncIterator[Step]:
    """A whole plain answer: its text in pieces, the response, the end."""
    *words, last = text.split(" ")
    for piece in (*(f"{word} " for word in words), last):
        yield TextDelta(piece)
    yield say(text, final=True)
    yield RunFinished(text, None, "stop")


async def echo(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:  # noqa: ARG001 - the shape of a script
    """Answers with what was said last."""
    async for step in answer(f"you said: {history.told[-1][1]}"):
        yield step


def feedback(text: str) -> FeedbackGiven:
    """Something that the engine tells the model of its own accord."""
    return FeedbackGiven(json.dumps({"format": "scripted"}), text)


def ask_again(reason: str = "the model's provider is overloaded; asking again in 1 s", **more: Any) -> ModelRetried:
    """A request that failed in passing; the script waits by itself where it should."""
    return ModelRetried(**{"attempt": 2, "wait": 1.0, "reason": reason, **more})
