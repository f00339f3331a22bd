"""What is said into a running turn, as the model is told it: a real runtime, a model that keeps what it is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolReturnPart, UserPromptPart

from sojourn import Sojourn
from sojourn.records import EventKind, TurnStatus
from tests.engine.core import Script


def told(messages: list[ModelMessage]) -> list[str]:
    """What a request says, in a word for each part."""
    found: list[str] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                found.append(f"user {part.content}")
            elif isinstance(part, ToolReturnPart):
                found.append(f"result {part.content}")
            elif isinstance(message, ModelResponse):
                found.append("answer" if part.part_kind == "text" else "call")
    return found


class Place:
    """A tool that waits until it is let go on."""

    def __init__(self) -> None:
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()
        self.ran = 0

    async def look(self) -> str:
        """Look."""
        self.ran += 1
        self.inside.set()
        await self.go_on.wait()
        return "seen"


@pytest.fixture
def place() -> Place:
    return Place()


def runtime(tmp_path: Path, model: Script, place: Place) -> Sojourn:
    agent = Agent(model, name="steered", tools=[place.look])
    return Sojourn(agent, storage=f"sqlite:///{tmp_path}/steer.db")


async def test_the_model_is_told_behind_the_results_and_the_tool_runs_once(tmp_path: Path, place: Place) -> None:
    model = Script([("look", {})], "done")
    async with runtime(tmp_path, model, place) as sojourn:
        sending = asyncio.create_task(sojourn.send("s", "go"))
        await place.inside.wait()
        await sojourn.steer("s", "only blue")
        place.go_on.set()
        assert (await sending).text == "done"
    assert told(model.sent[-1]) == ["user go", "call", "result seen", "user only blue"]
    assert [isinstance(message, ModelRequest) for message in model.sent[-1]] == [True, False, True]
    assert (place.ran, len(model.sent)) == (1, 2)


async def test_after_the_last_answer_the_turn_goes_on_with_it(tmp_path: Path, place: Place) -> None:
    async def steer(_: list[ModelMessage]) -> None:
        await sojourn.steer("s", "one more thing")

    steering: list[asyncio.Task[None]] = []

    def first(messages: list[ModelMessage]) -> str:
        steering.append(asyncio.get_running_loop().create_task(steer(messages)))
        return "the first answer, which is long enough to be streamed in several pieces"

    model = Script(first, "the second answer")
    async with runtime(tmp_path, model, place) as sojourn:
        reply = await sojourn.send("s", "go")
        if reply.text != "the second answer":  # it came too late to be said into that turn
            async for event in sojourn.watch("s", after=0):
                if event.kind is EventKind.TURN_ENDED and event.turn == 2:
                    break
        await asyncio.gather(*steering)
        assert {turn.status for turn in await sojourn.turns("s")} == {TurnStatus.COMPLETED}
    assert told(model.sent[-1]) == ["user go", "answer", "user one more thing"]


async def test_a_history_with_steers_is_restored_as_it_was_sent(tmp_path: Path, place: Place) -> None:
    model = Script([("look", {})], "done", "again")
    async with runtime(tmp_path, model, place) as sojourn:
        sending = asyncio.create_task(sojourn.send("s", "go"))
        await place.inside.wait()
        await sojourn.steer("s", [{"type": "text", "text": "look at this"}, {"type": "image", "image": "aGk=",
                                                                             "mimeType": "image/png"}])  # fmt: skip
        await sojourn.steer("s", "and that")
        place.go_on.set()
        await sending
        await sojourn.unload("s")
        await sojourn.send("s", "more")
    before, after = ([message.parts for message in sent] for sent in model.sent[-2:])
    assert after[: len(before)] == before
    said = [part for part in model.sent[-2][-1].parts if isinstance(part, UserPromptPart)]
    assert len(said) == 1
    assert "- look at this\n\n- and that" in str(said[0].content[0])
    assert len(said[0].content) == 2


async def test_a_steer_waits_for_the_decision_of_a_turn_that_waits(tmp_path: Path, place: Place) -> None:
    model = Script([("pay", {"sum": 1})], "done")
    agent = Agent(model, name="cashier")

    @agent.tool_plain(requires_approval=True)
    def pay(sum: int) -> str:
        """Pay."""
        return "paid"

    async with Sojourn(agent, storage=f"sqlite:///{tmp_path}/steer.db") as sojourn:
        (question,) = (await sojourn.send("s", "go", key="k")).approvals
        await sojourn.steer("s", "quickly")
        await sojourn.approve("s", question.id)
        async for event in sojourn.watch("s", after=0):
            if event.kind is EventKind.TURN_ENDED:
                break
        assert (await sojourn.send("s", "go", key="k")).text == "done"
    assert told(model.sent[-1]) == ["user go", "call", "result paid", "user quickly"]
