"""Decisions in a chat, without a terminal: what is put, what an answer does, and what vanishes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from sojourn import Sojourn
from sojourn.abc import Run, Step
from sojourn.cli.chat import Chat
from sojourn.cli.chat_questions import Question, Verb, arguments, named, understood
from sojourn.cli.chat_start import look
from sojourn.records import Approval, ApprovalStatus, Role, TurnStatus
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, call_tool, pause, say
from tests.cli.test_chat import Loaded, Script


async def paying(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Asks whether it may pay twice, and tells what was decided."""
    decided = run.decided
    if not decided:
        yield say("may I?", calls=["pay", "pay"])
        yield pause((0, "pay"), (1, "pay"), arguments='{"sum": 5}')
        return
    for row in decided:
        told = row.changed or row.arguments if row.status is ApprovalStatus.APPROVED else f"no: {row.reason}"
        yield call_tool(row.index, "pay", told)
    async for step in answer("done"):
        yield step


@pytest.fixture
async def runtime() -> AsyncIterator[Sojourn]:
    async with Sojourn(ScriptedEngine(paying), storage="memory:") as made:
        yield made


async def talk(
    runtime: Sojourn, *lines: str, answers: Sequence[str] = (), id: str = "here", piped: bool = False
) -> tuple[Chat, Script]:
    screen = Script(lines, answers)
    screen.interactive = not piped
    chat = Chat(screen, Loaded(runtime), None, id)
    await chat.run(await look(runtime, id))
    await chat.close()
    return chat, screen


def results(screen: Script) -> list[str]:
    return [line for line in screen.shown if line.startswith(("(allowed", "(denied"))]


async def told(runtime: Sojourn, id: str = "here") -> list[str]:
    return [message.text for message in await runtime.history(id) if message.role is Role.TOOL]


async def test_each_call_is_put_and_the_turn_goes_on_behind_the_last(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "pay", "y", "no, too much")
    assert screen.shown[1] == "may I?"
    assert screen.shown[2:5] == ["? may pay run (1 of 2)", "    Pays. At once.", "    sum: 5"]
    assert "? may pay run" in screen.shown
    assert results(screen) == ["(allowed: pay(sum: 5))", "(denied: pay(sum: 5): too much)"]
    assert await told(runtime) == ['{"sum": 5}', "no: too much"]
    assert screen.shown[-1] == "done"


async def test_a_refusal_without_a_reason_asks_for_one(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "pay", "n", "n", answers=["because", ""])
    assert "why? the model is told (nothing: no reason)" in screen.shown
    assert await told(runtime) == ["no: because", "no: None"]


async def test_always_decides_what_waits_already_and_is_forgotten_by_its_number(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "pay", "a", "/remembered", "/remembered", answers=["1"])
    assert await told(runtime) == ['{"sum": 5}'] * 2
    assert "(pay is asked about again)" in screen.shown
    assert screen.shown[-1] == "(nothing runs unasked)"


async def test_arguments_are_edited_until_they_are_an_object(runtime: Sojourn) -> None:
    screen = Script(["pay", "e", "e", "y"])
    edits = ["{", "[1]", '{"sum": 6}']

    async def edit(text: str) -> str | None:
        assert text in {'{\n  "sum": 5\n}', "{", "[1]"}
        return edits.pop(0) if edits else None

    screen.edit = edit  # type: ignore[method-assign]
    chat = Chat(screen, Loaded(runtime), None, "here")
    await chat.run(await look(runtime, "here"))
    await chat.close()
    assert sum("expected a JSON object" in line for line in screen.shown) == 2
    assert "(allowed with changed arguments: pay(sum: 6))" in screen.shown
    assert await told(runtime) == ['{"sum":6}', '{"sum": 5}']


async def test_a_question_is_shown_whole_and_can_wait(runtime: Sojourn) -> None:
    chat, screen = await talk(runtime, "pay", "s", "l", "l", "/approvals", "y")
    assert '  "sum": 5' in screen.shown
    assert sum("/approvals comes back to it" in line for line in screen.shown) == 2
    assert results(screen) == ["(allowed: pay(sum: 5))"]
    assert chat.waits
    assert "not decided yet" in screen.shown[-1]


async def test_who_comes_back_is_asked_first(runtime: Sojourn) -> None:
    await runtime.send("here", "pay")
    _, screen = await talk(runtime, "y", "y")
    assert screen.shown[-1] == "done"


async def test_a_message_takes_the_place_of_decisions_only_after_a_yes(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "pay", "other", "y", "other", answers=["", "y"])
    question = "2 calls wait for a decision; send this instead, so that nothing of that runs? [y/N]"
    assert question in screen.shown
    assert "(not sent)" in screen.shown
    assert (await runtime.turn("here", 1)).status is TurnStatus.CANCELLED


async def test_in_a_pipe_nothing_is_sent_in_place_of_a_decision(runtime: Sojourn) -> None:
    chat, screen = await talk(runtime, "pay", "y", "other", piped=True)
    assert sum("not sent, as 2 calls wait" in line for line in screen.shown) == 2
    assert chat.waits
    assert len(await runtime.turns("here")) == 1


async def test_decisions_that_name_their_question_work_everywhere(runtime: Sojourn) -> None:
    await runtime.send("here", "pay")
    one, two = await runtime.approvals("here")
    lines = [
        "approve nothing",
        f"approve {one.id[:8]} [1]",
        f'approve {one.id[:8]} {{"sum": 7}}',
        f"/deny {two.id} no, no",
    ]
    chat, screen = await talk(runtime, *lines, piped=True)
    assert "! approval: found 'nothing'" in "\n".join(screen.shown)
    assert "! arguments: found '[1]'" in "\n".join(screen.shown)
    assert await told(runtime) == ['{"sum":7}', "no: no, no"]
    assert not chat.waits


async def test_all_are_decided_at_once(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "pay", "deny all not today", piped=True)
    assert await told(runtime) == ["no: not today"] * 2
    assert screen.shown[-1] == "done"


async def test_what_is_decided_elsewhere_vanishes_and_a_late_answer_is_not_sent(runtime: Sojourn) -> None:
    screen = Script([])

    async def read() -> str:
        match len(steps):
            case 3:
                steps.pop()
                return "pay"
            case 2:
                steps.pop()
                for one in await runtime.approvals("here"):
                    await runtime.approve("here", one.id)
                await screen.saw("done")
                return "y"
        raise EOFError

    steps = [1, 2, 3]
    screen.read = read  # type: ignore[method-assign]
    chat = Chat(screen, Loaded(runtime), None, "here")
    await chat.run(await look(runtime, "here"))
    await chat.close()
    assert results(screen) == ["(allowed elsewhere: pay(sum: 5))"] * 2
    assert screen.shown[-1] == "(that question was decided elsewhere; nothing was sent)"
    assert len(await runtime.turns("here")) == 1


# -- what is said while an answer is written


async def test_what_is_typed_into_an_answer_is_said_into_it_and_for_later_behind_it() -> None:
    go, both = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        said = history.told[-1][1]
        if said == "slow":
            go.set()
            yield say("one moment", calls=["look"])
            await both.wait()
            yield call_tool(0, "look", "seen")
        async for step in answer("the end"):
            yield step

    async with Sojourn(ScriptedEngine(script), storage="memory:") as runtime:
        screen = Script(["slow", "and this", "/later then that", "/inbox"])
        screen.steers = True
        first = screen.read

        async def read() -> str:
            if screen.shown and len(screen.rest) == 3:
                await go.wait()
            if len(screen.rest) == 1:
                both.set()
            if not screen.rest:
                await screen.saw("> then that")
            return await first()

        screen.read = read  # type: ignore[method-assign]
        chat = Chat(screen, Loaded(runtime), None, "here")
        await chat.run(await look(runtime, "here"))
        await chat.close()
        texts = [message.text for message in await runtime.history("here") if message.role is Role.USER]
    assert texts == ["slow", "and this", "then that"]
    assert "(said into the answer: and this)" in screen.shown
    assert "(for later: then that)" in screen.shown
    assert screen.shown.index("> and this") < screen.shown.index("> then that")


async def test_what_is_in_line_is_listed_removed_and_held_behind_a_cancel(runtime: Sojourn) -> None:
    await runtime.send("here", "pay")
    await runtime.follow_up("here", "later")
    _, screen = await talk(runtime, "/inbox", "/remove 99", "/remove x", "/remove 1", "/inbox", piped=True)
    assert any(line.endswith("for later: later") for line in screen.shown)
    assert "(there is no 99; /inbox shows what there is)" in screen.shown
    assert any("a number that /inbox shows" in line for line in screen.shown)


async def test_a_cancelled_turn_is_marked_when_one_comes_back(runtime: Sojourn) -> None:
    await runtime.send("here", "pay")
    await runtime.cancel("here")
    _, screen = await talk(runtime, "/history")
    assert screen.shown.count("(cancelled)") == 2


async def test_the_model_is_shown_and_what_cannot_be_one_is_refused(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "/model", "hello", "/model", "/model x", "/model back")
    assert screen.shown[1].startswith("(the model is ")
    assert any("expected PROVIDER/MODEL, or back" in line for line in screen.shown)


# -- words


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("y", (Verb.YES, "")),
        (" Yes ", (Verb.YES, "")),
        ("n", (Verb.NO, "")),
        ("no, use the other file", (Verb.NO, "use the other file")),
        ("a", (Verb.ALWAYS, "")),
        ("edit", (Verb.EDIT, "")),
        ("s", (Verb.SHOW, "")),
        ("l", (Verb.LATER, "")),
        ("yes please do", None),
        ("a dog", None),
        ("nothing", None),
        ("/new", None),
        ("", None),
    ],
)
def test_an_answer_is_told_from_a_message(line: str, verb: object) -> None:
    assert understood(line) == verb


def test_a_decision_names_its_question() -> None:
    assert named("approve") is not None
    assert named("approved") is None
    found = named("/deny 12ab no,\nnever")
    assert found is not None
    assert (found.yes, found.id, found.rest) == (False, "12ab", "no,\nnever")


def test_arguments_are_shown_short_and_without_what_a_terminal_obeys() -> None:
    shown = arguments(json.dumps({f"k{n}": "\x1b[31m" + "x" * 900 for n in range(20)}))
    assert len(shown) == 9
    assert all(len(line) <= 200 and "\x1b" not in line for line in shown)
    assert arguments("broken {") == ["broken {"]
    now = datetime.now(UTC)
    one = Approval(
        id="i", session="s", turn=1, seq=1, index=0, tool="t\nx", arguments="{}", status=ApprovalStatus.PENDING,
        asked=now, expires=None,
    )  # fmt: skip
    assert Question(one).card() == ["? may t x run"]
