"""`sojourn run`: the answer on standard output and nothing else; everything else on standard error."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sojourn.abc import Run, Step
from sojourn.bootstrap import Sojourn, reading
from sojourn.cli import run
from sojourn.cli.exits import FAILED, WAITS, Refusal
from sojourn.records import TurnStatus
from sojourn.testing import ScriptedEngine, ScriptedHistory, pause, say
from tests.cli.kit import COMMAND, environment, invoke, printed, sojourn, terminal


def test_a_prompt_may_come_by_a_pipe(home: Path) -> None:
    assert sojourn(home, "run", "-", said="What is 2 + 3?").stdout == "2 + 3 = 5.\n"
    done = sojourn(home, "run", "--session", "piped", said="What is 2 + 3?\n")
    assert (done.returncode, done.stdout) == (0, "2 + 3 = 5.\n")
    assert "→ add(" in done.stderr
    assert "← add: 5" in done.stderr
    assert "go on with: sojourn run --session piped" in done.stderr


def test_json_is_one_object_and_nothing_beside_it(home: Path) -> None:
    done = sojourn(home, "run", "What is 2 + 3?", "--session", "j", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    reply = json.loads(done.stdout)
    assert reply.pop("usage")["sojourn-demo"]["requests"] == 2
    assert reply == {"text": "2 + 3 = 5.", "session": "j", "turn": 1, "finish_reason": "stop"}


def test_without_a_session_a_new_one_is_made(home: Path) -> None:
    done = sojourn(home, "run", "hello")
    made = done.stderr.split("--session ")[1].split()[0]
    assert printed("sessions", "show", made, "--json")["messageCount"] == 2


def test_a_terminal_shows_the_answer_once_and_the_tools_before_it(home: Path) -> None:
    with terminal(home, "run", "What is 2 + 3?") as seen:
        assert seen.end() == 0
    lines = seen.seen.splitlines()
    assert lines.index("2 + 3 = 5.") == len(lines) - 2
    assert seen.seen.count("2 + 3 = 5.") == 1
    assert "→ add(" in seen.seen.split("2 + 3 = 5.")[0]


def test_a_terminal_with_nothing_to_say_is_told_so(home: Path) -> None:
    with terminal(home, "run") as seen:
        assert seen.end() == 2
    assert "error: nothing to say; give a prompt" in seen.seen


def test_a_reader_who_leaves_is_not_told_anything(home: Path) -> None:
    for arguments in (
        ["sessions", "history", "greece-2"],
        ["sessions", "list", "--json"],
        ["sessions", "list", "--all"],
    ):
        with subprocess.Popen(
            [*COMMAND, *arguments], env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            said = process.stderr.read()
        assert "Traceback" not in said
        assert "Broken" not in said


async def test_a_turn_that_waits_for_a_person_says_for_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("may I?", calls=["pay"])
        yield pause((0, "pay"), arguments='{"sum":5}')

    def scripted(configuration: object, storage: str | None) -> Sojourn:
        return Sojourn(ScriptedEngine(script), storage="memory:")

    monkeypatch.setattr(run, "agent_runtime", scripted)
    monkeypatch.chdir(tmp_path)
    there = f"sqlite:///{tmp_path / 'told.db'}"
    assert await run.say_once(run.Wanted(prompt="pay", session="s", agent=None, storage=there)) == WAITS
    out, told = capsys.readouterr()
    assert out == ""
    assert 'the turn waits for 1 decision:\n  pay({"sum":5})\n    sojourn approvals approve ' in told
    assert await run.say_once(run.Wanted(prompt="pay", session="s", agent=None, storage=there, json=True)) == WAITS
    reply = json.loads(capsys.readouterr().out)
    assert (reply["finish_reason"], reply["approvals"][0]["args"]) == ("waiting", {"sum": 5})
    assert await run.say_once(run.Wanted(prompt="pay", session="s", agent=None, storage="memory:")) == WAITS
    told = capsys.readouterr().err
    assert "the turn waited for people (pay); the conversation was in memory only, and is gone" in told
    assert "sojourn approvals" not in told


async def test_what_is_said_to_a_session_that_waits_gives_up_nothing_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("may I?", calls=["pay"])
        yield pause((0, "pay"))

    storage = f"sqlite:///{tmp_path / 'chat.db'}"
    monkeypatch.setattr(run, "agent_runtime", lambda *_: Sojourn(ScriptedEngine(script), storage=storage))
    monkeypatch.chdir(tmp_path)
    wanted = run.Wanted(prompt="pay", session="s", agent=None, storage=storage, json=True)
    assert await run.say_once(wanted) == WAITS
    with pytest.raises(
        Refusal, match="session s waits for a decision about pay; decide with `sojourn approvals"
    ) as refused:
        await run.say_once(wanted)
    assert refused.value.code == FAILED
    assert await run.say_once(replace(wanted, supersede=True)) == WAITS
    async with reading(storage) as runtime:
        turns = await runtime.turns("s")
    assert sorted(turn.status for turn in turns) == [TurnStatus.CANCELLED, TurnStatus.WAITING]
    assert [turn.attempts for turn in turns] == [1, 1]


def test_what_was_in_memory_only_cannot_be_gone_on_with(home: Path) -> None:
    done = sojourn(home, "run", "hello", "--storage", "memory:")
    assert done.returncode == 0
    assert "the conversation was in memory only, and is gone" in done.stderr
    assert "go on with" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "told"),
    [
        ([""], b"", "the prompt is empty; say something"),
        (["-"], b" \n", "standard input is empty; say something"),
        (["-"], b"\xd4\x00", "standard input is no text in UTF-8"),
        ([b"\xd4"], b"", "the prompt is no text in UTF-8"),
    ],
)
def test_what_is_no_prompt_is_told_in_the_commands_words(
    home: Path, arguments: list[str | bytes], said: bytes, told: str
) -> None:
    known = environment(home, LC_ALL="C")
    done = subprocess.run([*COMMAND, "run", *arguments], env=known, input=said, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (2, f"error: {told}\n")


def test_a_piped_prompt_is_said_without_the_end_of_its_line(home: Path) -> None:
    sojourn(home, "run", "-s", "piped", said="Grüezi\n\n")
    assert printed("sessions", "history", "piped", "--json")["history"][0]["content"] == "Grüezi\n"


# -- with a model that takes its time


class Model:
    """A server that streams the beginning of an answer and then nothing until it is closed."""

    def __init__(self, *, status: int = 200) -> None:
        self.asked: queue.Queue[str] = queue.Queue()
        self._over = threading.Event()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                if status == 200:
                    self.wfile.write(b"data: " + json.dumps(CHUNK).encode() + b"\n\n")
                    self.wfile.flush()
                model.asked.put(self.path)
                if status == 200:
                    model._over.wait(30)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


CHUNK = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Once upon"}, "finish_reason": None}],
}  # fmt: skip


@pytest.fixture
def model() -> Iterator[Model]:
    served = Model()
    yield served
    served.close()


def agent(url: str) -> None:
    Path("agent.yml").write_text(
        f"llm: {{provider: openai-compatible, model: m, baseURL: '{url}'}}\n"
        "systemPrompt: be brief\nstorage: {database: {type: sqlite, path: chat.db}}\n"
    )


def test_ctrl_c_cancels_the_turn_and_ends_with_130(home: Path, model: Model) -> None:
    agent(model.url)
    with subprocess.Popen(
        [*COMMAND, "run", "tell me a story", "-s", "story"], env=environment(home), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        model.asked.get(timeout=30)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, ""), told
    assert "cancelled" in told
    assert "Traceback" not in told
    shape = printed("sessions", "show", "story", "--json")
    assert (shape["status"], [turn["status"] for turn in shape["turns"]]) == ("idle", ["cancelled"])


def test_ctrl_c_in_a_terminal_keeps_what_was_written(home: Path, model: Model) -> None:
    agent(model.url)
    with terminal(home, "run", "tell me a story", "-s", "story") as seen:
        seen.wait_for("Once upon")
        seen.type("\x03")
        assert seen.end() == 130
    assert printed("sessions", "history", "story", "--json")["history"][-1]["content"].startswith("Once upon")


def test_a_turn_that_fails_is_one_sentence_and_exit_code_1(home: Path) -> None:
    served = Model(status=401)
    try:
        agent(served.url)
        done = sojourn(home, "run", "hello")
    finally:
        served.close()
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the turn failed: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_provider_that_is_not_there_is_named_with_its_address_and_told_once(home: Path) -> None:
    agent("http://me:hunter2@127.0.0.1:1/v1?token=hunter3")
    with Path("agent.yml").open("a") as file:
        file.write("sojourn: {modelRetries: 0}\n")
    done = sojourn(home, "run", "hello")
    whom = "the model's provider could not be reached (openai-compatible at 127.0.0.1:1)"
    told = f"error: the turn failed: {whom}; send the message again later\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_a_file_that_cannot_be_used_is_a_problem_a_line(home: Path) -> None:
    Path("agent.yml").write_text("llm: {provider: openai}\nsessions: {maxSessions: 0}\n")
    done = invoke("sessions", "list")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 3
    assert all(line.startswith("error: agent.yml:") for line in done.stderr.splitlines())
