"""Decisions and steering in a real terminal, with an agent.yml that asks and an MCP server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.chat_model import ASKING, SHOUT, Answer, Model, serving
from tests.cli.kit import COMMAND, Terminal, environment, terminal
from tests.cli.test_chat_terminal import PROMPT, SILENT, Screen, said, since


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path, ASKING) as served:
        yield served


def shout(answer: Answer, *texts: str) -> None:
    for index, text in enumerate(texts):
        answer.call(SHOUT, json.dumps({"text": text}), index)
    answer.end()


def results(answer: Answer) -> list[str]:
    """What the model was told of its last calls."""
    messages = answer.asked["messages"]
    first = max(number for number, message in enumerate(messages) if message["role"] == "assistant")
    return [message["content"] for message in messages[first + 1 :] if message["role"] == "tool"]


def put(seen: Terminal, text: str) -> None:
    """Wait until a question about this is put, and the prompt under it."""
    since(seen, f'text: "{text}"')
    since(seen, PROMPT)


def decide(seen: Terminal, text: str, answer: str) -> None:
    put(seen, text)
    seen.type(f"{answer}\r")


def leave(seen: Terminal) -> None:
    since(seen, PROMPT)
    seen.type("\x04")
    assert seen.end() == 0


def test_calls_are_allowed_refused_edited_left_for_later_and_allowed_for_good(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "shout")
        shout(model.asked(), "a", "b", "c", "d")
        decide(seen, "a", "y")
        decide(seen, "b", "n not that loud")
        decide(seen, "c", "l")
        decide(seen, "d", "e")
        since(seen, "Alt-Enter")
        seen.type('\x1b[F\x1b[A\x1b[F\x7f\x7f\x7f"D!"\x1b\r')
        since(seen, "with changed arguments")
        since(seen, PROMPT)
        seen.type("/approvals\r")
        decide(seen, "c", "a")
        answer = model.asked()
        first, second, third, fourth = results(answer)
        assert (first, third) == ("A", "C")
        assert "not that loud" in second
        assert fourth.endswith("D!")
        shout(answer, "e")
        answer = model.asked()  # nobody was asked
        assert results(answer) == ["E"]
        answer.write("Shouted.")
        answer.end()
        since(seen, "Shouted.")
        leave(seen)


def test_a_question_outlives_its_process(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "shout")
        shout(model.asked(), "hi")
        put(seen, "hi")
        seen.process.kill()
    with terminal(tmp_path, "chat", "-c", more=SILENT) as seen:
        decide(seen, "hi", "y")
        answer = model.asked()
        assert results(answer) == ["HI"]
        answer.write("Shouted.")
        answer.end()
        since(seen, "Shouted.")
        leave(seen)


def test_what_is_said_into_an_answer_is_told_before_the_model_is_asked_next(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "shout")
        answer = model.asked()
        answer.write("I think")
        since(seen, "I think")
        seen.type("say hi\r")
        since(seen, "said into the answer: say hi")
        seen.type("/later and goodbye\r")
        since(seen, "for later: and goodbye")
        shout(answer, "hm")
        decide(seen, "hm", "y")
        answer = model.asked()
        assert [message["content"] for message in answer.asked["messages"][-2:]] == ["HM", "say hi"]
        answer.write("Hi.")
        answer.end()
        answer = model.asked()
        assert answer.asked["messages"][-1]["content"] == "and goodbye"
        answer.write("Bye.")
        answer.end()
        since(seen, "Bye.")
        leave(seen)


def test_of_two_terminals_one_decides_and_the_question_vanishes_in_the_other(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", "-s", "both", more=SILENT) as one:
        said(one, "shout")
        shout(model.asked(), "hi")
        put(one, "hi")
        with terminal(tmp_path, "chat", "-r", "both", more=SILENT) as two:
            decide(two, "hi", "y")
            answer = model.asked()
            since(one, "allowed elsewhere")
            one.type("y\r")
            since(one, "nothing was sent")
            answer.write("Shouted.")
            answer.end()
            since(two, "Shouted.")
            since(one, "Shouted.")
            leave(two)
            leave(one)
    assert [message["content"] for message in answer.asked["messages"] if message["role"] == "user"] == ["shout"]


def test_in_a_pipe_lines_decide_and_what_is_left_is_exit_code_3(tmp_path: Path, model: Model) -> None:
    with subprocess.Popen(
        [*COMMAND, "chat", "-s", "piped"], env=environment(tmp_path), cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write("shout\ny\nnot sent\napprove all\nshout again\n")
        process.stdin.close()
        process.stdin = None
        shout(model.asked(), "hi")
        answer = model.asked()
        assert results(answer) == ["HI"]
        answer.write("Shouted.")
        answer.end()
        shout(model.asked(), "ho")
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "Shouted.\n")
    assert told.count("error: not sent, as 1 call waits for a decision") == 2
    assert "approve ID" in told
    assert "not decided yet: " in told


# -- what a person sees


@pytest.fixture(params=[(80, 24), (40, 12), (24, 8)], ids=["wide", "narrow", "tiny"])
def screen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Screen]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not here: what a person sees is not looked at")
    made = Screen(tmp_path / "tmux", tmp_path, *request.param)
    yield made
    made.end()


def once(shown: Sequence[str], *texts: str) -> None:
    """Each of these stands there once, in this order, however its words are broken into lines."""
    page = re.sub(r"\s+", "", "".join(shown))
    places = [page.index(re.sub(r"\s+", "", text)) for text in texts]
    assert places == sorted(places)
    assert [page.count(re.sub(r"\s+", "", text)) for text in texts] == [1] * len(texts)


def test_nothing_that_was_drawn_in_passing_is_left(screen: Screen, model: Model) -> None:
    screen.begin("chat")
    screen.wait_for(PROMPT)
    screen.type("shout", "Enter")
    answer = model.asked()
    answer.write("First block.\n\n" + "".join(f"- point {number}\n" for number in range(30)))
    screen.wait_for("point 29")
    screen.type("say hi", "Enter")
    screen.wait_for(r"said into\s+the answer")
    shout(answer, "hm")
    screen.wait_for(r"s\s+show")
    screen.type("n", "Enter")
    screen.wait_for("why")
    screen.type("loud", "Enter")
    answer = model.asked()
    answer.write("The end.")
    answer.end()
    shown = screen.wait_for(rf"The end\.\n\n{PROMPT}")
    page = "\n".join(shown)
    once(shown, f"{PROMPT} shout First block.", "point 15", "point 29", "denied:", f"{PROMPT} say hi", "The end.")
    assert not re.search(r"Ctrl-C\s+cancels|said\s+into|s\s+show|⚙", page)
    assert page.count("1 live") <= 1
