"""docs/server.md shows what the server answers, and every route that it has."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from sojourn.server.errors import KINDS
from sojourn.server.service import Options
from tests.server.examples import PAGE, Asked, Support, check_text, examples, understood
from tests.server.kit import SOON, Served, served


async def test_every_example_of_the_page_is_answered_as_it_says() -> None:
    files: dict[str, str] = {}
    async with served(Support(), options=Options(greeting="Hello! How can I help?")) as server, asyncio.timeout(60):
        for example in examples():
            if example.line.startswith("alias"):
                continue
            asked = understood(await _filled(server, example.line))
            if asked.body is not None and asked.body.startswith("@"):
                asked = replace(asked, body=files[asked.body[1:]])
            text = await _answer(server, asked)
            if asked.into is not None:
                files[asked.into] = text
            else:
                check_text(text, example.printed, example.line)
            if asked.path == "/api/message":
                await _begun(server, text)


async def test_every_route_has_an_example_on_the_page() -> None:
    asked = [understood(example.line) for example in examples() if not example.line.startswith("alias")]
    async with served() as server:
        paths = (await server.client.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        # a parameter is one word; what is known by its full name is no parameter
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/?]+", path) + r"(\?.*)?")
        others = [other for other in paths if other != path and "{" not in other]
        for method in methods:
            assert any(
                one.method == method.upper() and pattern.fullmatch(one.path) and one.path.split("?")[0] not in others
                for one in asked
            ), f"{method.upper()} {path} has no example"


def test_every_event_that_is_sent_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    folder = PAGE.parents[1] / "src" / "sojourn" / "server"
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("events.py", "streams.py"))
    names = set(re.findall(r'sent\(\s*"([\w:-]+)"', source))
    assert len(names) > 15
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_code_of_the_servers_own_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    library = (PAGE.parent / "reference.md").read_text(encoding="utf-8")
    assert [code for code in KINDS if f"`{code}`" not in page + library] == []


async def _answer(server: Served, asked: Asked) -> str:
    body = None if asked.body is None else asked.body.encode()
    request = server.client.build_request(asked.method, asked.path, headers=asked.headers, content=body)
    response = await server.client.send(request, stream=True)
    text = ""
    async with asyncio.timeout(SOON):
        async for piece in response.aiter_text():
            text += piece
            if asked.path.endswith("/events") and re.search(r"event: run:complete\n.*\n\n", text):
                break
    await response.aclose()
    return text


async def _begun(server: Served, text: str) -> None:
    """Until the turn that was just put in line has begun, or is over."""
    session = re.findall(r'"sessionId":"([^"]+)"', text)[0]
    async with asyncio.timeout(SOON):
        while (await server.client.get(f"/api/sessions/{session}")).json()["session"]["status"] == "queued":  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def _filled(server: Served, line: str) -> str:
    """The line with its variables filled in as a reader would, from what was answered before."""
    sources = {
        "$APPROVAL": ("/api/approvals", "approvals", "approvalId"),
        "$REMEMBERED": ("/api/remembered-approvals", "remembered", "id"),
        "$STEER": ("/api/steer/long", "messages", "id"),
        "$FOLLOW_UP": ("/api/follow-up/long", "messages", "id"),
    }
    for name, (path, field, key) in sources.items():
        if name in line:
            found = (await server.client.get(path)).json()
            line = line.replace(name, found[field][0][key])
    return line
