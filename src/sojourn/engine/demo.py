"""An agent that needs no network and no key: a handful of rules over the conversation, and no language model.

It shows what Sojourn keeps: everything it says about you it finds in the session's own history.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from sojourn.engine.demo_talk import Add, Ask, Clock, Fact, Other, Roll, Saying, key_of, read

ABOUT = (
    "I am Sojourn's demo model, not a language model. "
    'Tell me something like "My favourite colour is teal.", then ask "What is my favourite colour?"; '
    'or try "Roll a die", "What time is it?" or "What is 2 + 3?".'
)


def demo_agent() -> Agent[None, str]:
    """The agent, with its tools; deterministic but for dice and clock."""
    model = FunctionModel(_respond, stream_function=_stream, model_name="sojourn-demo")
    return Agent(model, name="sojourn-demo", deps_type=type(None), tools=[roll_dice, clock, add])


def roll_dice(sides: int = 6) -> int:
    """Roll one die."""
    if sides < 1:
        raise ValueError(f"a die has at least one side, not {sides}")
    return random.randint(1, sides)  # noqa: S311 - a game


def clock() -> str:
    """The time, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the answer is made from: the sayings of the last message, what was known with it, the results so far."""

    sayings: Sequence[Saying]
    facts: dict[str, Fact]
    results: Sequence[ToolReturnPart]


def _respond(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    scene = _scene(messages)
    if calls := _calls(scene):
        return ModelResponse(parts=[ToolCallPart(tool_name=name, args=args) for name, args in calls])
    return ModelResponse(parts=[TextPart(content=_answer(scene))])


async def _stream(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    scene = _scene(messages)
    if calls := _calls(scene):
        yield {place: DeltaToolCall(name=name, json_args=args) for place, (name, args) in enumerate(calls)}
        return
    for word in re.findall(r"\S+\s*", _answer(scene)):
        yield word


def _scene(messages: Sequence[ModelMessage]) -> _Scene:
    facts: dict[str, Fact] = {}
    sayings: Sequence[Saying] = ()
    results: list[ToolReturnPart] = []
    for message in messages:
        if not isinstance(message, ModelRequest):
            continue
        said = [part for part in message.parts if isinstance(part, UserPromptPart)]
        for part in said:
            sayings = read(_text(part))
            facts.update((key_of(fact.what), fact) for fact in sayings if isinstance(fact, Fact))
        # Results that stand before a prompt belong to what was said before it.
        results = [] if said else [*results, *(part for part in message.parts if isinstance(part, ToolReturnPart))]
    return _Scene(sayings, facts, results)


def _text(part: UserPromptPart) -> str:
    content = part.content
    return content if isinstance(content, str) else " ".join(item for item in content if isinstance(item, str))


def _calls(scene: _Scene) -> list[tuple[str, str]]:
    """The tools to call for the last message, as name and arguments; none when they have been called."""
    if scene.results:
        return []
    calls: list[tuple[str, str]] = []
    for saying in scene.sayings:
        if isinstance(saying, Roll):
            calls.append(("roll_dice", f'{{"sides":{saying.sides}}}'))
        elif isinstance(saying, Clock):
            calls.append(("clock", "{}"))
        elif isinstance(saying, Add):
            calls.append(("add", f'{{"a":{saying.a},"b":{saying.b}}}'))
    return calls


def _answer(scene: _Scene) -> str:
    results = iter(scene.results)
    sentences = [sentence for saying in scene.sayings if (sentence := _sentence(saying, scene.facts, results))]
    return " ".join(dict.fromkeys(sentences)) or ABOUT


def _sentence(saying: Saying, facts: dict[str, Fact], results: Iterator[ToolReturnPart]) -> str:
    match saying:
        case Fact():
            return f"Noted: your {saying.what} {saying.verb} {saying.value}."
        case Ask():
            known = next((fact for what in saying.names if (fact := facts.get(key_of(what)))), None)
            if known is None:
                return f"You have not told me your {saying.names[0]} in this conversation."
            return f"Your {known.what} {known.verb} {known.value}."
        case Roll():
            return _told(next(results, None), f"I rolled a {saying.sides}-sided die: {{}}.")
        case Clock():
            return _told(next(results, None), "It is {}.")
        case Add():
            return _told(next(results, None), f"{saying.a} + {saying.b} = {{}}.")
        case Other():
            return ABOUT


def _told(result: ToolReturnPart | None, sentence: str) -> str:
    if result is None or result.outcome != "success":
        said = "nothing" if result is None else result.model_response_str(wrap_if_error=False)
        return f"The tool gave no result: {said}"
    value = result.content
    return sentence.format(int(value) if isinstance(value, float) and value.is_integer() else value)
