"""The examples of docs/server.md: what is asked and what should be answered, and a server to ask."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sojourn.abc import Run, RunFinished, Step, TextDelta, ToolSeen
from sojourn.testing import ScriptedEngine, ScriptedHistory, call_tool, pause, say

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
JSON = {"content-type": "application/json"}
SERVER = "localhost:8700"
#: Stands for anything; as a key for any other keys.
ANYTHING = "…"

_ANSWERS = {"My favourite colour is teal.": "Noted.", "And my name is Ann.": "Hello, Ann.",
            "What is my favourite colour?": "Teal."}  # fmt: skip


@dataclass
class Example:
    """One curl line and what is printed below it."""

    line: str
    printed: str


def examples() -> list[Example]:
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, printed = text.partition("\n")
            found.append(Example(line, printed.strip()))
    return found


@dataclass
class Asked:
    """A curl line, understood."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    into: str | None = None


def understood(line: str) -> Asked:
    words = shlex.split(line)
    headers = dict(JSON) if words[0] == "json" else {}
    method, body, path, into = None, None, "", None
    rest = iter(words[1:])
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, value = next(rest).split(": ", 1)
            headers[name] = value
        elif word in {"-d", "--data-binary"}:
            body = next(rest)
        elif word == ">":
            into = next(rest)
        elif word.startswith(SERVER):
            path = word.removeprefix(SERVER)
        else:
            assert word in {"-s", "-N", "-sN"}, f"{word!r} in {line!r}"
    return Asked(method or ("GET" if body is None else "POST"), path, headers, body, into)


class Support(ScriptedEngine):
    """The agent of the examples."""

    def __init__(self) -> None:
        super().__init__(_talk)

    async def tools(self) -> Sequence[ToolSeen]:
        return [ToolSeen("send_mail", "Send a mail.", {"type": "object"})]


async def _talk(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    role, text = history.told[-1]
    if text == "Take your time.":
        await asyncio.Event().wait()
    if text.startswith("Mail"):
        yield say("", calls=["send_mail"], gated=["send_mail"])
        yield pause((0, "send_mail"), arguments='{"to": "ann@example.org"}')
        return
    if role == "assistant":
        yield call_tool(0, "send_mail", "sent")
    answer = _ANSWERS.get(text, "Sent.")
    yield TextDelta(answer)
    yield say(answer, final=True)
    yield RunFinished(answer, None, "stop")


def check(found: Any, shown: Any, place: str = "$") -> None:
    """What was answered is what the page shows."""
    if shown == ANYTHING:
        return
    if isinstance(shown, dict):
        assert isinstance(found, dict), f"{place}: {found!r}"
        assert set(shown) - {ANYTHING} <= set(found), f"{place}: {set(shown) - set(found)} is not in {found}"
        assert ANYTHING in shown or set(found) <= set(shown), f"{place}: {set(found) - set(shown)} is not shown"
        for name in set(shown) - {ANYTHING}:
            check(found[name], shown[name], f"{place}.{name}")
    elif isinstance(shown, list):
        assert isinstance(found, list), f"{place}: {found!r}"
        assert len(found) == len(shown), f"{place}: {found!r}"
        for index, (one, other) in enumerate(zip(found, shown, strict=True)):
            check(one, other, f"{place}[{index}]")
    else:
        assert found == shown, place


def check_text(found: str, shown: str, place: str) -> None:
    """The same for a stream, or for plain text."""
    if shown.startswith(("id: ", "event: ")):
        events, expected = _events(found), _events(shown)
        assert [one[:2] for one in events] == [one[:2] for one in expected], place
        for (*_, data), (name, _, other) in zip(events, expected, strict=True):
            check(data, other, f"{place}: {name}")
    elif shown.startswith("{"):
        check(json.loads(found), json.loads(shown), place)
    else:
        assert found.strip() == shown, place


def _events(text: str) -> list[tuple[str, str, Any]]:
    """(name, id where that is a number, data) of each event."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        place = lines.get("id", "")
        found.append((lines["event"], "" if "." in place else place, json.loads(lines["data"])))
    return found
