"""The system prompt of an agent.yml: its contributors, their order, and files as they are when a turn runs."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest

from sojourn.config.schema import SystemPrompt
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.choices import Choice
from sojourn.engine.prompts import Prompt, own_pieces
from sojourn.errors import PromptFailed
from sojourn.testing import FakeClock
from tests.engine.core import Core, Script

SUNDAY = int(datetime(2026, 11, 22, 23, 59, 58, tzinfo=UTC).timestamp() * 1000)


def static(content: str, priority: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": content, "type": "static", "content": content, "priority": priority, **more}


def dynamic(source: str, **more: Any) -> dict[str, Any]:
    return {"id": source, "type": "dynamic", "source": source, "priority": 5, **more}


def files(*names: str, **options: Any) -> dict[str, Any]:
    return {"id": "files", "type": "file", "files": [*names], "priority": 9, "options": options}


class Prompted(PydanticAIEngine):
    """Tells its agent this prompt, as the engine of an agent.yml does."""

    def __init__(self, agent: Agent[None, str], prompt: Prompt) -> None:
        super().__init__(agent)
        self.prompt = prompt

    @asynccontextmanager
    async def choose(self, settings: Mapping[str, Any]) -> AsyncGenerator[Choice]:
        yield replace(self.choice, instructions=self.prompt.of(own_pieces(settings)))


class Told:
    """An agent with this system prompt, and what it was told at each request."""

    def __init__(self, folder: Path, *contributors: dict[str, Any], lines: tuple[Any, ...] = ("ok",) * 5) -> None:
        config = SystemPrompt.model_validate({"contributors": [*contributors]})
        self.clock = FakeClock(SUNDAY)
        self.model = Script(*lines)
        agent = Agent(self.model)
        agent.tool_plain(self.act)
        self.path = folder / "facts.md"
        self.core = Core(Prompted(agent, Prompt(config, base=folder, clock=self.clock)))

    def act(self) -> str:
        self.path.write_text("changed inside")
        return "acted"

    async def ask(self) -> str:
        await self.core.send("Hi")
        return instructions(self.model.sent[-1])


def instructions(messages: list[ModelMessage]) -> str:
    last = messages[-1]
    assert isinstance(last, ModelRequest)
    return last.instructions or ""


async def test_contributors_come_in_the_order_of_their_priority_and_disabled_ones_not_at_all(tmp_path: Path) -> None:
    told = Told(
        tmp_path, static("last", 50), static("first", 1), static("equal", 1), static("off", 2, enabled=False),
        dynamic("resources"),
    )  # fmt: skip
    assert await told.ask() == "first\n\nequal\n\nlast"


async def test_the_date_is_a_day_so_that_requests_of_one_day_begin_alike(tmp_path: Path) -> None:
    told = Told(tmp_path, dynamic("date"))
    assert await told.ask() == "Today is Sunday, 2026-11-22 (UTC)."
    await told.clock.advance(1)
    assert await told.ask() == "Today is Sunday, 2026-11-22 (UTC)."
    await told.clock.advance(1)
    assert await told.ask() == "Today is Monday, 2026-11-23 (UTC)."


async def test_the_environment_has_the_place_and_the_machine_and_no_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELL", "/opt/somewhere/fish")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = await Told(tmp_path, dynamic("env")).ask()
    assert str(tmp_path) in found
    assert "Shell: fish" in found
    assert os.uname().sysname in found
    assert "secret" not in found
    assert "somewhere" not in found


async def test_files_are_read_anew_for_each_turn_and_once_in_it(tmp_path: Path) -> None:
    told = Told(tmp_path, files("facts.md", includeFilenames=False), lines=("ok", [("act", {})], "ok", "ok"))
    told.path.write_text("\ufefferste")
    assert await told.ask() == "erste"
    told.path.write_text("zweite")
    assert await told.ask() == "zweite"
    assert [instructions(sent) for sent in told.model.sent] == ["erste", "zweite", "zweite"]
    assert await told.ask() == "changed inside"
    assert not any("zweite" in entry.body + entry.text for entry in told.core.log)


async def test_files_have_their_names_and_what_stands_between_them(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("eins")
    (tmp_path / "two.txt").write_text("zwei\n")
    os.utime(tmp_path / "one.md", (0, 0))
    os.utime(tmp_path / "two.txt", (86_400, 86_400))
    absolute = str(tmp_path / "two.txt")
    assert await Told(tmp_path, files("one.md", absolute)).ask() == f"## one.md\n\neins\n\n---\n\n## {absolute}\n\nzwei"
    both = await Told(tmp_path, files("one.md", "two.txt", separator=" | ", includeMetadata=True)).ask()
    assert both == (
        "## one.md\n(4 bytes, changed 1970-01-01 00:00 UTC)\n\neins | "
        "## two.txt\n(5 bytes, changed 1970-01-02 00:00 UTC)\n\nzwei"
    )


def unreadable(folder: Path) -> dict[str, str]:
    """Files that cannot be used, with what is said of them."""
    (folder / "big.md").write_text("x" * 101)
    (folder / "binary.md").write_bytes(b"\xff\xfe\x00")
    (folder / "folder.md").mkdir()
    os.mkfifo(folder / "pipe.md")
    return {
        "missing.md": "cannot be read (No such file or directory)",
        "big.md": "larger than maxFileSize, 100 bytes",
        "binary.md": "no UTF-8 text",
        "folder.md": "no regular file",
        "pipe.md": "no regular file",
    }


async def test_a_file_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.md").write_text("good")
    bad = unreadable(tmp_path)
    told = Told(tmp_path, files(*bad, "good.md", maxFileSize=100))
    with caplog.at_level(logging.WARNING):
        assert await told.ask() == "## good.md\n\ngood"
    for name, why in bad.items():
        assert f"{str(tmp_path / name)!r}" in caplog.text
        assert why in caplog.text


@pytest.mark.parametrize("name", ["missing.md", "big.md", "binary.md", "folder.md", "pipe.md"])
async def test_a_file_that_must_be_there_fails_the_turn_and_the_next_one_goes_on(tmp_path: Path, name: str) -> None:
    why = unreadable(tmp_path)[name]
    told = Told(tmp_path, static("first"), files(name, errorHandling="error", maxFileSize=100))
    with pytest.raises(PromptFailed) as failed:
        await told.ask()
    sentence = str(failed.value)
    assert sentence.startswith("systemPrompt, contributor 'files': file ")
    assert name in sentence
    assert why in sentence
    assert told.model.sent == []
    path = tmp_path / name
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_text("there now")
    assert (await told.ask()).endswith("there now")


async def test_a_prompt_of_nothing_is_no_prompt(tmp_path: Path) -> None:
    told = Told(tmp_path, files("missing.md"), dynamic("resources"))
    assert await told.ask() == ""
