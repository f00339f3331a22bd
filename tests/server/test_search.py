"""Searching over HTTP: what was said, and which sessions say it most, in Dexto's shapes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sojourn.errors import StorageCorrupt
from sojourn.server.routes.search import SESSIONS
from tests.server.kit import Served, served
from tests.server.scripts import tool_turn
from tests.server.shapes import FOUND_MESSAGES, FOUND_SESSIONS, SESSION, TITLE_HIT, check

MESSAGES, IN_SESSIONS = "/api/search/messages", "/api/search/sessions"


async def asked(server: Served, path: str, **query: Any) -> Any:
    answer = await server.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def say(server: Served, content: Any, session: str = "s") -> None:
    answer = await server.client.post("/api/message-sync", json={"content": content, "sessionId": session})
    assert answer.status_code == 200, answer.text


async def history(server: Served, session: str = "s") -> Any:
    return (await asked(server, f"/api/sessions/{session}/history"))["history"]


async def test_messages_are_found_with_the_words_around_them() -> None:
    async with served() as server:
        await say(server, "hello")
        await say(server, "My favourite COLOUR is teal, more than anything else that I have ever seen in all my life.")
        found = await asked(server, MESSAGES, q="colour", role="user")
        said = await history(server)
    check(found, FOUND_MESSAGES)
    (hit,) = found["results"]
    assert (hit["sessionId"], hit["matchedText"], hit["messageIndex"]) == ("s", "COLOUR", 2)
    assert hit["message"] == said[hit["messageIndex"]]
    assert hit["context"] == "My favourite COLOUR is teal, more than anything else that I have ever seen in a…"
    assert {**found, "results": []} == {
        "results": [], "total": 1, "totalIsExact": True, "hasMore": False, "next": None, "query": "colour",
        "options": {"limit": 20, "offset": 0, "role": "user"},
    }  # fmt: skip


async def test_pages_go_by_offset_as_in_dexto_and_by_cursor() -> None:
    async with served() as server:
        for number in range(5):
            await say(server, f"walrus {number}", f"s{number % 2}")
        whole = await asked(server, MESSAGES, q="walrus", limit=100)
        first = await asked(server, MESSAGES, q="walrus", limit=4)
        by_offset = await asked(server, MESSAGES, q="walrus", limit=4, offset=4)
        by_cursor = await asked(server, MESSAGES, q="walrus", limit=4, after=first["next"])
        last = await asked(server, MESSAGES, q="walrus", limit=4, offset=8)
    assert (whole["total"], whole["hasMore"], whole["next"]) == (10, False, None)
    assert [first["hasMore"], by_offset["hasMore"], last["hasMore"]] == [True, True, False]
    assert by_offset["results"] == by_cursor["results"]
    assert first["results"] + by_offset["results"] + last["results"] == whole["results"]
    assert by_cursor["options"] == {"limit": 4, "offset": 0, "after": first["next"]}
    assert [hit["message"]["content"] for hit in whole["results"][:2]] == ["you said: walrus 4", "walrus 4"]


async def test_a_session_and_a_role_can_be_chosen_and_tools_are_not_looked_into() -> None:
    async with served(tool_turn) as server:
        await say(server, "three results, please", "s")
        await say(server, "three results", "t")
        roles = {role: await asked(server, MESSAGES, q="results", role=role) for role in ("user", "tool", "system")}
        answers = await asked(server, MESSAGES, q="found", role="assistant", sessionId="t")
        unknown = await server.client.get(MESSAGES, params={"q": "results", "sessionId": "none"})
    assert [[hit["sessionId"] for hit in found["results"]] for found in roles.values()] == [["t", "s"], [], []]
    assert [(hit["sessionId"], hit["message"]["content"]) for hit in answers["results"]] == [("t", "found it")]
    assert answers["options"] == {"limit": 20, "offset": 0, "sessionId": "t", "role": "assistant"}
    assert (unknown.status_code, unknown.json()["code"]) == (404, "session_not_found")


async def test_sessions_are_found_by_messages_and_by_titles() -> None:
    async with served() as server:
        await say(server, "a walrus", "once")
        await say(server, "a walrus", "twice")
        await say(server, "the walrus", "twice")
        await server.client.post("/api/sessions", json={"sessionId": "empty", "title": "The walrus"})
        found = await asked(server, IN_SESSIONS, q="walrus")
        part = await asked(server, IN_SESSIONS, q="walrus", limit=1, offset=1)
        listed = (await asked(server, "/api/sessions"))["sessions"]
        said = await history(server, "twice")
    title = found["results"].pop()
    check(found, FOUND_SESSIONS)
    check(title, {"sessionId": str, "matchCount": int, "firstMatch": TITLE_HIT, "metadata": SESSION})
    assert [(one["sessionId"], one["matchCount"]) for one in (*found["results"], title)] == [
        ("twice", 5), ("once", 3), ("empty", 1),
    ]  # fmt: skip
    assert (found["total"], found["totalIsExact"], found["hasMore"]) == (3, True, False)
    assert found["results"][0]["firstMatch"]["message"] == said[0]
    assert (title["firstMatch"]["matchedText"], title["firstMatch"]["context"]) == ("walrus", "The walrus")
    assert all(one["metadata"] in listed for one in (*found["results"], title))
    assert [one["sessionId"] for one in part["results"]] == ["once"]
    assert (part["total"], part["hasMore"]) == (3, True)
    assert SESSIONS == 100


async def test_what_is_forgotten_is_not_found() -> None:
    async with served() as server:
        for name in ("deleted", "reset"):
            await say(server, "hello", name)
            await say(server, "walrus", name)
        await server.client.delete("/api/sessions/deleted")
        await server.client.post("/api/reset", json={"sessionId": "reset"})
        assert (await asked(server, MESSAGES, q="walrus"))["results"] == []
        assert (await asked(server, IN_SESSIONS, q="walrus"))["results"] == []


async def test_searching_makes_no_session_live() -> None:
    async with served(storage="memory:") as server:
        await say(server, "walrus")
        await server.client.post("/api/sessions/s/unload")
        assert (await asked(server, MESSAGES, q="walrus"))["total"] == 2
        assert (await asked(server, IN_SESSIONS, q="walrus"))["total"] == 1
        assert (await asked(server, "/api/statistics"))["live"] == 0


@pytest.mark.parametrize("path", [MESSAGES, IN_SESSIONS])
@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "x" * 1_001}, "q"),
        ({"q": "walrus " * 1_428 + "wal"}, "q"),
        ({"q": "x", "limit": 0}, "limit"),
        ({"q": "x", "limit": 101}, "limit"),
        ({"q": "x", "limit": "many"}, "limit"),
        ({"q": "x", "offset": -1}, "offset"),
        ({"q": "x", "offset": 10_001}, "offset"),
    ],
)
async def test_what_cannot_be_is_told_by_name(path: str, query: dict[str, Any], place: str) -> None:
    async with served() as server:
        answer = await server.client.get(path, params=query)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"
    assert answer.json()["context"]["issues"][0]["path"] == f"query.{place}"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"role": "nobody"}, "invalid_input"),
        ({"sessionId": "a/b"}, "session_id_invalid"),
        ({"after": "x"}, "invalid_input"),
    ],
)
async def test_what_cannot_be_chosen_is_refused(query: dict[str, str], code: str) -> None:
    async with served() as server:
        answer = await server.client.get(MESSAGES, params={"q": "walrus", **query})
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    "raw", ["%20", "%00", "%22", "%22%20OR%201%3D1", "*", "%ED%A0%BD", "%F0%9F%98%80", "%FF%FE", "NEAR(", "%25", "^x:y"]
)
async def test_signs_halves_and_syntax_are_no_words_and_no_error(raw: str) -> None:
    async with served() as server:
        await say(server, "walrus 😀 100%")
        for path in (MESSAGES, IN_SESSIONS):
            answer = await server.client.get(httpx.URL(f"{server.url}{path}?q={raw}"))
            assert (answer.status_code, answer.json()["results"]) == (200, [])
            assert answer.json()["total"] == 0


async def test_what_is_said_with_emoji_and_accents_is_found_and_given_as_it_was() -> None:
    async with served() as server:
        await say(server, [{"type": "text", "text": "Une café 👨‍👩‍👧 à Zürich"}, {"type": "image", "image": "aGk="}])
        found = await asked(server, MESSAGES, q="cafe ZUR", role="user")
    (hit,) = found["results"]
    assert (hit["matchedText"], hit["context"]) == ("café", "Une café 👨‍👩‍👧 à Zürich")
    assert hit["message"]["content"] == "Une café 👨‍👩‍👧 à Zürich"


async def test_a_long_message_is_cut_around_the_words() -> None:
    async with served() as server:
        await say(server, "so " * 20_000 + "walrus " + "and " * 20_000)
        answer = await server.client.get(MESSAGES, params={"q": "walrus", "role": "user"})
    (hit,) = answer.json()["results"]
    assert "so so walrus and and" in hit["message"]["content"]
    assert len(answer.content) < 5_000


async def test_a_storage_that_fails_is_no_empty_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise StorageCorrupt("chat.db", "torn")

    async with served() as server:
        for path, call in ((MESSAGES, "search"), (IN_SESSIONS, "search_sessions")):
            monkeypatch.setattr(server.runtime.core.store, call, fails)
            answer = await server.client.get(path, params={"q": "walrus"})
            assert (answer.status_code, answer.json()["code"]) == (500, "storage_corrupt")
