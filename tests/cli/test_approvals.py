"""`sojourn approvals`: decided from another terminal than the one in which the question came up."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sojourn import Sojourn
from sojourn.abc import Run, Step
from sojourn.testing import ScriptedEngine, ScriptedHistory, pause, say
from tests.cli.chat_model import ASKING, SHOUT, Model, serving
from tests.cli.kit import COMMAND, environment, invoke, printed


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path, ASKING) as served:
        yield served


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], env=environment(folder), cwd=folder, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, told = process.communicate(timeout=60)
    return process.returncode, out, told


def ask(folder: Path, model: Model, *texts: str) -> list[dict[str, Any]]:
    """A turn of the session `s` that waits for this many calls; gives what waits."""
    process = begin(folder, "run", "shout", "--session", "s")
    answer = model.asked()
    for index, text in enumerate(texts):
        answer.call(SHOUT, json.dumps({"text": text}), index)
    answer.end()
    code, out, told = end(process)
    assert (code, out) == (3, "")
    waiting: list[dict[str, Any]] = printed("approvals", "list", "--json")["approvals"]
    for one in waiting:
        assert f"sojourn approvals approve {one['approvalId'][:8]}\n" in told
        assert f"sojourn approvals deny {one['approvalId'][:8]}\n" in told
    assert [one["args"]["text"] for one in waiting] == list(texts)
    return waiting


def test_the_last_decision_lets_the_turn_go_on_and_prints_its_answer(tmp_path: Path, model: Model) -> None:
    one, two = ask(tmp_path, model, "hi", "there")
    done = invoke("approvals", "deny", two["approvalId"][:8], "--reason", "too loud")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "denied" in done.stderr
    process = begin(tmp_path, "approvals", "approve", one["approvalId"], "--arguments", '{"text": "changed"}')
    answer = model.asked()
    told = [message["content"] for message in answer.asked["messages"] if message["role"] == "tool"]
    assert told[0].endswith("CHANGED")
    assert "too loud" in told[1]
    answer.write("I shouted once.")
    answer.end()
    code, out, said = end(process)
    assert (code, out) == (0, "I shouted once.\n")
    assert "approved with changed arguments" in said
    everything = printed("approvals", "list", "--all", "--json")["approvals"]
    assert [one["status"] for one in everything] == ["approved", "denied"]
    again = invoke("approvals", "approve", one["approvalId"])
    assert again.exit_code == 1
    assert "is decided: approved by local" in again.stderr


def test_a_turn_that_asks_again_ends_the_command_with_3_and_a_yes_may_be_remembered(
    tmp_path: Path, model: Model
) -> None:
    one, _ = ask(tmp_path, model, "a", "b")
    process = begin(tmp_path, "approvals", "approve", one["approvalId"], "--remember", "session_exact")
    code, out, told = end(process)
    assert (code, out) == (0, "")  # the other question still waits
    [left] = printed("approvals", "list", "--session", "s", "--json")["approvals"]
    assert left["args"] == {"text": "b"}
    assert left["approvalId"][:8] in told
    process = begin(tmp_path, "approvals", "approve", left["approvalId"])
    answer = model.asked()
    answer.call(SHOUT, '{"text": "a"}', 0)
    answer.call(SHOUT, '{"text": "c"}', 1)
    answer.end()
    code, out, told = end(process)
    assert (code, out) == (3, "")
    [left] = printed("approvals", "list", "--json")["approvals"]
    assert left["args"] == {"text": "c"}
    assert f"sojourn approvals approve {left['approvalId'][:8]}" in told


def test_a_decision_alone_leaves_the_turn_in_line_for_another_process(tmp_path: Path, model: Model) -> None:
    [one] = ask(tmp_path, model, "hi")
    done = invoke("approvals", "approve", one["approvalId"], "--no-run")
    assert done.exit_code == 0
    assert "sojourn chat --resume s" in done.stderr
    assert printed("sessions", "show", "s", "--json")["status"] == "queued"
    process = begin(tmp_path, "run", "and now?", "--session", "s")
    for text in ("HI", "later"):
        answer = model.asked()
        answer.write(text)
        answer.end()
    assert end(process)[:2] == (0, "later\n")
    assert [turn["status"] for turn in printed("sessions", "show", "s", "--json")["turns"]] == ["completed"] * 2


def test_a_session_shows_what_it_waits_for(tmp_path: Path, model: Model) -> None:
    [one] = ask(tmp_path, model, "hi")
    shown = invoke("sessions", "show", "s").stdout
    assert "status         waiting" in shown
    assert f'waits for decisions\n{SHOUT}({{"text": "hi"}})\n  {one["approvalId"]} pending' in shown
    listed = invoke("approvals", "list").stdout
    assert one["approvalId"] in listed


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["approve", "nothing"], 1, "no approval 'nothing' waits"),
        (["approve", "{}"], 1, "give at least 4 characters"),
        (["approve", "{id}", "--arguments", "[1]"], 2, "arguments: found '[1]'"),
        (["deny", "{id}", "--reason", "x" * 3000], 2, "reason: found"),
        (["approve", "{id}", "--remember", "ever"], 2, "Invalid value"),
        (["list", "--session", "none"], 1, "no session 'none'"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_decides_nothing(
    home: Path, arguments: list[str], code: int, sentence: str
) -> None:
    asked = asyncio.run(ask_at_once(home / "sojourn.db"))
    filled = [word.format(asked[:1], id=asked[:8]) for word in arguments]
    done = invoke("approvals", *filled, *([] if filled[0] == "list" else ["--no-run"]))
    assert done.exit_code == code
    assert sentence in done.stderr
    assert len(printed("approvals", "list", "--json")["approvals"]) == 1


async def ask_at_once(file: Path) -> str:
    """A question of the session `s`, without a model; gives its id."""

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield say("may I?", calls=["pay"])
        yield pause((0, "pay"))

    async with Sojourn(ScriptedEngine(script), storage=f"sqlite:///{file}") as runtime:
        [one] = (await runtime.send("s", "pay")).approvals
        return one.id


def test_where_nothing_waits_that_is_said(home: Path) -> None:
    done = invoke("approvals", "list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing waits for a decision" in done.stderr
