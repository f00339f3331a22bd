"""The demo agent: what it says about you comes from the session's history."""

from __future__ import annotations

import pytest

from sojourn.abc import ModelResponded, TextDelta
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.demo import ABOUT, demo_agent
from tests.engine.core import Core, of, said, streamed


async def talk(*texts: str) -> list[str]:
    core = Core(PydanticAIEngine(demo_agent()))
    return [said(await core.send(text)) for text in texts]


@pytest.mark.parametrize("text", ["Hello!", "", "Tell me a story", "¿Qué?", "?"])
async def test_it_says_that_it_is_no_language_model(text: str) -> None:
    assert await talk(text) == [ABOUT]
    assert ABOUT.startswith("I am Sojourn's demo model, not a language model.")


@pytest.mark.parametrize(
    ("told", "asked", "answer"),
    [
        ("My favourite colour is teal.", "What is my favourite colour?", "Your favourite colour is teal."),
        ("My favourite colour is teal.", "what's MY favorite color again?", "Your favourite colour is teal."),
        ("My favourite colour is teal.", "Do you remember my favourite colour?", "Your favourite colour is teal."),
        ("My name is Bo", "Can you tell me what my name is?", "Your name is Bo."),
        ("my name is Bo, thanks!", "What's my name", "Your name is Bo."),
        ("My dog's name is Rex.", "What is the name of my dog?", "Your dog's name is Rex."),
        ("My cat is called Tom.", "Who is my cat?", "Your cat is Tom."),
        ("My car is in the garage!", "Where is my car?", "Your car is in the garage."),
        ("My hobbies are chess, judo and tea.", "What are my hobbies?", "Your hobbies are chess, judo and tea."),
        ("My doctor is Dr. Jane O'Neil.", "Who is my doctor?", "Your doctor is Dr. Jane O'Neil."),
        ("My rent is 3.50 per m2.", "What is my rent?", "Your rent is 3.50 per m2."),
        ("Hi, I am Bo. My job is a baker.", "What is my job?", "Your job is a baker."),
        ("My dog is Rex and my cat is Tom.", "Who is my cat?", "Your cat is Tom."),
        ("My dog is Rex. My cat is Tom.", "Who is my dog?", "Your dog is Rex."),
        ("My dog is Rex. Actually my dog is Max.", "Who is my dog?", "Your dog is Max."),
        ("My nurse is my sister.", "Who is my nurse?", "Your nurse is your sister."),
    ],
)
async def test_what_it_was_told_it_answers(told: str, asked: str, answer: str) -> None:
    assert (await talk(told, "Hello!", asked))[-1] == answer


async def test_it_acknowledges_what_it_is_told() -> None:
    assert await talk("My favourite colour is teal.") == ["Noted: your favourite colour is teal."]


async def test_the_last_statement_wins() -> None:
    answers = await talk("My colour is red.", "My colour is Burnt Sienna now.", "What is my colour?")
    assert answers[-1] == "Your colour is Burnt Sienna."


async def test_what_was_never_said_it_does_not_know() -> None:
    assert await talk("What is my favourite colour?") == [
        "You have not told me your favourite colour in this conversation."
    ]


async def test_a_question_is_no_statement() -> None:
    assert (await talk("What is my name?", "Is my name Bo?", "What is my name?"))[-1].startswith("You have not told")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [("What is 2 + 3?", "2 + 3 = 5."), ("what's 2.5 plus -1", "2.5 + -1 = 1.5."), ("20+22", "20 + 22 = 42.")],
)
async def test_it_adds_with_a_tool(asked: str, answer: str) -> None:
    core = Core(PydanticAIEngine(demo_agent()))
    steps = await core.send(asked)
    assert [call.tool for call in of(steps, ModelResponded)[0].calls] == ["add"]
    assert said(steps) == answer


@pytest.mark.parametrize(("asked", "sides"), [("Roll a die", 6), ("roll a d20!", 20), ("throw a 1-sided dice", 1)])
async def test_it_rolls_dice_with_a_tool(asked: str, sides: int) -> None:
    core = Core(PydanticAIEngine(demo_agent()))
    steps = await core.send(asked)
    assert [call.tool for call in of(steps, ModelResponded)[0].calls] == ["roll_dice"]
    rolled = int(core.messages()[1].text)
    assert 1 <= rolled <= sides
    assert said(steps) == f"I rolled a {sides}-sided die: {rolled}."


async def test_it_tells_the_time_with_a_tool_and_does_several_things_at_once() -> None:
    core = Core(PydanticAIEngine(demo_agent()))
    steps = await core.send("My name is Bo. What time is it? What is 1 + 1? What is my name?")
    assert [call.tool for call in of(steps, ModelResponded)[0].calls] == ["clock", "add"]
    assert said(steps).startswith("Noted: your name is Bo. It is 20")
    assert said(steps).endswith("UTC. 1 + 1 = 2. Your name is Bo.")


async def test_a_tool_that_fails_is_owned_up_to() -> None:
    assert "a die has at least one side" in (await talk("Roll a 0-sided die"))[0]


async def test_it_streams_word_by_word() -> None:
    core = Core(PydanticAIEngine(demo_agent()))
    steps = await core.send("Hello")
    assert streamed(steps) == said(steps)
    assert len(of(steps, TextDelta)) == len(ABOUT.split())


async def test_it_answers_without_streaming_too() -> None:
    agent = demo_agent()
    first = await agent.run("My name is Bo.")
    second = await agent.run("What is my name, and what is 1 + 1?", message_history=first.all_messages())
    assert second.output == "1 + 1 = 2."
    third = await agent.run("What is my name?", message_history=second.all_messages())
    assert third.output == "Your name is Bo."
