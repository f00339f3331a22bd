"""The main job on conversations: a real process, a real model server, real tools, kills in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.replay.conversations import many, write
from tests.replay.stage import HERE, Replay


def replay(folder: Path, copies: int) -> Replay:
    conversations, log = folder / "conversations.jsonl", folder / "tools.log"
    write(conversations, many(copies))
    return Replay(
        conversations,
        folder,
        model=[str(HERE / "judge.py"), str(conversations), "{port}"],
        tools=[sys.executable, str(HERE / "tools.py"), str(conversations), str(log)],
        tool_log=log,
    )


async def test_every_conversation_is_played_with_an_intact_history(tmp_path: Path) -> None:
    played = replay(tmp_path, copies=5)
    await played.perform()
    await played.check()
    assert played.last["restored"] > 0


async def test_conversations_survive_kills_and_restarts_in_between(tmp_path: Path) -> None:
    played = replay(tmp_path, copies=5)
    await played.perform(kills=2)
    await played.check()
    assert played.kills == 2


async def test_an_agent_of_an_agent_file_plays_them_as_well(tmp_path: Path) -> None:
    played = replay(tmp_path, copies=3)
    played.by_file = True
    await played.perform(kills=1)
    await played.check()


@pytest.mark.parametrize("by_file", [False, True])
async def test_conversations_whose_every_call_is_asked_about_and_allowed_are_the_same(
    tmp_path: Path, *, by_file: bool
) -> None:
    played = replay(tmp_path, copies=3)
    played.by_file, played.manual = by_file, True
    await played.perform(kills=1)
    await played.check()
    assert played.last["allowed"] > 0


async def test_a_conversation_is_played_by_one_command_a_turn(tmp_path: Path) -> None:
    played = replay(tmp_path, copies=1)
    await played.perform_by_command(1)
    await played.check_stored(1)
