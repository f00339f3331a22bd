"""What is wrong in Dexto's server, by the rows of the list that we keep of it, is right here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sojourn import Sojourn
from tests.server.kit import SOON, Block, becomes, blocks, names, say, served, until
from tests.server.scripts import Door, failing, tool_turn

SECRET_KEY = "sk-test-0123456789abcdefghijklmnop"

SAID = (
    "write to ann@example.org with Bearer abcdef0123456789 and sk-abcdefghijklmnopqrstuvwx, "
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl; password: hunter2"
)


async def test_d18_a_message_to_a_busy_session_is_accepted_and_runs() -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        answer = await server.client.post("/api/message", json={"content": "do not drop me", "sessionId": "s"})
        door.open.set()
        await becomes(server, "idle")
        history = (await server.client.get("/api/sessions/s/history")).json()["history"]
    assert answer.status_code == 202
    assert history[-1]["content"] == "you said: do not drop me"


async def test_d19_no_history_becomes_unreadable() -> None:
    async with served(tool_turn) as server:
        await say(server, "find it")
        before = await server.client.get("/api/sessions/s/history")
        meta = (await server.client.get("/api/sessions/s")).json()["session"]
        for _ in range(2):
            cleared = await server.client.post("/api/sessions/s/clear-context")
            assert (cleared.status_code, cleared.json()) == (200, {"status": "context cleared", "sessionId": "s"})
        history = await server.client.get("/api/sessions/s/history")
        after = (await server.client.get("/api/sessions/s")).json()["session"]
        await say(server, "find it")
        whole = await server.client.get("/api/sessions/s/history")
        forgotten = await server.client.post("/api/reset", json={"sessionId": "s"})
        unknown = await server.client.post("/api/sessions/none/clear-context")
    assert (history.status_code, history.json()) == (200, before.json())
    assert {**after, "lastActivity": 0} == {**meta, "lastActivity": 0}
    assert len(whole.json()["history"]) == 2 * len(before.json()["history"])
    assert (forgotten.status_code, unknown.status_code) == (200, 404)


async def test_d19_a_context_is_not_cleared_amid_a_turn() -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        refused = await server.client.post("/api/sessions/s/clear-context")
        door.open.set()
        await becomes(server, "idle")
        cleared = await server.client.post("/api/sessions/s/clear-context")
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert cleared.status_code == 200


async def test_d20_usage_counts_every_request_to_the_model() -> None:
    async with served(tool_turn) as server:
        body = {"content": "find it", "sessionId": "s"}
        answer = (await server.client.post("/api/message-sync", json=body)).json()
        session = (await server.client.get("/api/sessions/s")).json()["session"]
        loaded = (await server.client.get("/api/sessions/s/load")).json()["session"]
    totals = [used["tokenUsage"]["totalTokens"] for used in (answer, session, loaded, loaded["usageSummary"])]
    assert totals == [30] * 4
    assert [one["requests"] for one in session["modelStats"]] == [2]


async def test_d21_what_was_said_is_given_as_it_was_said() -> None:
    async with served() as server:
        answer = await server.client.post("/api/message-sync", json={"content": SAID, "sessionId": "s"})
        history = (await server.client.get("/api/sessions/s/history")).json()["history"]
        await server.client.put("/api/sessions/s/state", json={"state": {"token": "t", "password": "p"}})
        state = (await server.client.get("/api/sessions/s/state")).json()["state"]
        stream = await say(server, SAID)
    assert answer.json()["response"] == f"you said: {SAID}"
    assert [one["content"] for one in history] == [SAID, f"you said: {SAID}"]
    assert state == {"token": "t", "password": "p"}
    assert stream[0].data["input"] == SAID


async def test_d22_an_error_in_a_stream_has_no_stack() -> None:
    async with served(failing) as server:
        stream = await say(server, "hello")
        sync = await server.client.post("/api/message-sync", json={"content": "hello", "sessionId": "s"})
    error = next(block for block in stream if block.name == "llm:error")
    assert error.data["error"].keys() == {"name", "message"}
    told = f"{[block.data for block in stream]}{sync.text}"
    for word in ("stack", "Traceback", ".py", "site-packages", "sk-abcdefghijklmnopqrstuvwxyz"):
        assert word not in told
    assert (sync.status_code, sync.json()["code"]) == (502, "turn_failed")


async def test_d26_a_cancelled_turn_ends_its_callers_stream_with_an_event() -> None:
    door = Door()
    async with served(door) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            reading = asyncio.create_task(_all(blocks(response)))
            await asyncio.wait_for(door.reached.wait(), SOON)
            await server.client.post("/api/sessions/s/cancel")
            found = await asyncio.wait_for(reading, SOON)
        history = (await server.client.get("/api/sessions/s/history")).json()["history"]
    assert (found[-1].name, found[-1].data["finishReason"]) == ("run:complete", "cancelled")
    assert [one["content"] for one in history] == ["wait", "one "]


async def test_d27_events_have_ids_are_replayed_and_read_by_any_number_at_any_time() -> None:
    async with served() as server:
        first = await say(server, "hello")
        assert [block.id is not None for block in first if block.name in {"llm:thinking", "run:complete"}] == [True] * 2

        async def attach() -> list[Block]:
            async with server.client.stream(
                "GET", "/api/sessions/s/events", headers={"Last-Event-ID": first[0].id or ""}
            ) as response:
                assert response.status_code == 200
                return await until(response, lambda block: block.name == "run:complete")

        readers = await asyncio.gather(*(attach() for _ in range(10)))
    assert [names(found) for found in readers] == [["llm:response", "run:complete"]] * 10


async def test_d28_a_title_is_kept_whole_or_refused() -> None:
    async with served() as server:
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        for length in (81, 120, 200):
            answer = await server.client.patch("/api/sessions/s", json={"title": "x" * length})
            assert answer.json()["session"]["title"] == "x" * length
        refused = await server.client.patch("/api/sessions/s", json={"title": "x" * 201})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")


async def test_d29_no_answer_has_the_models_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "agent.yml"
    file.write_text(
        "systemPrompt: Be brief.\nstorage: {database: {type: in-memory}}\n"
        "llm: {provider: openai, model: gpt-5-mini, apiKey: $TEST_KEY, baseURL: 'http://127.0.0.1:9'}\n"
        "sojourn: {modelRetries: 0}\n"
    )
    caplog.set_level("DEBUG")
    runtime = Sojourn.from_file(file, environ={"TEST_KEY": SECRET_KEY})
    async with served(runtime=runtime) as server:
        get, post = server.client.get, server.client.post
        stream = await say(server, "hello")
        answers = [
            await get("/api/llm/current"),
            await get("/api/llm/current", params={"sessionId": "s"}),
            await post("/api/llm/switch", json={"sessionId": "s", "provider": "openai", "model": "gpt-5"}),
            await post("/api/llm/switch", json={"sessionId": "s", "model": "gpt-5", "apiKey": SECRET_KEY}),
            await get("/api/llm/current", params={"sessionId": "s"}),
            await get("/api/sessions/s/history"),
            await get("/api/sessions/s/export"),
            await get("/openapi.json"),
        ]
    assert stream[-1].data["finishReason"] == "error"
    assert answers[0].json()["config"]["model"] == "gpt-5-mini"
    for answer in answers:
        assert SECRET_KEY not in answer.text
        assert SECRET_KEY not in str(answer.headers)
    assert SECRET_KEY not in f"{[block.data for block in stream]}{caplog.text}"


async def _all(found: object) -> list[Block]:
    return [block async for block in found]  # type: ignore[attr-defined]
