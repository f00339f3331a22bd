"""The recorded customer conversations, where they lie beside the project: 99, and 30 with parallel calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

import pytest

from tests.replay.over_http import OverHttp
from tests.replay.stage import Replay

R = TypeVar("R", bound=Replay)

RECORDINGS = Path(__file__).parents[3] / "shared" / "replay"

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded conversations are not beside the project")


def replay(folder: Path, name: str, kind: type[R]) -> R:
    conversations, log = RECORDINGS / name, folder / "tools.log"
    return kind(
        conversations,
        folder,
        model=[str(RECORDINGS / "replay_llm.py"), str(conversations), "--port", "{port}"],
        tools=[sys.executable, str(RECORDINGS / "replay_tools.py"), str(conversations), "--log", str(log)],
        tool_log=log,
    )


@pytest.mark.parametrize("name", ["airline-dev.jsonl", "airline-parallel.jsonl"])
@pytest.mark.parametrize("kills", [0, 5])
@pytest.mark.parametrize("by_file", [False, True], ids=["agent", "agent.yml"])
async def test_recorded_conversations_are_replayed_without_a_mismatch(
    tmp_path: Path, name: str, *, by_file: bool, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    played = replay(tmp_path, name, Replay)
    played.by_file = by_file
    await played.perform(kills=kills)
    await played.check()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {played.stats['served']} served, {len(played.replies)} replies, most live {played.most_live}, "
            f"{played.kills} kills, at the end {played.last}\n"
        )


async def test_recorded_conversations_are_played_by_one_command_a_turn(tmp_path: Path) -> None:
    played = replay(tmp_path, "airline-parallel.jsonl", Replay)
    await played.perform_by_command(12)
    await played.check_stored(12)


@pytest.mark.parametrize("name", ["airline-dev.jsonl", "airline-parallel.jsonl"])
@pytest.mark.parametrize("kills", [0, 5])
async def test_recorded_conversations_are_played_over_http(
    tmp_path: Path, name: str, *, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    played = replay(tmp_path, name, OverHttp)
    await played.perform(kills=kills)
    await played.check()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name} over HTTP: {played.stats['served']} served, {len(played.replies)} replies, {played.cuts} lost "
            f"connections, {played.kills} kills, most live {played.most_live}\n"
        )
