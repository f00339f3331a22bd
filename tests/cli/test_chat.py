"""What is said and commanded in a chat, without a terminal: in this process, and as a program in a pipe."""

from __future__ import annotations

import asyncio
import json
import subprocess
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sojourn import Sojourn
from sojourn.abc import Run, Step, TextDelta
from sojourn.cli.chat import Chat
from sojourn.cli.chat_screen import Screen
from sojourn.cli.chat_start import Agent, Options, look
from sojourn.cli.chat_words import Status, call_line, chosen
from sojourn.errors import InvalidInput
from sojourn.records import Event, EventKind, ToolCall
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, call_tool, say
from tests.cli.chat_model import serving
from tests.cli.kit import COMMAND, environment, sojourn


class Script(Screen):
    """Somebody who says these lines, and notes what is shown."""

    def __init__(self, lines: Sequence[str], answers: Sequence[str] = ()) -> None:
        super().__init__()
        self.rest, self._answers = list(lines), list(answers)
        self.shown: list[str] = []
        self._pieces = ""
        self._news = asyncio.Event()
        self.on_answer: Callable[[Callable[[], None]], None] = lambda _: None

    async def read(self) -> str:
        await asyncio.sleep(0)
        if not self.rest:
            raise EOFError
        return self.rest.pop(0)

    async def saw(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text not in self.shown:
                self._news.clear()
                await self._news.wait()

    async def ask(self, question: str) -> str:
        self.shown.append(question)
        return self._answers.pop(0)

    @contextmanager
    def answering(self, interrupt: Callable[[], None]) -> Iterator[None]:
        self.on_answer(interrupt)
        yield

    def interrupt(self) -> None:
        raise AssertionError("nobody pressed Ctrl-C")

    def remember(self, said: Sequence[str]) -> None:
        self.remembered = list(said)

    def note(self, text: str) -> None:
        self.shown.append(f"({text})")

    def fault(self, text: str) -> None:
        self.shown.append(f"! {text}")

    def lines(self, lines: Sequence[str]) -> None:
        self.shown += lines

    def said(self, text: str) -> None:
        self.shown.append(f"> {text}")

    def _piece(self, text: str) -> None:
        self._pieces += text

    def _settle(self) -> None:
        if self._pieces:
            self.shown.append(self._pieces)
            self._news.set()
        self._pieces = ""

    def _void(self) -> None:
        self.shown.append(f"void: {self._pieces}")
        self._pieces = ""

    def _called(self, line: str) -> None:
        self.shown.append(line)

    def _running(self, lines: Sequence[str]) -> None:
        pass


class Loaded(Agent):
    """An agent that is loaded already."""

    def __init__(self, runtime: Sojourn) -> None:
        self._runtime = runtime
        self._tools = {"pay": "Pays.\nAt once."}

    @property
    def loaded(self) -> bool:
        return True

    async def ready(self) -> Sojourn:
        return self._runtime

    async def close(self) -> None:
        pass


@pytest.fixture
async def runtime() -> AsyncIterator[Sojourn]:
    async with Sojourn(ScriptedEngine(), storage="memory:") as made:
        yield made


async def talk(runtime: Sojourn, *lines: str, answers: Sequence[str] = (), id: str = "here") -> tuple[Chat, Script]:
    screen = Script(lines, answers)
    chat = Chat(screen, Loaded(runtime), None, id)
    await chat.run(await look(runtime, id))
    await chat.close()
    return chat, screen


async def test_what_is_said_is_answered_and_not_repeated(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "hello", "", "again")
    assert screen.shown[1:] == ["you said: hello", "you said: again"]


async def test_a_session_that_is_come_back_to_shows_its_last_messages(runtime: Sojourn) -> None:
    for number in range(15):
        await runtime.send("here", f"number {number}")
    _, screen = await talk(runtime, "more")
    assert screen.shown[1] == "(10 earlier messages; /history shows them)"
    assert screen.shown[2:4] == ["> number 5", "you said: number 5"]
    assert screen.shown[-2:] == ["you said: number 14", "you said: more"]
    assert screen.remembered[-1] == "number 14"


async def test_two_slashes_send_one(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "//etc/hosts")
    assert screen.shown[1:] == ["you said: /etc/hosts"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("/sesions x", "did you mean /sessions?"),
        ("/exi", "did you mean /exit?"),
        ("/zzzzz", "/help lists the commands"),
    ],
)
async def test_an_unknown_command_is_not_sent_but_answered(runtime: Sojourn, line: str, hint: str) -> None:
    _, screen = await talk(runtime, line)
    assert hint in screen.shown[-1]
    assert (await runtime.sessions()).sessions == []


@pytest.mark.parametrize(
    "line", ["/rename x", "/clear", "/fork", "/history", "/delete", "/export", "/resume", "/discard"]
)
async def test_a_command_for_a_session_in_which_nothing_was_said_says_so(runtime: Sojourn, line: str) -> None:
    _, screen = await talk(runtime, line)
    assert screen.shown[-1] == "! nothing was said in this session yet"


async def test_a_new_session_begins_empty_and_the_old_one_stays(runtime: Sojourn) -> None:
    chat, _ = await talk(runtime, "one", "/new", "two")
    assert chat.id != "here"
    assert [message.text for message in await runtime.history(chat.id)] == ["two", "you said: two"]
    assert len(await runtime.history("here")) == 2


@pytest.mark.parametrize("choice", ["2", "tea", "tea-1"])
async def test_a_session_is_chosen_by_its_number_or_the_beginning_of_its_id(runtime: Sojourn, choice: str) -> None:
    await runtime.send("tea-1", "about tea")
    await runtime.send("coffee-1", "about coffee")
    chat, screen = await talk(runtime, "/sessions about", answers=[choice])
    assert chat.id == "tea-1"
    assert screen.shown[-2:] == ["> about tea", "you said: about tea"]
    assert sum("messages" in line for line in screen.shown) == 2


@pytest.mark.parametrize("choice", ["0", "3", "x", "same"])
async def test_what_is_none_of_the_list_or_several_goes_nowhere(runtime: Sojourn, choice: str) -> None:
    await runtime.send("same-1", "x")
    await runtime.send("same-2", "x")
    chat, screen = await talk(runtime, "/sessions", answers=[choice])
    assert chat.id == "here"
    assert screen.shown[-1] == f"! {choice!r} is none of these, or more than one"


async def test_no_choice_stays_and_no_session_is_said(runtime: Sojourn) -> None:
    chat, screen = await talk(runtime, "hello", "/sessions nowhere", "/sessions", answers=[""])
    assert chat.id == "here"
    assert "(no session has 'nowhere')" in screen.shown


async def test_a_session_gets_its_title(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "hello", "/rename A good title", "/rename")
    assert (await runtime.get("here")).title == "A good title"
    assert screen.shown[-1].startswith("! /rename: found ''")
    assert screen.status.name == "A good title"


async def test_the_agent_forgets_and_the_history_does_not() -> None:
    told: list[int] = []

    async def script(_: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        told.append(len(history.told))
        async for step in answer("so it is"):
            yield step

    async with Sojourn(ScriptedEngine(script), storage="memory:") as runtime:
        _, screen = await talk(runtime, "one", "two", "/clear", "/clear", "three", "/history")
    cleared = "(the context was cleared: the agent sees only what comes from here on)"
    assert screen.shown[1:6] == [
        "so it is", "so it is", cleared, "(nothing was said since the context was cleared)", "so it is",
    ]  # fmt: skip
    assert [line for line in screen.shown[6:] if line.startswith("> ")] == ["> one", "> two", "> three"]
    assert told == [1, 3, 1]


async def test_a_session_that_is_come_back_to_can_be_cleared(runtime: Sojourn) -> None:
    await runtime.send("here", "hello")
    _, screen = await talk(runtime, "/clear", "more")
    assert screen.shown[1:] == [
        "> hello", "you said: hello", "(the context was cleared: the agent sees only what comes from here on)",
        "you said: more",
    ]  # fmt: skip
    assert len(await runtime.history("here")) == 4


async def test_a_fork_is_gone_on_with_and_the_original_stays(runtime: Sojourn) -> None:
    chat, _ = await talk(runtime, "hello", "/fork", "only here")
    assert len(await runtime.history("here")) == 2
    assert len(await runtime.history(chat.id)) == 4


async def test_a_session_is_written_for_people_or_for_load(runtime: Sojourn, tmp_path: Path) -> None:
    page, lines = tmp_path / "page.md", tmp_path / "lines.jsonl"
    await talk(runtime, "hello", f"/export {page}", f"/export {lines}")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# hello\n")
    assert text.endswith("## You\n\nhello\n\n## Agent\n\nyou said: hello\n")
    copy = await runtime.load(lines.read_text(encoding="utf-8").splitlines(), id="copy")
    assert copy.message_count == 2


def endings(folder: Path) -> list[str]:
    return [file.suffix for file in folder.iterdir()]


async def test_an_export_has_a_name_and_replaces_nothing(
    runtime: Sojourn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, screen = await talk(runtime, "hello", "/export", "/export", "/export x.txt")
    assert endings(tmp_path) == [".md"]
    assert "expected the name of a file that is not there yet" in screen.shown[-2]
    assert "expected a file name that ends with .md or .jsonl" in screen.shown[-1]


async def test_history_shows_all_or_the_last(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "one", "two", "/history 1", "/history", "/history x")
    assert screen.shown[-6:-1] == ["you said: two", "> one", "you said: one", "> two", "you said: two"]
    assert "how many messages" in screen.shown[-1]


async def test_a_session_is_deleted_only_after_a_yes(runtime: Sojourn) -> None:
    chat, screen = await talk(runtime, "hello", "/delete", "/delete", answers=["n", "y"])
    assert "(nothing was deleted)" in screen.shown
    assert (await runtime.sessions()).sessions == []
    assert chat.id != "here"


async def test_exit_ends_the_chat_and_help_names_every_command(runtime: Sojourn) -> None:
    _, screen = await talk(runtime, "/help", "/exit", "never said")
    assert any(line.startswith("/export [FILE]") for line in screen.shown)
    assert (await runtime.sessions()).sessions == []


async def test_what_another_chat_says_appears_here(runtime: Sojourn) -> None:
    await runtime.send("here", "first")
    screen = Script([])

    async def wait_for_the_other() -> str:
        await runtime.send("here", "from there")
        await screen.saw("you said: from there")
        raise EOFError

    screen.read = wait_for_the_other  # type: ignore[method-assign]
    chat = Chat(screen, Loaded(runtime), None, "here")
    await chat.run(await look(runtime, "here"))
    await chat.close()
    assert screen.shown[-2:] == ["> from there", "you said: from there"]


async def test_ctrl_c_cancels_the_answer_and_the_chat_goes_on() -> None:
    written, never = asyncio.Event(), asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if history.told[-1][1] == "slow":
            yield TextDelta("half of it")
            written.set()
            await never.wait()
        async for step in answer("whole"):
            yield step

    async with Sojourn(ScriptedEngine(script), storage="memory:") as runtime:
        screen = Script(["slow", "quick"])
        pressing: list[asyncio.Task[None]] = []

        def on_answer(interrupt: Callable[[], None]) -> None:
            async def press() -> None:
                await written.wait()
                interrupt()

            if not pressing:
                pressing.append(asyncio.create_task(press()))

        screen.on_answer = on_answer
        chat = Chat(screen, Loaded(runtime), None, "here")
        await chat.run(await look(runtime, "here"))
        await chat.close()
    assert screen.shown[1:] == ["half of it", "(cancelled)", "whole"]


async def test_tools_and_failures_are_one_line_each() -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("", calls=["roll"])
        yield call_tool(0, "roll", "4")
        raise ValueError("the model\nis ill")

    async with Sojourn(ScriptedEngine(script), storage="memory:") as runtime:
        _, screen = await talk(runtime, "roll")
    assert screen.shown[1] == "✓ roll()"
    assert screen.shown[-1].startswith("! the turn failed: ")
    assert "\n" not in screen.shown[-1]


def test_a_screen_shows_a_retry_and_the_new_text_alone() -> None:
    screen = Script([])
    screen.show(Event(kind=EventKind.TEXT, id="1.1.3", seq=1, text="old"))
    screen.show(Event(kind=EventKind.TEXT_DROPPED, id="1", seq=1))
    screen.show(Event(kind=EventKind.MODEL_RETRY, id="1", seq=1, text="asking again in 2 s"))
    assert screen.shown == ["void: old", "(↻ asking again in 2 s)"]


def test_calls_are_shown_short_and_on_one_line() -> None:
    assert call_line(ToolCall(id="1", name="add", arguments='{"a": 1, "b": "x\\ny"}')) == 'add(a=1, b="x\\ny")'
    assert call_line(ToolCall(id="1", name="add", arguments="broken {")) == "add(broken {)"
    assert len(call_line(ToolCall(id="1", name="add", arguments=json.dumps({"a": "x" * 5000})))) < 100


def test_the_status_line_fits() -> None:
    status = Status("a title", 1, 20, "model", 1234, "$0.01", loading=False)
    assert status.line(80) == " a title · 1 live, 20 stored · model · 1,234 tokens, $0.01"
    assert status.line(30) == " a title · 1 live, 20 stored"
    assert len(status.line(6)) <= 6


def test_no_answer_chooses_nothing() -> None:
    assert chosen("", []) is None


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(InvalidInput, match="--continue and --session"):
        Options(newest=True, session="x").check()


# -- as a program


def test_in_a_pipe_only_answers_come_out(tmp_path: Path) -> None:
    first = sojourn(tmp_path, "chat", "--session", "talk", said="My number is 42.\nWhat is \\\nmy number?\n")
    assert (first.returncode, first.stdout) == (0, "Noted: your number is 42.\nYour number is 42.\n")
    assert "go on with: sojourn chat --resume talk" in first.stderr
    again = sojourn(tmp_path, "chat", "-c", said="Roll a die")
    assert again.stdout.startswith("I rolled a 6-sided die")
    assert "✓ roll_dice(sides=6)" in again.stderr


def test_a_session_that_is_not_there_is_exit_code_1_and_what_to_do(tmp_path: Path) -> None:
    done = sojourn(tmp_path, "chat", "-r", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: no session 'nope'; `sojourn sessions list` lists them" in done.stderr


def test_the_end_of_the_input_is_exit_code_0_also_when_nothing_was_said(tmp_path: Path) -> None:
    assert sojourn(tmp_path, "chat", "-c", said="").returncode == 0


def test_an_agent_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "agent.yml").write_text("llm: {provider: openai}\n")
    done = sojourn(tmp_path, "chat", "--agent", str(tmp_path / "agent.yml"), said="hello\n")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_what_a_model_writes_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with serving(tmp_path) as model:
        process = subprocess.Popen(
            [*COMMAND, "chat", "--plain"], env=environment(tmp_path), cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write("hello\n")
        process.stdin.close()
        process.stdin = None
        asked = model.asked()
        asked.write("red: \x1b[31m 漢字 🎉 \x07\x9b2J bell\r\n")
        asked.end()
        out, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == "red: [31m 漢字 🎉 2J bell\n"
    assert not [c for c in out + told if unicodedata.category(c) == "Cc" and c != "\n"]
