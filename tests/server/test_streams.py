"""Streams on the wire: Dexto's events in its order, ids, going on behind one, an end always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from sojourn.abc import SessionRow
from sojourn.server.service import Options
from tests.server.kit import SOON, Block, becomes, blocks, names, raw_blocks, say, served, until
from tests.server.scripts import Door, asking, failing, tool_turn
from tests.server.shapes import check_event


def check_all(found: list[Block], *, named: bool = True) -> None:
    for block in found:
        check_event(block.name, block.data, named=named)
        assert block.data["sessionId"] == "s"


def complete(block: Block) -> bool:
    return block.name == "run:complete"


async def test_a_plain_turn_has_dextos_events_in_its_order() -> None:
    async with served() as server:
        found = await say(server, "hello")
    check_all(found)
    assert names(found) == ["llm:thinking", "llm:response", "run:complete"]
    assert found[-1].data["finishReason"] == "stop"
    assert found[-1].data["stepCount"] == 0
    pieces = "".join(block.data["content"] for block in found if block.name == "llm:chunk")
    response = next(block for block in found if block.name == "llm:response")
    assert pieces == response.data["content"] == "you said: hello"
    assert response.data["tokenUsage"]["totalTokens"] == 15


async def test_a_turn_with_a_tool_tells_of_the_call_and_its_result() -> None:
    async with served(tool_turn) as server:
        found = await say(server, "find it")
    check_all(found)
    assert names(found) == [
        "llm:thinking", "llm:tool-call", "tool:running", "llm:tool-result", "llm:response", "run:complete",
    ]  # fmt: skip
    assert found[-1].data["stepCount"] == 1
    result = next(block for block in found if block.name == "llm:tool-result")
    assert result.data["sanitized"]["content"] == [{"type": "text", "text": "three results"}]


async def test_a_turn_that_asks_goes_on_in_the_same_stream_once_somebody_has_decided() -> None:
    async with served(asking) as server:
        body = {"content": "mail her", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            reading = blocks(response)
            found: list[Block] = []
            asked = Block()
            async with asyncio.timeout(SOON):
                async for block in reading:
                    found.append(block)
                    if block.name == "run:waiting":
                        asked = next(one for one in found if one.name == "approval:request")
                        decided = await server.client.post(
                            f"/api/approvals/{asked.data['approvalId']}", json={"status": "approved"}
                        )
                        assert decided.json() == {
                            "ok": True, "approvalId": asked.data["approvalId"], "status": "approved",
                        }  # fmt: skip
    check_all(found)
    assert names(found) == [
        "llm:thinking", "llm:tool-call", "approval:request", "run:waiting", "approval:response", "tool:running",
        "llm:tool-result", "llm:response", "run:complete",
    ]  # fmt: skip
    assert asked.data["metadata"] == {
        "toolName": "send_mail", "toolCallId": "call-0", "args": {"to": "ann@example.org"},
    }  # fmt: skip
    assert found[-1].data["status"] == "completed"


async def test_a_stream_may_end_where_its_turn_waits() -> None:
    async with served(asking) as server:
        found = await say(server, "mail her", params={"until": "waiting"})
    assert names(found)[-1] == "run:waiting"


async def test_who_comes_back_to_a_turn_that_waits_is_told_only_what_comes_next() -> None:
    async with served(asking) as server:
        key = {"Idempotency-Key": "k"}
        found = await say(server, "mail her", params={"until": "waiting"}, headers=key)
        asked, waiting = found[-2:]
        assert (asked.name, asked.id) == ("approval:request", waiting.id)
        body, place = {"content": "mail her", "sessionId": "s"}, {**key, "Last-Event-ID": waiting.id or ""}
        rest = list[Block]()
        async with server.client.stream("POST", "/api/message-stream", json=body, headers=place) as response:
            async with asyncio.timeout(SOON):
                async for block in blocks(response):
                    rest.append(block)
                    if block.name == "run:waiting":
                        decision = {"status": "approved"}
                        await server.client.post(f"/api/approvals/{asked.data['approvalId']}", json=decision)
    assert names(rest) == [
        "run:waiting", "approval:response", "tool:running", "llm:tool-result", "llm:response", "run:complete",
    ]  # fmt: skip


async def test_a_failed_turn_ends_with_an_error_and_its_end() -> None:
    async with served(failing) as server:
        found = await say(server, "hello")
    check_all(found)
    assert names(found)[-2:] == ["llm:error", "run:complete"]
    assert found[-1].data["finishReason"] == "error"
    assert found[-1].data["error"]["code"] == "turn_failed"


async def test_a_session_is_followed_at_any_time_and_without_names_in_the_data() -> None:
    async with served() as server:
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        async with server.client.stream("GET", "/api/sessions/s/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-accel-buffering"] == "no"
            await server.client.post("/api/message", json={"content": "hi", "sessionId": "s"})
            found = await until(response, complete)
    check_all(found, named=False)
    assert names(found) == ["llm:thinking", "llm:response", "run:complete"]


async def test_a_reader_that_comes_back_gets_what_it_missed_and_nothing_twice() -> None:
    async with served(tool_turn) as server:
        whole = await say(server, "find it")
        await say(server, "and again")
        places = [block.id for block in whole if block.id is not None and "." not in block.id]
        assert len(places) >= 3
        for place in places:
            async with server.client.stream(
                "GET", "/api/sessions/s/events", headers={"Last-Event-ID": place}
            ) as response:
                found = await until(response, complete)
            index = next(i for i, block in enumerate(whole) if block.id == place)
            missed = [block for block in whole[index + 1 :] if block.name != "llm:chunk"]
            if missed:
                assert names(found) == [block.name for block in missed]


async def test_a_reader_that_comes_back_amid_an_answer_gets_the_rest_of_it() -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        async with server.client.stream("GET", "/api/sessions/s/events", headers={"Last-Event-ID": "0"}) as response:
            first = await until(response, lambda block: block.name == "llm:chunk")
        assert first[-1].data["content"] == "one "
        async with server.client.stream(
            "GET", "/api/sessions/s/events", headers={"Last-Event-ID": first[-1].id or ""}
        ) as response:
            door.open.set()
            rest = await until(response, complete)
    assert "one " not in [block.data.get("content") for block in rest if block.name == "llm:chunk"]
    assert [block.data["content"] for block in rest if block.name == "llm:response"] == ["one two"]


async def test_the_same_key_again_with_a_place_goes_on_behind_it() -> None:
    async with served() as server:
        whole = await say(server, "hello", headers={"Idempotency-Key": "k"})
        place = next(block.id for block in whole if block.id is not None)
        again = await say(server, "hello", headers={"Idempotency-Key": "k", "Last-Event-ID": place})
        turns = (await server.client.get("/api/sessions/s/turns")).json()["turns"]
    assert names(again) == ["llm:response", "run:complete"]
    assert len(turns) == 1


async def test_a_place_that_cannot_be_is_refused_before_the_stream_begins() -> None:
    async with served() as server:
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        answer = await server.client.get("/api/sessions/s/events", headers={"Last-Event-ID": "yesterday"})
        unknown = await server.client.get("/api/sessions/none/events")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "session_not_found")


async def test_a_session_is_followed_from_the_moment_its_reader_is_answered() -> None:
    answered, looks = asyncio.Event(), 0
    async with served() as server:
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        look = server.runtime.core.store.get

        async def late(user: str, id: str) -> SessionRow:
            nonlocal looks
            looks += 1
            if looks > 1:
                await answered.wait()
            return await look(user, id)

        server.runtime.core.store.get = late  # type: ignore[method-assign]
        async with server.client.stream("GET", "/api/sessions/s/events") as response:
            await server.runtime.send("s", "hello")
            answered.set()
            found = await until(response, complete)
    assert names(found) == ["llm:thinking", "llm:response", "run:complete"]


async def test_a_turn_survives_its_reader() -> None:
    door = Door()
    async with served(door) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            await until(response, lambda block: block.name == "llm:chunk")
        door.open.set()
        await becomes(server, "idle")
        history = (await server.client.get("/api/sessions/s/history")).json()["history"]
    assert [message["content"] for message in history] == ["wait", "one two"]


async def test_a_silent_stream_says_that_it_is_alive() -> None:
    door = Door()
    async with served(door, options=Options(heartbeat=0.02)) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response, asyncio.timeout(SOON):
            seen = [text async for text in _until_alive(response, door)]
    assert ": keepalive" in seen
    assert '"run:complete"' in seen[-1]


async def _until_alive(response: httpx.Response, door: Door) -> AsyncIterator[str]:
    async for text in raw_blocks(response):
        yield text
        if text.startswith(":"):
            door.open.set()


async def test_a_stream_behind_a_busy_session_waits_in_line_and_then_streams() -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        body = {"content": "hello", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            assert response.status_code == 200
            assert response.headers["x-turn"] == "2"
            door.open.set()
            found = await until(response, complete)
    assert names(found) == ["llm:thinking", "llm:response", "run:complete"]
    assert found[0].data["input"] == "hello"


@pytest.mark.parametrize("path", ["message-stream", "message-sync", "message"])
async def test_a_busy_session_can_be_refused(path: str) -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        body = {"content": "hello", "sessionId": "s", "busy": "reject"}
        answer = await server.client.post(f"/api/{path}", json=body)
        door.open.set()
    assert (answer.status_code, answer.json()["code"]) == (409, "session_busy")


async def test_a_cancelled_turn_ends_its_stream_with_an_event() -> None:
    door = Door()
    async with served(door) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            reading = asyncio.create_task(until(response, complete))
            await asyncio.wait_for(door.reached.wait(), SOON)
            answer = await server.client.post("/api/sessions/s/cancel")
            found = await reading
    assert answer.json() == {"cancelled": True, "sessionId": "s", "queueCleared": False, "clearedCount": 0}
    check_all(found)
    assert found[-1].data["finishReason"] == "cancelled"


async def test_a_deleted_session_ends_its_streams_with_an_event() -> None:
    door = Door()
    async with served(door) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with (
            server.client.stream("POST", "/api/message-stream", json=body) as turn,
            server.client.stream("GET", "/api/sessions/s/events") as session,
        ):
            readers = [asyncio.create_task(_all(turn)), asyncio.create_task(_all(session))]
            await asyncio.wait_for(door.reached.wait(), SOON)
            await server.client.delete("/api/sessions/s")
            found = await asyncio.wait_for(asyncio.gather(*readers), SOON)
    assert [blocks[-1].name for blocks in found] == ["session:deleted", "session:deleted"]


async def test_a_session_that_is_reset_ends_the_streams_of_its_turns_and_is_followed_further() -> None:
    door = Door()
    async with served(door) as server:
        first, second = ({"content": text, "sessionId": "s"} for text in ("wait", "behind it"))
        async with (
            server.client.stream("POST", "/api/message-stream", json=first) as running,
            server.client.stream("POST", "/api/message-stream", json=second) as in_line,
            server.client.stream("GET", "/api/sessions/s/events") as session,
        ):
            readers = [asyncio.create_task(_all(turn)) for turn in (running, in_line)]
            watching = asyncio.create_task(until(session, complete))
            await asyncio.wait_for(door.reached.wait(), SOON)
            await server.client.post("/api/reset", json={"sessionId": "s"})
            ends = [found[-1] for found in await asyncio.wait_for(asyncio.gather(*readers), SOON)]
            await say(server, "anew")
            followed = await watching
    told = next(block for block in followed if block.name == "session:reset")
    assert [(block.name, block.id) for block in ends] == [("session:reset", told.id)] * 2
    assert names(followed[followed.index(told) :]) == [
        "session:reset", "llm:thinking", "llm:response", "run:complete",
    ]  # fmt: skip


async def test_a_reader_that_comes_back_to_a_turn_that_waits_gets_nothing_twice() -> None:
    key = {"Idempotency-Key": "k"}
    async with served(asking) as server:
        found = await say(server, "mail her", headers=key, params={"until": "waiting"})
        places = [int(block.id) for block in found if block.id is not None]
        body = {"content": "mail her", "sessionId": "s"}
        headers = {**key, "Last-Event-ID": found[-1].id or ""}
        async with server.client.stream("POST", "/api/message-stream", json=body, headers=headers) as response:
            (asked,) = (await server.client.get("/api/approvals")).json()["approvals"]
            await server.client.post(f"/api/approvals/{asked['approvalId']}", json={"status": "approved"})
            rest = await until(response, complete)
    assert found[-1].name == "run:waiting"
    assert places == sorted(places)
    assert [name for name in names(rest) if name != "run:waiting"] == [
        "approval:response", "tool:running", "llm:tool-result", "llm:response", "run:complete",
    ]  # fmt: skip


async def test_a_turn_is_told_whole_to_who_comes_with_a_place_of_a_session_that_is_gone() -> None:
    for place in ("1000", "1000.1.5"):
        async with served() as server:
            found = await say(server, "hello", headers={"Idempotency-Key": "k", "Last-Event-ID": place})
        check_all(found)
        assert names(found) == ["llm:thinking", "llm:response", "run:complete"]


async def test_a_turn_that_was_taken_out_of_the_line_ends_where_its_reader_is() -> None:
    door = Door()
    async with served(door) as server:
        await say(server, "hello")
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        body = {"content": "never mind", "sessionId": "s"}
        async with server.client.stream("POST", "/api/message-stream", json=body) as response:
            await server.client.delete("/api/follow-up/s")
            found = await asyncio.wait_for(_all(response), SOON)
        door.open.set()
    assert [(block.name, block.data["finishReason"]) for block in found] == [("run:complete", "cancelled")]
    assert int(found[0].id or "0") >= 4


async def test_a_server_that_closes_ends_its_streams_with_an_event() -> None:
    door = Door()
    async with served(door, close_wait=timedelta(0)) as server:
        body = {"content": "wait", "sessionId": "s"}
        async with (
            server.client.stream("POST", "/api/message-stream", json=body) as turn,
            server.client.stream("GET", "/api/sessions/s/events") as session,
        ):
            readers = [asyncio.create_task(_all(turn)), asyncio.create_task(_all(session))]
            await asyncio.wait_for(door.reached.wait(), SOON)
            server.server.stop()
            found = await asyncio.wait_for(asyncio.gather(*readers), SOON)
    assert [blocks[-1].name for blocks in found] == ["server:closing", "server:closing"]


async def test_data_is_on_one_line_whatever_was_said() -> None:
    said = "a\nb\r\nc\u2028d e 🙂"
    async with served() as server:
        found = await say(server, said)
    assert found[0].data["input"] == said


async def _all(response: httpx.Response) -> list[Block]:
    return [block async for block in blocks(response)]


async def test_watchers_hear_that_the_context_was_cleared_and_go_on_behind_it() -> None:
    async with served() as server:
        await say(server, "hello")
        place = {"Last-Event-ID": "3"}
        async with server.client.stream("GET", "/api/sessions/s/events", headers=place) as response:
            watching = asyncio.create_task(until(response, complete))
            await server.client.post("/api/sessions/s/clear-context")
            await server.client.post("/api/sessions/s/clear-context")
            await say(server, "anew")
            found = await watching
        async with server.client.stream("GET", "/api/sessions/s/events", headers=place) as response:
            later = await until(response, complete)
        place = {"Last-Event-ID": found[0].id or ""}
        async with server.client.stream("GET", "/api/sessions/s/events", headers=place) as response:
            behind = await until(response, complete)
        await server.client.post("/api/sessions/s/clear-context")
        again = await say(server, "and anew")
    check_all(found, named=False)
    assert (found[0].name, found[0].id, found[0].data) == ("context:cleared", "4", {"sessionId": "s"})
    whole = ["context:cleared", "llm:thinking", "llm:response", "run:complete"]
    assert names(found) == names(later) == whole
    assert names(behind) == names(again) == whole[1:]
