"""What of a long history a model is sent: whole turns from the end, whatever the history and the limit are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    RetryInfo,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from sojourn.abc import ModelResponded
from sojourn.engine import codec, tokens
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.engine.history import PydanticAIHistory
from sojourn.engine.tokens import part_tokens, parts_tokens, text_tokens
from sojourn.engine.view import STRIDE, first_turn, known_limit
from sojourn.records import EntryKind
from tests.engine.core import Core, Line, Script, last_parts, of, plain, said
from tests.engine.wire import calls, serving, text

# -- any history, any limit

#: What happens in a turn: how long its words are, and what the agent does.
EVENTS = st.sampled_from(["say", "call", "call two", "call and lose", "feedback", "feedback between", "think", "image"])
TURNS = st.lists(st.tuples(st.integers(0, 60), st.lists(EVENTS, max_size=5)), min_size=1, max_size=12)


class Told:
    """A log that is put together, and beside it what belongs to which turn."""

    def __init__(self) -> None:
        self.core = Core(PydanticAIEngine(Agent(TestModel())))
        self.turns: list[list[Any]] = []
        self.calls = 0

    def turn(self, length: int, events: Sequence[str]) -> None:
        self.core.open("x" * (length + 1))
        # What an earlier turn left open may land only now.
        for index in self.core.history.unanswered:
            self._result(index)
        self.turns.append([])
        self._note(last_parts(self.core.history.messages())[-1])
        for event in events:
            self._play(event)

    def _play(self, event: str) -> None:
        if event.startswith("call"):
            wanted = 2 if event == "call two" else 1
            self._respond([self._call() for _ in range(wanted)])
            for index in reversed(range(wanted)):
                if event != "call and lose":
                    self._result(index)
        elif event.startswith("feedback"):
            if event == "feedback":
                self._respond([TextPart("wrong")])
            part = again("again, please")
            self.core.put(EntryKind.FEEDBACK, codec.dump_feedback([part]))
            self._note(last_parts(self.core.history.messages())[-1])
        elif event == "think":
            self._respond([ThinkingPart("hm", signature="abc"), TextPart("so")])
        elif event == "image":
            self._respond([TextPart("an image"), TextPart("of a cat")])
        else:
            self._respond([TextPart("I say so")])

    def _call(self) -> ToolCallPart:
        self.calls += 1
        return ToolCallPart("act", {"x": self.calls}, tool_call_id=f"c{self.calls}")

    def _respond(self, parts: Sequence[Any]) -> None:
        for index in self.core.history.unanswered:
            self._result(index)  # the core lets no model be asked before
        body, words = codec.dump_response(ModelResponse(parts=list(parts)))
        self.core.put(EntryKind.MESSAGE, body, words)
        response = self.core.history.last
        assert response is not None
        for part in response.parts:
            self._note(part)

    def _result(self, index: int) -> None:
        call = self.core.history.calls[index]
        part = ToolReturnPart("act", "done", tool_call_id=call.tool_call_id)
        self.core.put(EntryKind.TOOL_RESULT, *codec.dump_result(index, part))
        landed = next(
            part
            for part in last_parts(self.core.history.messages())
            if isinstance(part, ToolReturnPart) and part.tool_call_id == call.tool_call_id
        )
        # A result belongs to its call's turn, whenever it lands.
        owner = next(turn for turn in self.turns if any(part is call for part in turn))
        owner.append(landed)

    def _note(self, part: Any) -> None:
        self.turns[-1].append(part)


def again(words: str) -> RetryFeedbackPart:
    return RetryFeedbackPart(content=words, retry=RetryInfo(cause="model_retry"))


def parts_of(messages: Sequence[ModelMessage]) -> list[Any]:
    return [part for message in messages for part in message.parts]


@settings(max_examples=150, deadline=None)
@given(TURNS, st.integers(1, 1500))
def test_a_view_is_whole_turns_from_the_end_that_fit_or_the_newest_alone(
    turns: list[tuple[int, list[str]]], limit: int
) -> None:
    told = Told()
    for length, events in turns:
        told.turn(length, events)
    history = told.core.history
    whole, view = history.messages(), history.messages(limit)
    shown = {id(part) for part in parts_of(view)}
    # Whole turns: each is there with all its parts, or with none; and they are the last ones.
    kept = [all(id(part) in shown for part in turn) for turn in told.turns]
    gone = [not any(id(part) in shown for part in turn) for turn in told.turns]
    first = kept.index(True)
    assert all(kept[first:])
    assert all(gone[:first])
    # In the same order, nothing else, nothing twice.
    assert parts_of(view) == [part for part in parts_of(whole) if id(part) in shown]
    assert len(shown) == len(parts_of(view)) == sum(len(turn) for turn in told.turns[first:])
    # It fits, or it is the newest turn alone; and nothing was cut where everything fits.
    size = parts_tokens(parts_of(view))
    assert size <= limit or first == len(told.turns) - 1
    assert history.tokens == parts_tokens(parts_of(whole))
    assert first == 0 or history.tokens > limit
    # What was left out for the sake of a resting beginning is less than a stride and a turn.
    if first > 0:
        spare = limit - size
        assert spare <= -(-limit // STRIDE) + parts_tokens(told.turns[first - 1])
    # No call without its result in front of the open end, no result without its call.
    asked = [part.tool_call_id for part in parts_of(view) if isinstance(part, ToolCallPart)]
    answered = [part.tool_call_id for part in parts_of(view) if isinstance(part, ToolReturnPart)]
    assert set(answered) <= set(asked)
    assert len(asked) - len(answered) == len(history.unanswered)
    assert isinstance(view[0], ModelRequest)
    # The same from storage.
    assert plain(told.core.stored().messages(limit)) == plain(view)
    # The history itself is untouched.
    assert history.messages() == whole


@given(TURNS, st.integers(1, 1500), st.integers(0, 500))
@settings(max_examples=80, deadline=None)
def test_more_around_the_messages_never_shows_more_of_them(
    turns: list[tuple[int, list[str]]], limit: int, more: int
) -> None:
    told = Told()
    for length, events in turns:
        told.turn(length, events)
    history = told.core.history
    shown = [first_turn(history.turns, history.tokens, limit, around) for around in (0, more, 2 * more, 3 * more)]
    assert shown == sorted(shown)


def test_a_reset_forgets_sizes_too() -> None:
    told = Told()
    told.turn(100, ["say", "call"])
    told.core.put(EntryKind.SESSION_RESET)
    history = told.core.history
    assert (history.turns, history.tokens, history.requests, history.last) == ([], 0, 0, None)
    assert history.messages(5) == []
    told.core.open("new")
    assert [part[-1] for part in plain(history.messages(1))] == ["new"]


# -- what arrives at a model


class Handed(AbstractCapability[Any]):
    """Notes how many messages a run holds at each request."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
        self.counts.append(len(ctx.messages))
        return request_context


async def test_only_what_is_in_the_view_is_handed_over_and_nothing_is_counted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed = Handed()
    core = Core(PydanticAIEngine(Agent(Script(*["y" * 30] * 4), capabilities=[handed])))
    for number in range(3000):
        core.open(f"turn {number} " + "x" * 60)
        core.put(EntryKind.MESSAGE, *codec.dump_response(ModelResponse(parts=[TextPart("y" * 60)])))
    core.engine = PydanticAIEngine(
        Agent(Script("ok"), capabilities=[handed]), options=EngineOptions(max_input_tokens=600)
    )
    core.open("now")
    counted: list[Any] = []

    def counting(part: Any) -> int:
        counted.append(part)
        return part_tokens(part)

    monkeypatch.setattr(tokens, "part_tokens", counting)
    await core.go()
    assert 3 <= handed.counts[-1] <= 25
    # The answer, and nothing that was there before.
    assert len(counted) == 1


ROUNDS = 5


def talk(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers a question at once, and a long one after five calls."""
    own = next(place for place in reversed(range(len(messages))) if messages[place]["role"] == "user")
    done = sum(message["role"] == "tool" for message in messages[own:])
    if messages[own]["content"].startswith("long") and done < ROUNDS:
        return calls(("act", f'{{"x": {done}}}'))
    return text("A short answer to it")


async def test_what_arrives_over_a_wire_fits_and_begins_with_a_prompt() -> None:
    limit = 600
    async with serving(talk) as wire:
        agent = Agent(wire.model(), instructions="Be brief. " * 10)

        @agent.tool_plain
        def act(x: int) -> str:
            """Does something, and says a lot about it."""
            return f"result {x} " + "w" * 150

        core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=limit)))
        for number in range(12):
            await core.send(f"question {number} " + "q" * 100)
        sizes = [len(sent) for sent in wire.sent]
        assert sizes[:3] == [2, 4, 6]
        assert max(sizes) < 20
        before = len(wire.sent)
        await core.send("long story " + "s" * 200)
        story = wire.sent[before:]
        assert len(story) == ROUNDS + 1
        for sent in wire.sent:
            assert sent[0]["role"] == "system"
            assert sent[1]["role"] == "user"
            told = sum(text_tokens(str(message["content"] or "")) for message in sent)
            assert told <= limit or sum(message["role"] == "user" for message in sent) == 1
        # The turn grows, older ones make room for it, and of itself it loses nothing.
        for place, sent in enumerate(story):
            own = next(index for index, message in enumerate(sent) if str(message["content"]).startswith("long"))
            assert len(sent) - own == 1 + 2 * place
        assert [sum(message["role"] == "user" for message in sent) for sent in story][-1] == 1
        assert len(story[0]) > 3
        # History shows everything.
        assert len(core.messages()) == 12 + 2 * ROUNDS + 1
        # Providers' caches: a view begins where the one before it began, most of the time.
        begins = [sent[1]["content"] for sent in wire.sent[:before]]
        assert len(set(begins)) < len(begins) * 0.7


async def test_a_turn_that_is_taken_up_again_is_sent_what_it_would_have_been_sent() -> None:
    limit = EngineOptions(max_input_tokens=400)

    def lines(model: Script) -> Agent[None, str]:
        agent = Agent(model, instructions="Be brief.")

        @agent.tool_plain
        def act(x: int) -> str:
            return "w" * 60

        return agent

    script: list[Line] = [*["y" * 40] * 8, [("act", {"x": 1}, "c1")], [("act", {"x": 2}, "c2")], "done"]
    straight, broken = Script(*script), Script(*script)
    core = Core(PydanticAIEngine(lines(straight), options=limit))
    for number in range(8):
        await core.send(f"{number} " + "x" * 40)
    await core.send("now")

    other = Core(PydanticAIEngine(lines(broken), options=limit))
    for number in range(8):
        await other.send(f"{number} " + "x" * 40)
    other.open("now")
    for _ in range(2):
        await other.go(stop=lambda step: type(step).__name__ == "ToolFinished")
        other = Core(other.engine, other.log)
    await other.go()
    assert [plain(sent) for sent in broken.sent] == [plain(sent) for sent in straight.sent]
    assert len(straight.sent[-1]) < len(core.history.messages()) - 1


async def test_a_request_that_holds_the_end_of_one_turn_and_the_next_prompt_is_cut_between_them() -> None:
    told = Told()
    told.turn(300, ["say", "call and lose"])
    told.core.close_calls()
    told.core.put(EntryKind.FEEDBACK, codec.dump_feedback([again("x" * 300)]))
    model = Script("fine", "fine")
    told.core.engine = PydanticAIEngine(Agent(model), options=EngineOptions(max_input_tokens=60))
    await told.core.send("next")
    assert plain(model.sent[0]) == [("request", "user-prompt", None, None, None, "next")]
    assert len(told.core.messages()) == 4
    await told.core.send("and next")
    assert [part[1] for part in plain(model.sent[1])] == ["user-prompt", "text", "user-prompt"]


@pytest.mark.parametrize("dynamic", [False, True])
async def test_a_system_prompt_of_the_agents_stays_at_the_beginning(dynamic: bool) -> None:  # noqa: FBT001
    model = Script(*["y" * 50] * 5, [("act", {})], "done")
    agent = Agent(model, system_prompt=() if dynamic else "You are terse.")
    if dynamic:
        agent.system_prompt(dynamic=True)(lambda: "You are terse.")

    @agent.tool_plain
    def act() -> str:
        return "r" * 90

    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=150)))
    for number in range(6):
        await core.send(f"{number} " + "x" * 50)
    for sent in model.sent:
        first = sent[0]
        assert isinstance(first.parts[0], SystemPromptPart)
        assert isinstance(first.parts[1], UserPromptPart)
        assert sum(isinstance(part, SystemPromptPart) for part in parts_of(sent)) == 1
    assert max(len(sent) for sent in model.sent) < len(core.history.messages())


async def shown(agent: Agent[None, str], model: Script) -> int:
    """How many messages the last request of a long conversation has."""
    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=400)))
    for number in range(len(model.lines)):
        await core.send(f"{number} " + "x" * 50)
    return len(model.sent[-1])


async def test_tools_and_instructions_count() -> None:
    plain_model, told_model, tool_model = (Script(*["y" * 50] * 12) for _ in range(3))
    tooled = Agent(tool_model)

    @tooled.tool_plain
    def act(x: int, y: dict[str, list[int]]) -> str:
        """Acts, which needs many words to explain, more than anybody would like to read in a description of a tool."""
        return ""

    bare = await shown(Agent(plain_model), plain_model)
    assert await shown(Agent(told_model, instructions="Be brief. " * 40), told_model) < bare
    assert await shown(tooled, tool_model) < bare


async def test_without_a_limit_nothing_is_cut() -> None:
    model = Script(*["y" * 500] * 30)
    core = Core(PydanticAIEngine(Agent(model)))
    for _ in range(30):
        await core.send("x" * 500)
    assert [len(sent) for sent in model.sent] == [2 * number + 1 for number in range(30)]


async def test_a_newest_turn_that_does_not_fit_is_sent_whole_and_alone() -> None:
    model = Script("ok", [("act", {})], "done")
    agent = Agent(model)

    @agent.tool_plain
    def act() -> str:
        return "r" * 3000

    core = Core(PydanticAIEngine(agent, options=EngineOptions(max_input_tokens=10)))
    await core.send("first")
    steps = await core.send("second " + "x" * 900)
    assert said(steps) == "done"
    assert [len(sent) for sent in model.sent] == [1, 1, 3]
    assert len(of(steps, ModelResponded)) == 2


# -- sizes


@given(st.text(max_size=200))
def test_every_text_has_tokens_and_more_text_has_more(words: str) -> None:
    size = text_tokens(words)
    assert (size == 0) == (not words)
    assert len(words) / 3 <= size <= 3 * len(words)
    assert text_tokens(words + "x") >= size
    assert text_tokens(words) + text_tokens("é") >= text_tokens(words + "é")


def test_lone_surrogates_and_strange_values_have_sizes() -> None:
    assert text_tokens("\ud800") > 0
    strange: list[Any] = [
        None, 5, 1.5, True, b"raw", object(), {"a": [1, "b", {"c": None}]}, [], ["x", ImageUrl("https://x.test/i.png")],
        BinaryContent(b"x" * 300, media_type="image/png"), [BinaryContent(b"x" * 30000, media_type="application/pdf")],
        BinaryContent(b"x" * 300, media_type="audio/wav"), BinaryContent(b"x" * 300, media_type="text/plain"),
    ]  # fmt: skip
    for value in strange:
        assert part_tokens(ToolReturnPart("t", value, tool_call_id="c")) >= 8


def test_what_is_no_text_counts_by_kind_and_size() -> None:
    def size(data: bytes, media_type: str) -> int:
        return part_tokens(UserPromptPart([BinaryContent(data, media_type=media_type)]))

    assert 1600 <= size(b"x" * 100, "image/png") < size(b"x" * 10**6, "image/png") <= 5100
    assert size(b"x" * 10**6, "application/pdf") > size(b"x" * 10**6, "audio/mpeg") > 30_000


def test_the_limit_of_a_known_model_is_what_its_answer_leaves_of_its_window() -> None:
    def model(name: str) -> OpenAIChatModel:
        return OpenAIChatModel(name, provider=OpenAIProvider(api_key="x"))

    known = known_limit(model("gpt-4o"))
    assert known is not None
    assert known >= 100_000
    assert known_limit(model("gpt-4o"), 1000) == known - 1000
    assert known_limit(model("nobody-knows-it")) is None


def test_a_history_that_grew_has_the_sizes_of_one_that_was_read() -> None:
    told = Told()
    for events in (["say"], ["call two", "feedback"], ["call and lose"], ["think"]):
        told.turn(50, events)
    grown, read = told.core.history, told.core.stored()
    assert isinstance(read, PydanticAIHistory)
    assert (grown.tokens, grown.requests) == (read.tokens, read.requests)
    assert [(mark.place, mark.before) for mark in grown.turns] == [(mark.place, mark.before) for mark in read.turns]
