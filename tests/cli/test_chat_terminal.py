"""The chat in a terminal: a pty that is always there, and tmux, which shows what a person would see, where it is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.chat_model import Model, serving
from tests.cli.kit import COMMAND, Terminal, environment, terminal

#: The terminal of these tests does not answer where its cursor is.
SILENT = {"PROMPT_TOOLKIT_NO_CPR": "1"}

PROMPT = "\u203a"

STORY = (
    "# Title\n\nOne **bold** word.\n\n- a\n- b\n\n```\n" + "".join(f"line {n}\n" for n in range(60)) + "```\n\nThe end."
)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path) as served:
        yield served


def since(seen: Terminal, text: str) -> None:
    """Wait for this, and forget what was shown up to there."""
    seen.wait_for(text)
    seen.raw = seen.seen.split(text, 1)[1]


def said(seen: Terminal, text: str) -> None:
    since(seen, PROMPT)
    seen.type(f"{text}\r")


# -- a pty


def test_an_answer_streams_and_ctrl_d_ends_the_chat(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        seen.wait_for("Hello, I am slow.")
        said(seen, "tell me")
        answer = model.asked()
        answer.write("It was **dark**")
        since(seen, "It was dark")
        answer.write(" and cold.")
        answer.end()
        since(seen, "and cold.")
        since(seen, PROMPT)
        seen.type("\x04")
        assert seen.end() == 0
        assert "go on with: sojourn chat --resume" in seen.seen


def test_ctrl_c_cancels_the_answer_and_not_the_chat(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "tell me")
        model.asked().write("Half of it")
        since(seen, "Half of it")
        seen.type("\x03")
        since(seen, "cancelled")
        said(seen, "again")
        answer = model.asked()
        assert [message["content"] for message in answer.asked["messages"][-3:]] == ["tell me", "Half of it", "again"]
        answer.write("Whole.")
        answer.end()
        since(seen, "Whole.")
        since(seen, PROMPT)
        seen.type("\x03")
        since(seen, "Ctrl-D or /exit ends the chat")
        seen.type("\x03")
        assert seen.end() == 0


def test_what_is_typed_in_lines_or_pasted_is_one_message(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        since(seen, PROMPT)
        seen.type("one\\\rtwo\x1b\rthree \x1b[200~four\nfive\x1b[201~\r")
        answer = model.asked()
        assert answer.asked["messages"][-1]["content"] == "one\ntwo\nthree four\nfive"
        answer.end()
        seen.type("\x04")


def test_sigterm_ends_in_order_and_the_turn_is_taken_up(tmp_path: Path, model: Model) -> None:
    quick = "sojourn: {closeWait: 0}\n"
    (tmp_path / "agent.yml").write_text((tmp_path / "agent.yml").read_text(encoding="utf-8") + quick, encoding="utf-8")
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "tell me")
        model.asked().write("Lost words")
        since(seen, "Lost words")
        seen.process.send_signal(signal.SIGTERM)
        assert seen.end() == 128 + signal.SIGTERM
    with terminal(tmp_path, "chat", "-c", more=SILENT) as seen:
        answer = model.asked()
        answer.write("All of it.")
        answer.end()
        since(seen, "All of it.")


def test_a_killed_chat_goes_on_with_its_answer(tmp_path: Path, model: Model) -> None:
    with terminal(tmp_path, "chat", more=SILENT) as seen:
        said(seen, "tell me")
        model.asked().write("Lost words")
        since(seen, "Lost words")
        seen.process.kill()
    with terminal(tmp_path, "chat", "-c", more=SILENT) as seen:
        seen.wait_for(f"{PROMPT} tell me")
        answer = model.asked()
        seen.wait_for("the turn was interrupted and goes on")
        answer.write("All of it.")
        answer.end()
        since(seen, "All of it.")
        assert "Lost words" not in seen.seen
        since(seen, PROMPT)
        seen.type("\x04")
        assert seen.end() == 0


def test_two_chats_of_one_session_show_the_same(tmp_path: Path, model: Model) -> None:
    with (
        terminal(tmp_path, "chat", "-s", "both", more=SILENT) as one,
        terminal(tmp_path, "chat", "-s", "both", more=SILENT) as two,
    ):
        since(one, PROMPT)
        since(two, PROMPT)
        for number, (here, there) in enumerate([(one, two), (two, one)]):
            here.type(f"question {number}\r")
            answer = model.asked()
            answer.write(f"answer {number}")
            answer.end()
            since(here, f"answer {number}")
            if number:
                since(there, f"question {number}")
                since(there, f"answer {number}")
            since(here, PROMPT)
        for seen in (one, two):
            seen.type("\x04")
            assert seen.end() == 0


# -- what a person sees


class Screen:
    """A terminal that can be looked at."""

    def __init__(self, socket: Path, folder: Path, columns: int, rows: int) -> None:
        self._socket, self._begun = socket, 0
        self._folder, self._size = folder, ["-x", str(columns), "-y", str(rows)]

    def begin(self, *arguments: str) -> None:
        self._begun += 1  # a server that is ending would still answer at its socket
        self._command = ["tmux", "-S", f"{self._socket}{self._begun}", "-f", "/dev/null"]
        shell = shlex.join([*COMMAND, *arguments])
        env = environment(self._folder, TERM="screen-256color")
        del env["COLUMNS"]
        settings = [word for name in ("SOJOURN_HOME", "NO_COLOR", "TERM") for word in ("-e", f"{name}={env[name]}")]
        self._tmux("new-session", "-d", *self._size, "-c", str(self._folder), *settings, f"exec {shell}", env=env)
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def look(self) -> list[str]:
        """What is on the screen and above it."""
        return self._tmux("capture-pane", "-p", "-S", "-").rstrip().split("\n")

    def wait_for(self, pattern: str) -> list[str]:
        limit = time.monotonic() + 30
        while not re.search(pattern, "\n".join(shown := self.look())):
            assert time.monotonic() < limit, "\n".join(shown)
            time.sleep(0.02)  # tmux tells nobody what it shows
        return shown

    def kill(self) -> None:
        os.kill(int(self._tmux("list-panes", "-F", "#{pane_pid}")), signal.SIGKILL)

    def end(self) -> None:
        if self._begun:
            subprocess.run([*self._command, "kill-server"], capture_output=True, check=False)

    def _tmux(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=[(70, 24), (24, 10)], ids=["wide", "narrow"])
def screen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Screen]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not here: what a person sees is not looked at")
    made = Screen(tmp_path / "tmux", tmp_path, *request.param)
    yield made
    made.end()


def in_order(shown: Sequence[str], expected: Sequence[str]) -> None:
    """Each of these stands there once, in this order."""
    lines = [line.strip() for line in shown]
    assert [line for line in lines if line in set(expected)] == list(expected)


def test_a_long_answer_is_whole_and_there_once(screen: Screen, model: Model) -> None:
    screen.begin("chat")
    screen.wait_for("\u203a")
    screen.type("tell me", "Enter")
    answer = model.asked()
    for start in range(0, len(STORY), 37):
        answer.write(STORY[start : start + 37])
    answer.end()
    shown = screen.wait_for(r"The end\.\n\n\u203a")
    in_order(shown, ["Title", "One bold word.", "• a", "• b", *(f"line {n}" for n in range(60)), "The end."])


def test_a_killed_chat_is_seen_to_go_on(screen: Screen, model: Model) -> None:
    screen.begin("chat")
    screen.wait_for("\u203a")
    screen.type("tell me", "Enter")
    model.asked().write("Kept block.\n\nHalf a block")
    screen.wait_for("Half a block")
    screen.kill()
    screen.end()
    screen.begin("chat", "-c")
    answer = model.asked()
    screen.wait_for("interrupted")
    answer.write("Now all of it.")
    answer.end()
    shown = screen.wait_for(r"Now all of it\.\n\n\u203a")
    in_order(shown, ["\u203a tell me", "Now all of it."])
    assert "Half" not in "\n".join(shown)


def test_void_text_is_taken_back_or_marked(screen: Screen, model: Model) -> None:
    screen.begin("chat")
    screen.wait_for("\u203a")
    screen.type("tell me", "Enter")
    answer = model.asked()
    answer.write("Void block.\n\nMore of it\n\nVoid rest")
    screen.wait_for("Void rest")
    answer.cut()
    answer = model.asked()
    answer.write("New answer.")
    answer.end()
    shown = screen.wait_for(r"New answer\.\n\n\u203a")
    in_order(shown, ["Void block.", "Void rest", "New answer."][::2])
    assert "void" in "\n".join(shown)
