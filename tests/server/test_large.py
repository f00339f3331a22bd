"""What is large is not done on the event loop in one go."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sojourn.abc import Entry
from sojourn.stores import excerpts
from sojourn.testing import ScriptedEngine, ScriptedHistory
from tests.server.kit import SOON, served


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
