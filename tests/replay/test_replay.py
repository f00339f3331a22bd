"""The main job on conversations: a real process, a real model server, real tools, kills in between."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

import pytest

from tests.replay.conversations import many, write
from tests.replay.over_http import OverHttp
from tests.replay.stage import HERE, Replay

R = TypeVar("R", bound=Replay)


def replay(folder: Path, copies: int, kind: type[R]) -> R:
    conversations, log = folder / "conversations.jsonl", folder / "tools.log"
    write(conversations, many(copies))
    return kind(
        conversations,
        folder,
        model=[str(HERE / "judge.py"), str(conversations), "{port}"],
        tools=[sys.executable, str(HERE / "tools.py"), str(conversations), str(log)],
        tool_log=log,
    )


async def test_every_conversation_is_played_with_an_intact_history(tmp_path: Path) -> None:
    played = replay(tmp_path, 5, Replay)
    await played.perform()
    await played.check()
    assert played.last["restored"] > 0


async def test_conversations_survive_kills_and_restarts_in_between(tmp_path: Path) -> None:
    played = replay(tmp_path, 5, Replay)
    await played.perform(kills=2)
    await played.check()
    assert played.kills == 2


async def test_an_agent_of_an_agent_file_plays_them_as_well(tmp_path: Path) -> None:
    played = replay(tmp_path, 3, Replay)
    played.by_file = True
    await played.perform(kills=1)
    await played.check()


@pytest.mark.parametrize("by_file", [False, True])
async def test_conversations_whose_every_call_is_asked_about_and_allowed_are_the_same(
    tmp_path: Path, *, by_file: bool
) -> None:
    played = replay(tmp_path, 3, Replay)
    played.by_file, played.manual = by_file, True
    await played.perform(kills=1)
    await played.check()
    assert played.last["allowed"] > 0


async def test_a_conversation_is_played_by_one_command_a_turn(tmp_path: Path) -> None:
    played = replay(tmp_path, 1, Replay)
    await played.perform_by_command(1)
    await played.check_stored(1)


async def test_they_are_played_over_http_with_lost_connections_and_a_killed_server(tmp_path: Path) -> None:
    played = replay(tmp_path, 3, OverHttp)
    await played.perform(kills=1)
    await played.check()
    assert played.kills == 1
    assert played.cuts


async def test_over_http_too_every_call_can_be_asked_about(tmp_path: Path) -> None:
    played = replay(tmp_path, 2, OverHttp)
    played.manual = True
    await played.perform(kills=1)
    await played.check()
    assert played.allowed
