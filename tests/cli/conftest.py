"""A database with a few conversations, made once and copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sojourn.bootstrap import Sojourn
from sojourn.engine.demo import demo_agent

SAID = {
    "greece-1": ["My favourite colour is teal.", "What is my favourite colour?"],
    "greece-2": ["Roll a die", "What is 2 + 3?"],
    "oslo-0000": ["[red]My number[/red] is 42 " + "and a very long title " * 5],
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("made") / "sojourn.db"

    async def make() -> None:
        async with Sojourn(demo_agent(), storage=f"sqlite:///{file}") as runtime:
            for name, lines in SAID.items():
                for line in lines:
                    await runtime.send(name, line)
            await runtime.for_user("anna").send("of-anna", "My town is Turin.")

    asyncio.run(make())
    return file


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the conversations of `SAID` are kept; the working directory has no agent.yml."""
    folder, elsewhere = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    elsewhere.mkdir()
    shutil.copy(made, folder / "sojourn.db")
    monkeypatch.setenv("SOJOURN_HOME", str(folder))
    monkeypatch.chdir(elsewhere)
    return folder
