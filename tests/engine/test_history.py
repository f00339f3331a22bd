"""The fold from the log to messages, and what people see of entries."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_ai import Agent
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from sojourn.abc import Entry
from sojourn.engine import codec
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.history import PydanticAIHistory
from sojourn.records import EntryKind, Role
from tests.engine.core import Core, Script, of, plain, said

ENGINE = PydanticAIEngine(Agent(Script()))


def entry(kind: EntryKind, body: str = "{}", text: str = "", seq: int = 1, turn: int = 1) -> Entry:
    return Entry(seq, kind, turn, body, text, 1_700_000_000_000)


def response_entry(response: ModelResponse) -> Entry:
    body, text = codec.dump_response(response)
    return entry(EntryKind.MESSAGE, body, text)


def result_entry(index: int, content: Any, outcome: Any = "success") -> Entry:
    part = ToolReturnPart(tool_name="act", content=content, tool_call_id=f"c{index}", outcome=outcome)
    body, text = codec.dump_result(index, part)
    return entry(EntryKind.TOOL_RESULT, body, text)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
stamps = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
calls: st.SearchStrategy[ToolCallPart] = st.builds(
    ToolCallPart,
    tool_name=st.just("act"),
    args=st.none() | st.just('{"a": 1}') | st.dictionaries(texts, json_values, max_size=2),
    tool_call_id=st.sampled_from(["c0", "c1", "c2"]),
)
responses = st.builds(
    ModelResponse,
    parts=st.lists(
        st.builds(TextPart, content=texts)
        | calls
        | st.builds(ThinkingPart, content=texts, signature=st.none() | texts),
        max_size=5,
    ),
    timestamp=stamps,
    model_name=st.none() | texts,
    provider_details=st.none() | st.dictionaries(texts, json_values, max_size=2),
    finish_reason=st.sampled_from([None, "stop", "length", "tool_call"]),
)


@given(responses)
def test_a_response_comes_back_as_it_was_and_its_text_is_stored_once(response: ModelResponse) -> None:
    stored = response_entry(response)
    assert codec.load_response(stored) == response
    parts = json.loads(stored.body)["message"]["parts"]
    assert all(part["content"] == "" for part in parts if part["part_kind"] == "text")


@given(st.integers(0, 9), json_values, stamps)
def test_a_result_comes_back_as_it_was(index: int, content: Any, stamp: datetime) -> None:
    part = ToolReturnPart(tool_name="act", content=content, tool_call_id="c", timestamp=stamp, metadata={"a": None})
    body, text = codec.dump_result(index, part)
    assert codec.load_result(entry(EntryKind.TOOL_RESULT, body, text)) == (index, part)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Logs as the core writes them: turns of prompts, responses, results in any order, feedback, endings, resets."""
    log: list[Entry] = []

    def put(kind: EntryKind, body: str = "{}", text: str = "") -> None:
        log.append(entry(kind, body, text, seq=len(log) + 1))

    for turn in range(draw(st.integers(1, 4))):
        put(EntryKind.TURN_OPENED, "{}", draw(texts))
        for _ in range(draw(st.integers(0, 2))):
            response = draw(responses)
            put(EntryKind.MESSAGE, *codec.dump_response(response))
            count = sum(isinstance(part, ToolCallPart) for part in response.parts)
            for index in draw(st.permutations(range(count))):
                part = ToolReturnPart(tool_name="act", content=draw(json_values), tool_call_id=f"c{index}")
                put(EntryKind.TOOL_RESULT, *codec.dump_result(index, part))
            if draw(st.booleans()):
                put(EntryKind.FEEDBACK, codec.dump_feedback([UserPromptPart(content=draw(texts))]))
            if draw(st.booleans()):
                put(EntryKind.TURN_RESUMED)
        put(EntryKind.TURN_ENDED)
        if turn and draw(st.integers(0, 9)) == 0:
            put(EntryKind.SESSION_RESET)
        if draw(st.integers(0, 4)) == 0:
            put(EntryKind.CONTEXT_CLEARED)
    return log


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_a_history_that_grew_in_pieces_equals_one_that_was_built_at_once(log: list[Entry], data: st.DataObject) -> None:
    whole, pieces = PydanticAIHistory(), PydanticAIHistory()
    whole.extend(log)
    rest = list(log)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.extend(rest[:size])
        rest = rest[size:]
    assert pieces.messages() == whole.messages()
    assert pieces.unanswered == whole.unanswered


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_messages_that_were_handed_out_do_not_change_while_the_history_grows(
    log: list[Entry], data: st.DataObject
) -> None:
    history = PydanticAIHistory()
    size = data.draw(st.integers(0, len(log)))
    history.extend(log[:size])
    handed, alone = history.messages(), PydanticAIHistory()
    alone.extend(log[:size])
    history.extend(log[size:])
    assert handed == alone.messages()


def test_each_entry_is_parsed_once() -> None:
    history = PydanticAIHistory()
    history.extend([entry(EntryKind.TURN_OPENED, text="a"), response_entry(ModelResponse(parts=[TextPart("b")]))])
    first = history.messages()
    history.extend([entry(EntryKind.TURN_OPENED, text="c")])
    assert all(one is other for one, other in zip(first, history.messages(), strict=False))


def test_a_reset_empties_the_history() -> None:
    history = PydanticAIHistory()
    history.extend([entry(EntryKind.TURN_OPENED, text="a"), response_entry(ModelResponse(parts=[TextPart("b")]))])
    history.extend([entry(EntryKind.SESSION_RESET)])
    assert history.messages() == []


def test_a_prompt_with_parts_becomes_text_and_files() -> None:
    png = base64.b64encode(b"png").decode()
    body = json.dumps(
        {
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image", "image": png, "mimeType": "image/jpeg"},
                {"type": "file", "data": png, "mimeType": "application/pdf", "filename": "a.pdf"},
            ]
        }
    )
    history = PydanticAIHistory()
    history.extend([entry(EntryKind.TURN_OPENED, body, "Look")])
    request = history.messages()[0]
    assert isinstance(request, ModelRequest)
    part = request.parts[0]
    assert isinstance(part, UserPromptPart)
    assert part.content[0] == "Look"
    assert [(item.data, item.media_type) for item in part.content if isinstance(item, BinaryContent)] == [
        (b"png", "image/jpeg"),
        (b"png", "application/pdf"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        entry(EntryKind.MESSAGE, "no json"),
        entry(EntryKind.MESSAGE, '{"format":"pydantic-ai/2.68.0"}'),
        entry(EntryKind.MESSAGE, '{"texts":[5],"message":{"kind":"response","parts":[]}}', "hello"),
        entry(EntryKind.MESSAGE, '{"message":{"kind":"response","parts":[{"part_kind":"from-the-future"}]}}'),
        entry(EntryKind.FEEDBACK, "{}"),
        entry(EntryKind.TOOL_RESULT, "{}"),
        result_entry(3, "x"),
        entry(EntryKind.TURN_OPENED, '{"content":[{"type":"smell"}]}'),
        entry(EntryKind.TURN_OPENED, '{"content":[{"type":"image","image":"a"}]}'),
    ],
)
def test_an_entry_that_cannot_be_read_raises_value_error(bad: Entry) -> None:
    with pytest.raises(ValueError, match=r"."):
        PydanticAIHistory().extend([bad])


async def test_an_answer_that_was_cut_off_is_part_of_the_history() -> None:
    model = Script("Whole.")
    core = Core(PydanticAIEngine(Agent(model)))
    core.open("Tell me a story")
    core.put(EntryKind.MESSAGE, core.engine.interrupted("Once upon"), "Once upon")
    core.put(EntryKind.TURN_ENDED)
    assert said(await core.send("Go on")) == "Whole."
    assert [content for *_, content in plain(model.sent[0])] == ["Tell me a story", "Once upon", "Go on"]
    assert model.sent[0][1].state == "interrupted"
    assert core.messages()[0].text == "Once upon"


def test_people_see_an_answer_with_its_calls() -> None:
    parts: list[ModelResponsePart] = [
        TextPart("Let me "),
        ToolCallPart("act", '{"x": 1}', "c0"),
        TextPart("see."),
        ToolCallPart("act", {"x": 2}, "c1"),
        ToolCallPart("act", None, "c2"),
    ]
    message = ENGINE.message(response_entry(ModelResponse(parts=parts)))
    assert message is not None
    assert (message.role, message.text, message.parts) == (Role.ASSISTANT, "Let me see.", [])
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == [
        ("c0", "act", '{"x": 1}'),
        ("c1", "act", '{"x":2}'),
        ("c2", "act", "{}"),
    ]
    assert message.created == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_people_see_reasoning_and_files_in_their_place() -> None:
    parts: list[ModelResponsePart] = [
        ThinkingPart("hm"),
        TextPart("Here:"),
        FilePart(BinaryContent(b"png", media_type="image/png")),
    ]
    message = ENGINE.message(response_entry(ModelResponse(parts=parts)))
    assert message is not None
    assert list(message.parts) == [
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Here:"},
        {"type": "image", "image": base64.b64encode(b"png").decode(), "mimeType": "image/png"},
    ]


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ("text", "success"),
        ({"a": [1, None, "é"]}, "success"),
        ([{"a": 1}], "success"),
        (None, "success"),
        (3.5, "success"),
        ("no", "denied"),
        ("broke", "failed"),
        ("again", "retried"),
        ([{"type": "missing", "loc": ["x"]}], "retried"),
    ],
)
def test_people_see_a_result_as_the_model_does(content: Any, outcome: Any) -> None:
    part = ToolReturnPart(tool_name="act", content=content, tool_call_id="c0", outcome=outcome)
    message = ENGINE.message(result_entry(0, content, outcome))
    assert message is not None
    assert message.text == part.model_response_str()
    assert (message.role, message.tool_call_id, message.tool_name) == (Role.TOOL, "c0", "act")
    assert message.outcome == outcome


def test_people_see_the_files_of_a_result() -> None:
    message = ENGINE.message(result_entry(0, ["a plot", BinaryContent(b"x", media_type="application/pdf")]))
    assert message is not None
    assert message.text == "a plot"
    assert message.parts[1] == {"type": "file", "data": "eA==", "mimeType": "application/pdf"}


@pytest.mark.parametrize("kind", [EntryKind.TURN_OPENED, EntryKind.FEEDBACK, EntryKind.TURN_ENDED])
def test_other_entries_are_no_messages_of_the_engine(kind: EntryKind) -> None:
    assert ENGINE.message(entry(kind)) is None


def test_the_unknown_of_a_call_that_is_not_there_is_refused() -> None:
    from sojourn.records import Effect, EffectStatus

    with pytest.raises(ValueError, match="no call 0"):
        ENGINE.unknown(ENGINE.history(), Effect(seq=1, index=0, tool="act", status=EffectStatus.STARTED))


def test_a_history_of_another_engine_is_refused() -> None:
    from sojourn.abc import History
    from sojourn.records import Effect, EffectStatus

    class Other(History):
        def extend(self, entries: object) -> None: ...

    with pytest.raises(TypeError, match="Other"):
        ENGINE.unknown(Other(), Effect(seq=1, index=0, tool="act", status=EffectStatus.STARTED))


async def test_the_live_history_equals_the_stored_one_after_every_turn() -> None:
    model = Script("a", [("act", {"x": 1})], "b", "c")
    agent = Agent(model)

    @agent.tool_plain
    def act(x: int) -> dict[str, int]:
        return {"x": x}

    core = Core(PydanticAIEngine(agent))
    for text in ("1", "2", "3"):
        assert of(await core.send(text), object)
        assert core.stored().messages() == core.history.messages()
