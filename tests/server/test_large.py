"""What is large is not done on the event loop in one go."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sojourn import Sojourn
from sojourn.abc import Entry, Run, RunFinished, Step, TextDelta
from sojourn.records import EventKind
from sojourn.server.pieces import lines_in_pieces
from sojourn.server.service import Options
from sojourn.sessions import desk
from sojourn.stores import common, excerpts
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, say
from tests.cli.kit import environment
from tests.server.kit import SOON, served


async def quiet(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    """Says little to whatever it is told."""
    async for step in answer("fine"):
        yield step


class Noting(ScriptedEngine):
    """Notes in which threads histories are read."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def history(self) -> ScriptedHistory:
        threads = self.threads

        class Noted(ScriptedHistory):
            def extend(self, entries: Sequence[Entry]) -> None:
                threads.append(threading.current_thread())
                super().extend(entries)

        return Noted()


async def test_an_imported_session_is_checked_beside_the_loop() -> None:
    engine = Noting()
    async with served(engine) as server:
        await server.client.post("/api/message-sync", json={"content": "hello", "sessionId": "s"})
        lines = (await server.client.get("/api/sessions/s/export")).content
        engine.threads.clear()
        headers = {"content-type": "application/x-ndjson"}
        made = await server.client.post("/api/sessions/import?sessionId=t", content=lines, headers=headers)
        assert made.status_code == 201, made.text
        assert engine.threads
        assert threading.current_thread() not in engine.threads
        again = (await server.client.get("/api/sessions/t/export")).content
    assert again.splitlines()[1:] == lines.splitlines()[1:]


async def test_what_a_search_shows_is_cut_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def noted(text: str, wanted: Sequence[str]) -> excerpts.Excerpt:
        threads.append(threading.current_thread())
        assert len(text) <= excerpts.MAX_READ
        return excerpt(text, wanted)

    excerpt = excerpts.excerpt
    monkeypatch.setattr(excerpts, "excerpt", noted)
    async with served(storage=f"sqlite:///{tmp_path / 'sojourn.db'}") as server:
        long = {"content": "walrus " + "so " * 500_000, "sessionId": "s"}
        await server.client.post("/api/message-sync", json=long)
        await server.client.post("/api/sessions", json={"sessionId": "t", "title": "walrus"})
        for path in ("messages", "sessions"):
            answer = await server.client.get(f"/api/search/{path}?q=walrus")
            assert len(answer.json()["results"]) == 2
            assert len(answer.content) < 10_000
    assert len(threads) == 4
    assert threading.current_thread() not in threads


async def test_what_a_deleted_session_leaves_is_removed_a_few_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    done = asyncio.Event()
    async with served(storage=f"sqlite:///{tmp_path / 'sojourn.db'}") as server:
        store = server.runtime.core.store
        purge = store.purge

        async def noting(limit: int = 10**6) -> bool:
            limits.append(limit)
            more = await purge(limit)
            if not more:
                done.set()
            return more

        for number in range(10):
            await server.client.post("/api/message-sync", json={"content": f"message {number}", "sessionId": "s"})
        monkeypatch.setattr(store, "purge", noting)
        await server.client.delete("/api/sessions/s")
        await asyncio.wait_for(done.wait(), SOON)
    assert len(limits) > 1
    assert max(limits) <= 20


def test_a_server_may_have_more_files_open_than_processes_usually_begin_with() -> None:
    told = """
import resource
from sojourn.server.running import allow_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
allow_files(128)
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (128, hard))
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


async def test_what_is_said_at_length_is_checked_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    beside: list[bool] = []
    check = desk.check_said

    def noting(*arguments: Any, **more: Any) -> desk.Said:
        beside.append(threading.current_thread() is not threading.main_thread())
        return check(*arguments, **more)

    monkeypatch.setattr(desk, "check_said", noting)
    image = {"type": "image", "image": "QUFB" * 100_000}
    parts = [{"type": "text", "text": f"{number}"} for number in range(1000)]
    async with served(quiet) as server:
        for content in ("short", "é" * 300_000, [image], parts, parts[:3]):
            made = await server.client.post("/api/message-sync", json={"content": content, "sessionId": "s"})
            assert made.status_code == 200, made.text
        told = (await server.client.get("/api/sessions/s/history")).json()["history"]
    assert beside == [False, True, True, True, False]
    assert [one["content"] for one in told[::2]] == ["short", "é" * 300_000, [image], parts, parts[:3]]


def test_a_long_text_is_made_searchable_like_a_short_one() -> None:
    letters = "Ab é ß ﬁ 中, ñ Ⅷ x̂ "
    long = letters * 5000
    assert common.searchable(long) == common.searchable(letters) * 5000


async def test_a_history_of_few_large_messages_comes_in_pieces() -> None:
    async with served(quiet) as server:
        for number in range(3):
            await server.client.post("/api/message-sync", json={"content": f"{number}" * 200_000, "sessionId": "s"})
        async with server.client.stream("GET", "/api/sessions/s/history") as response:
            assert "content-length" not in response.headers
            whole = json.loads(await response.aread())
    assert [len(one["content"]) for one in whole["history"]] == [200_000, 4, 200_000, 4, 200_000, 4]


async def test_large_lines_are_sent_one_by_one_and_short_ones_together() -> None:
    async def lines() -> AsyncGenerator[str]:
        for size in (10, 10, 100_000, 100_000, 10):
            yield "x" * size

    assert [len(piece) async for piece in lines_in_pieces(lines())] == [100_020, 100_000, 10]


async def test_only_what_says_something_may_be_very_large() -> None:
    async with served(quiet, options=Options(max_body=3000, max_other_body=1000)) as server:
        body = {"content": "x" * 2000, "sessionId": "s"}
        assert (await server.client.post("/api/message-sync", json=body)).status_code == 200
        assert (await server.client.post("/api/steer/s", json={"content": "x" * 2000})).status_code == 201
        refused = await server.client.put("/api/sessions/s/state", json={"state": {"x": "y" * 2000}})
        assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
        assert refused.json()["context"] == {"limit": 1000}


async def test_an_engine_that_never_waits_lets_others_run() -> None:
    async def eager(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for _ in range(20_000):
            yield TextDelta("x")
        yield say("x" * 20_000, final=True)
        yield RunFinished("x" * 20_000, None, "stop")

    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async with Sojourn(ScriptedEngine(eager), storage="memory:") as runtime:
        beating = asyncio.create_task(beat())
        async for event in runtime.stream("s", "go"):
            if event.kind is EventKind.TURN_OPENED:
                beats = 0
        beating.cancel()
    assert beats >= 100


async def test_the_first_request_finds_the_routes_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    signature = inspect.signature

    def noting(*arguments: Any, **more: Any) -> inspect.Signature:
        nonlocal looked
        looked += 1
        return signature(*arguments, **more)

    async with served(quiet) as server:
        monkeypatch.setattr(inspect, "signature", noting)
        made = await server.client.post("/api/sessions", json={"sessionId": "s"})
    assert made.status_code == 201
    assert looked <= 2


def test_a_process_that_serves_lets_its_collector_pass_over_what_is_loaded(tmp_path: Path) -> None:
    code = """
import gc, sys
from sojourn.cli.app import main
freeze = gc.freeze
gc.freeze = lambda: (freeze(), print("passed over", gc.get_freeze_count() > 10_000, flush=True))
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0"], cwd=tmp_path, env=environment(tmp_path), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "passed over True\n"
    finally:
        process.kill()
        process.communicate()
