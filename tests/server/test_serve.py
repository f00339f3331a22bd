"""`sojourn serve` as a process: what it prints, what it refuses, how it ends; and the application in other servers."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sojourn import Sojourn
from sojourn.errors import RuntimeClosed
from sojourn.server.running import FORCED_EXIT
from sojourn.server.service import Options
from sojourn.testing import ScriptedEngine
from tests.cli.kit import COMMAND, environment
from tests.server.kit import SOON, blocks, served, until
from tests.server.scripts import Door

KEY = "a-key-of-the-server"


class Process:
    """A server that has said where it is."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        self.process, self.lines = process, lines
        self.url = re.findall(r"http://[^ ,/]+", "\n".join(lines))[0]

    @property
    def example(self) -> str:
        """The line to try."""
        return next(line for line in self.lines if "curl" in line).strip()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code, and what it said on standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextmanager
def serving(home: Path, *arguments: str, **more: str) -> Iterator[Process]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments], env=environment(home, **more), cwd=home, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "curl" not in lines[-1]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line)
        yield Process(process, lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def refused(home: Path, *arguments: str, **more: str) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, "serve", *arguments], env=environment(home, **more), cwd=home, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def asked(line: str, **headers: str) -> httpx.Response:
    """What a curl line asks, asked without curl."""
    words = shlex.split(line)
    url = next(word for word in words if word.startswith("http"))
    given = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    return httpx.post(url, content=body, headers={**given, **headers}, timeout=SOON, trust_env=False)


def test_it_says_where_it_is_and_its_example_works(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        told = "".join(server.lines)
        assert "demo agent" in told
        assert str(tmp_path / "sojourn.db") in told
        answer = asked(server.example)
        assert "your favourite colour is teal." in answer.text
        assert "run:complete" in answer.text
        code, errors = server.end()
    assert code == 0
    logged = [json.loads(line) for line in errors.splitlines()]
    assert [(line["path"], line["status"]) for line in logged] == [("/api/message-stream", 200)]
    assert "teal" not in errors
    with serving(tmp_path, "--log-level", "error") as server:
        history = httpx.get(f"{server.url}/api/sessions/hello/history", timeout=SOON, trust_env=False).json()
        assert [one["role"] for one in history["history"]] == ["user", "assistant"]
        assert server.end(signal.SIGINT) == (0, "")


def test_its_log_is_json_whatever_is_sent(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        place = "127.0.0.1", int(server.url.rpartition(":")[2])
        for sent in (b"GET / pomegranate\r\n\r\n", b"\x16\x03\x01"):
            with socket.create_connection(place, timeout=SOON) as connection:
                connection.sendall(sent)
                assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
        code, errors = server.end()
    assert code == 0
    assert [json.loads(line)["level"] for line in errors.splitlines()] == ["warning"] * 2
    assert "pomegranate" not in errors


def test_its_log_is_json_where_the_agents_file_wants_it_too(tmp_path: Path) -> None:
    agent = {
        "systemPrompt": "You are silent.", "storage": {"database": {"type": "in-memory"}},
        "llm": {"provider": "openai-compatible", "model": "m", "apiKey": "none", "baseURL": "http://127.0.0.1:9/v1"},
        "logger": {"level": "info", "transports": [{"type": "file", "path": "serve.log"}]},
    }  # fmt: skip
    (tmp_path / "agent.yml").write_text(json.dumps(agent), encoding="utf-8")
    with serving(tmp_path, "agent.yml") as server:
        assert httpx.get(f"{server.url}/api/sessions/none", timeout=SOON, trust_env=False).status_code == 404
        assert server.end() == (0, "")
    logged = [json.loads(line) for line in (tmp_path / "serve.log").read_text(encoding="utf-8").splitlines()]
    assert [line["code"] for line in logged if line.get("event") == "request"] == ["session_not_found"]


def test_a_stream_that_is_open_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as server, httpx.Client(base_url=server.url, timeout=SOON, trust_env=False) as client:
        client.post("/api/sessions", json={"sessionId": "s"})
        with client.stream("GET", "/api/sessions/s/events") as response:
            code, _ = server.end()
            text = "".join(response.iter_text())
    assert code == 0
    assert text.startswith("event: server:closing\n")


def test_with_a_key_the_example_shows_where_it_goes(tmp_path: Path) -> None:
    with serving(tmp_path, "--host", "0.0.0.0", SOJOURN_API_KEY=KEY) as server:
        assert KEY not in "".join(server.lines)
        assert "$SOJOURN_API_KEY" in server.example
        example = server.example.replace("$SOJOURN_API_KEY", KEY)
        assert asked(example).status_code == 200
        assert asked(example, Authorization="Bearer wrong").status_code == 401
        code, errors = server.end()
    assert code == 0
    assert KEY not in errors


def test_it_does_not_let_every_machine_in_without_a_key(tmp_path: Path) -> None:
    code, errors = refused(tmp_path, "--host", "0.0.0.0")
    assert code == 2
    assert "SOJOURN_API_KEY" in errors
    assert errors.count("\n") == 1


def test_a_port_that_is_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, errors = refused(tmp_path, "--port", str(port))
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"error: port {port} of 127.0.0.1 is in use")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--log-level", "loud"], 2, "--log-level: found 'loud'"),
        (["--host", "256.0.0.1", "--port", "0"], 2, "--host"),
        (["missing.yml"], 1, "missing.yml"),
        (["--storage", "sqlite:////nowhere/at/all.db", "--port", "0"], 1, "/nowhere/at"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    found, errors = refused(tmp_path, *arguments, SOJOURN_API_KEY=KEY)
    assert (found, errors.count("\n")) == (code, 1), errors
    assert words in errors


async def test_a_running_turn_gets_time_and_nothing_new_is_taken_while_it_ends() -> None:
    door = Door()
    async with served(door, close_wait=timedelta(seconds=SOON)) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            reading = asyncio.create_task(until(response, lambda block: block.name == "run:complete"))
            await asyncio.wait_for(door.reached.wait(), SOON)
            server.server._close()
            await asyncio.sleep(0)
            late = await server.client.post("/api/message", json={"content": "hi", "sessionId": "t"})
            ready = await server.client.get("/ready")
            alive = await server.client.get("/health")
            door.open.set()
            found = await reading
    assert [(one.status_code, one.json()["code"]) for one in (late, ready)] == [(503, "runtime_closed")] * 2
    assert "retry-after" in late.headers
    assert alive.status_code == 200
    assert found[-1].data["status"] == "completed"


async def test_what_does_not_end_in_time_is_handed_over_and_goes_on_with_the_next_server(tmp_path: Path) -> None:
    storage, door = f"sqlite:///{tmp_path / 'chat.db'}", Door()
    async with served(door, storage=storage, close_wait=timedelta(0)) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
    again = Door()
    again.open.set()
    async with (
        served(again, storage=storage) as server,
        server.client.stream("GET", "/api/sessions/s/events", headers={"Last-Event-ID": "1"}) as response,
    ):
        found = await until(response, lambda block: block.name == "run:complete")
    assert found[-1].data["status"] == "completed"
    assert [block.data["content"] for block in found if block.name == "llm:response"] == ["one two"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once_and_the_turn_goes_on_with_the_next_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a model that never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        llm = {"provider": "openai-compatible", "model": "silent", "apiKey": "none", "baseURL": address}
        agent = {
            "systemPrompt": "You are silent.", "llm": llm, "sojourn": {"closeWait": 120_000},
            "storage": {"database": {"type": "sqlite", "path": "chat.db"}},
        }  # fmt: skip
        (tmp_path / "agent.yml").write_text(json.dumps(agent), encoding="utf-8")
        with serving(tmp_path, "agent.yml") as server:
            body = {"content": "hello", "sessionId": "s"}
            httpx.post(f"{server.url}/api/message", json=body, timeout=SOON, trust_env=False)
            with silent.accept()[0] as asked:
                assert asked.recv(1), "the model is asked"
                server.process.send_signal(number)
                while ready(server):
                    pass
                assert server.process.poll() is None, "the turn has its time"
                code, errors = server.end(number)
        assert code == 0, errors
        with serving(tmp_path, "agent.yml") as server, silent.accept()[0] as asked:
            assert asked.recv(1), "the turn goes on"


def test_what_nothing_else_ends_ends_with_the_process_behind_a_second_signal(tmp_path: Path) -> None:
    code = """
import asyncio, time
from sojourn import Sojourn
from sojourn.server.running import listen, make_server
from sojourn.testing import ScriptedEngine

async def stuck(run, history):
    print("stuck", flush=True)
    await asyncio.to_thread(time.sleep, 600)
    yield None

async def main():
    async with Sojourn(ScriptedEngine(stuck), storage="memory:") as runtime:
        await runtime.submit("s", "hello")
        with listen("127.0.0.1", 0) as listening:
            server = make_server(runtime.asgi(), runtime)
            await server.run_until_told([listening], lambda: print("started", flush=True))

asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {"stuck\n", "started\n"}
        for number in (signal.SIGINT, signal.SIGTERM):  # two of the same would be one to the system
            process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == FORCED_EXIT
    finally:
        process.kill()
        process.communicate()


def ready(server: Process) -> bool:
    """Whether it takes anything new."""
    try:
        return httpx.get(f"{server.url}/ready", timeout=SOON, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


async def test_the_application_is_mounted_in_another_one_with_the_runtimes_lifespan() -> None:
    runtime = Sojourn(ScriptedEngine(), storage="memory:")
    outer = Starlette(routes=[Mount("/agent", app=runtime.asgi(api_key=KEY))], lifespan=runtime.lifespan)
    transport = httpx.ASGITransport(app=outer)
    async with (
        outer.router.lifespan_context(outer),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        assert (await client.get("/agent/health")).text == "OK"
        assert (await client.get("/agent/api/sessions")).status_code == 401
        assert (await client.get("/agent/openapi.json")).json()["servers"] == [{"url": "/agent"}]
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await client.post("/agent/api/message-sync", json={"content": "hi", "sessionId": "s"}, headers=headers)
        assert answer.json()["response"] == "you said: hi"
        long = {"content": "x" * 2_000_000, "sessionId": "s"}  # as much as where it is not mounted
        assert (await client.post("/agent/api/message", json=long, headers=headers)).status_code == 202
        nothing = await client.get("/agent/nothing", headers=headers)
        assert "the paths are in /agent/openapi.json" in nothing.json()["message"]
    with pytest.raises(RuntimeClosed):
        runtime.check_open()


async def test_served_by_itself_the_application_opens_and_closes_the_runtime() -> None:
    runtime = Sojourn(ScriptedEngine(), storage="memory:")
    app = runtime.asgi()
    async with app.router.lifespan_context(app):
        await runtime.send("s", "hi")
    with pytest.raises(RuntimeClosed):
        runtime.check_open()


async def test_a_runtime_that_is_open_already_stays_its_openers() -> None:
    async with Sojourn(ScriptedEngine(), storage="memory:") as runtime:
        app = runtime.asgi()
        async with app.router.lifespan_context(app):
            await runtime.send("s", "hi")
        assert len(await runtime.history("s")) == 2


async def test_a_reader_that_does_not_read_slows_no_turn() -> None:
    async with served(options=Options()) as server:
        body = {"content": "x" * 1_000_000, "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as slow:
            assert slow.status_code == 200
            for _ in range(3):  # each as large, while nobody reads the first stream
                answer = await server.client.post("/api/message-sync", json=body)
                assert answer.status_code == 200
            found = [block async for block in blocks(slow)]
    assert found[-1].name == "run:complete"


async def test_a_reader_that_does_not_read_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sojourn.server.running.LAST_WORDS", 0.05)
    async with served(close_wait=timedelta(0)) as server:
        for _ in range(5):
            await server.runtime.send("s", "x" * 1_000_000)
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=1024)
        writer.write(b"GET /api/sessions/s/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: 0\r\n\r\n")
        await writer.drain()
        while not server.server.server_state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        async with asyncio.timeout(SOON):
            await server.stop()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
