"""The server as Dexto's own client sees it: what it sends, how it reads, and which fields it looks at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sojourn import Sojourn
from sojourn.server.service import Options
from tests.engine.echo import echo_agent
from tests.server.as_dexto import DextoClient, Refused, Shown, Tool
from tests.server.kit import SOON, Served, becomes, served
from tests.server.scripts import Door, failing
from tests.server.shapes import HISTORY, SESSION, SESSION_DETAIL, SESSION_LOADED, check

#: An id with every character that one may have, and none of them escaped on the way.
ID = "a:b@c.d_e-f"

#: What could end an event too early, or be read as a field.
NASTY = "one\n\ntwo\r\n\r\ndata: three\n: four\u2028five \U0001f980"


@asynccontextmanager
async def dexto(script: Any = None, **more: Any) -> AsyncIterator[tuple[DextoClient, Served]]:
    runtime = None if script is not None else Sojourn(echo_agent(), storage="memory:")
    async with served(script, runtime=runtime, **more) as server:
        yield DextoClient(server.client), server


async def loaded(client: DextoClient, session: str) -> Shown:
    history = await client.ask("GET", f"sessions/{session}/history")
    check(history, HISTORY)
    page = Shown()
    page.load(history)
    return page


async def test_sessions_are_made_listed_renamed_forked_opened_and_deleted() -> None:
    async with dexto() as (client, _):
        made = await client.ask("POST", "sessions", {"sessionId": ID})
        again = await client.ask("POST", "sessions", {"sessionId": ID})
        nameless = await client.ask("POST", "sessions", {})
        answer = await client.ask("POST", "message-sync", {"content": "hello", "sessionId": ID})
        named = await client.ask("PATCH", f"sessions/{ID}", {"title": "Colours"})
        titled = await client.ask("POST", f"sessions/{ID}/generate-title")
        child = await client.ask("POST", f"sessions/{ID}/fork")
        listed = await client.ask("GET", "sessions")
        one = await client.ask("GET", f"sessions/{ID}")
        opened = await client.ask("GET", f"sessions/{ID}/load")
        there, here = await loaded(client, child["session"]["id"]), await loaded(client, ID)
        gone = [await client.ask("DELETE", f"sessions/{ID}") for _ in range(2)]
        with pytest.raises(Refused, match="no session"):
            await client.ask("GET", f"sessions/{ID}")
    for found in (made, again, nameless, named, child, {"session": listed["sessions"][-1]}):
        check(found, {"session": SESSION})
    check(one, {"session": SESSION_DETAIL})
    check(opened, {"session": SESSION_LOADED})
    assert made["session"]["id"] == again["session"]["id"] == named["session"]["id"] == ID
    assert answer["response"] == "you said: hello"
    assert titled["title"] == named["session"]["title"] == "Colours"
    assert (child["session"]["title"], child["session"]["parentSessionId"]) == ("Fork: Colours", ID)
    assert {found["id"] for found in listed["sessions"]} == {
        found["session"]["id"] for found in (made, nameless, child)
    }  # fmt: skip
    assert one["session"]["history"] == 2
    assert [one["messageCount"] for one in opened["session"]["modelStats"]] == [1]
    assert there.lines == here.lines == [("user", "hello"), ("assistant", "you said: hello")]
    assert gone == [{"status": "deleted", "sessionId": ID}] * 2


@pytest.mark.parametrize("content", ["hello", NASTY, "think", "call look", "call nothing"])
async def test_what_is_streamed_is_what_the_history_shows_when_the_page_is_opened_again(content: str) -> None:
    live = Shown([("user", content)])
    async with dexto() as (client, _):
        for event in await client.say("s", content):
            live.read("s", event)
        opened = await loaded(client, "s")
    assert live.lines == opened.lines
    assert live.models == opened.models == {("echo", "function")}
    assert live.reasoning == opened.reasoning == (["hm, hm"] if content == "think" else [])
    assert not live.busy
    assert live.error is None
    if content == "call look":
        assert live.lines[1:] == [
            ("assistant", "let me see"), Tool("look", {"to": "ann"}, "ann is 7", success=True),
            ("assistant", "it says: ann is 7"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "decided", "result"),
    [
        ({"status": "approved", "rememberChoice": True}, "approved", "sent to ann"),
        ({"status": "denied", "reason": "user_denied", "message": "no mails"}, "rejected", "no mails"),
    ],
)
async def test_a_question_is_shown_by_a_page_that_was_opened_later_and_decided_there(
    answer: dict[str, Any], decided: str, result: str
) -> None:
    live, later = Shown([("user", "call send_mail")]), Shown()
    body = {"content": "call send_mail", "sessionId": "s"}
    async with dexto() as (client, _), asyncio.timeout(SOON), client.follow("POST", "message-stream", body) as events:
        async for event in events:
            live.read("s", event)
            if event["name"] != "run:waiting":
                continue
            for question in (await client.ask("GET", "approvals", sessionId="s"))["approvals"]:
                later.ask(question)
            assert live.questions.keys() == later.questions.keys()
            assert live.busy
            (asked,) = later.questions.values()
            assert asked["metadata"]["args"] == {"to": "ann"}
            done = await client.ask("POST", f"approvals/{asked['approvalId']}", answer)
            assert done == {"ok": True, "approvalId": asked["approvalId"], "status": answer["status"]}
        opened = await loaded(client, "s")
    assert live.questions == {}
    assert list(live.decided.values()) == [decided]
    assert live.lines == opened.lines
    call = live.lines[2]
    assert isinstance(call, Tool)
    assert result in (call.result or "")
    assert call.success is (decided == "approved")


@pytest.mark.parametrize("end", ["cancelled", "superseded"])
async def test_a_question_that_nobody_decided_is_shown_no_more_on_any_page(end: str) -> None:
    asking, watching = Shown(), Shown()
    body = {"content": "call send_mail", "sessionId": "s"}
    async with dexto() as (client, _), asyncio.timeout(SOON), client.follow("POST", "message-stream", body) as events:
        async for event in events:
            asking.read("s", event)
            if event["name"] == "run:waiting":
                break
        for question in (await client.ask("GET", "approvals", sessionId="s"))["approvals"]:
            watching.ask(question)
        assert len(asking.questions) == len(watching.questions) == 1
        async with client.follow("GET", "sessions/s/events") as later:
            if end == "cancelled":
                done = await client.ask("POST", "sessions/s/cancel", {"clearQueue": False})
                assert done == {"cancelled": True, "sessionId": "s", "queueCleared": False, "clearedCount": 0}
            else:
                await client.ask("POST", "message", {"content": "never mind", "sessionId": "s"})
            for page, stream in ((asking, events), (watching, later)):
                async for event in stream:
                    page.read("s", event)
                    if event["name"] == "run:complete":
                        assert event["finishReason"] == "cancelled"
                        break
    assert asking.questions == watching.questions == {}


async def test_what_is_said_into_a_turn_and_after_it_is_listed_taken_out_and_told() -> None:
    door, live = Door(), Shown([("user", "wait")])
    async with (
        dexto(door) as (client, server), asyncio.timeout(SOON),
        client.follow("POST", "message-stream", {"content": "wait", "sessionId": "s"}) as events,
    ):  # fmt: skip
        await door.reached.wait()
        for line in ("steer", "follow-up"):
            put = [await client.ask("POST", f"{line}/s", {"content": text}) for text in ("a", "b", "c")]
            found = await client.ask("GET", f"{line}/s")
            assert found["count"] == len(found["messages"]) == 3
            assert [one["id"] for one in found["messages"]] == [one["id"] for one in put]
            assert [one["content"][0]["text"] for one in found["messages"]] == ["a", "b", "c"]
            assert {one["queued"] for one in put} == {True}
            await client.ask("DELETE", f"{line}/s/{put[0]['id']}")
            with pytest.raises(Refused, match="no such message"):
                await client.ask("DELETE", f"{line}/s/{put[0]['id']}")
        assert await client.ask("DELETE", "follow-up/s") == {"cleared": True, "count": 2}
        door.open.set()
        async for event in events:
            live.read("s", event)
        await becomes(server, "idle")
        opened = await loaded(client, "s")
    assert live.lines == opened.lines
    assert ("user", "Additional user input received:") not in live.lines
    assert sum(line[0] == "user" for line in live.lines if not isinstance(line, Tool)) == 2


async def test_a_session_is_followed_by_the_names_of_its_events_alone() -> None:
    page = Shown([("user", "call look")])
    async with dexto() as (client, _), asyncio.timeout(SOON):
        await client.ask("POST", "sessions", {"sessionId": "s"})
        async with client.follow("GET", "sessions/s/events") as events:
            accepted = await client.ask("POST", "message", {"content": "call look", "sessionId": "s"})
            async for event in events:
                page.read("s", event)
                if event["name"] == "run:complete":
                    break
        opened = await loaded(client, "s")
    assert (accepted["accepted"], accepted["sessionId"]) == (True, "s")
    assert page.lines == opened.lines


async def test_a_turn_that_fails_says_so_and_frees_the_page() -> None:
    page = Shown()
    async with dexto(failing) as (client, _):
        for event in await client.say("s", "hello"):
            page.read("s", event)
        with pytest.raises(Refused) as refused:
            await client.ask("POST", "message-sync", {"content": "hello", "sessionId": "s"})
    assert (page.busy, refused.value.status) == (False, 502)
    assert page.error is not None
    assert "the model is gone" in page.error


async def test_a_refusal_says_a_sentence_to_people_also_where_a_stream_was_wanted() -> None:
    async with dexto() as (client, _):
        for method, path, body, status, words in (
            ("POST", "message-stream", {"content": "", "sessionId": "s"}, 400, "content"),
            ("POST", "message-stream", {"content": "hello"}, 400, "required"),
            ("POST", "message-stream", {"content": "hello", "sessionId": "a/b"}, 400, "a/b"),
            ("GET", "sessions/none/events", None, 404, "no session 'none'"),
        ):
            with pytest.raises(Refused, match=words) as refused:
                async with client.follow(method, path, body):
                    pytest.fail("it was not refused")
            assert refused.value.status == status
            assert {"code", "message", "scope", "type", "traceId"} <= refused.value.body.keys()


async def test_what_was_said_is_found_and_a_cleared_context_leaves_it_there() -> None:
    async with dexto() as (client, _):
        await client.ask("POST", "message-sync", {"content": "I like teal", "sessionId": ID})
        found = await client.ask("GET", "search/messages", q="teal", limit="10", sessionId=ID, role="user")
        sessions = await client.ask("GET", "search/sessions", q="teal")
        cleared = await client.ask("POST", f"sessions/{ID}/clear-context")
        page = await loaded(client, ID)
    (one,) = found["results"]
    assert (one["sessionId"], one["message"]["role"], one["messageIndex"]) == (ID, "user", 0)
    assert one["message"]["content"] == one["context"] == "I like teal"
    assert one["matchedText"] == "teal"
    assert (found["total"], found["hasMore"], found["query"]) == (1, False, "teal")
    (session,) = sessions["results"]
    assert (session["sessionId"], session["matchCount"]) == (ID, 3)  # a title counts
    assert session["firstMatch"]["message"]["content"] == "I like teal"
    assert session["metadata"]["messageCount"] == 2
    assert cleared == {"status": "context cleared", "sessionId": ID}
    assert ("user", "I like teal") in page.lines


async def test_the_rest_of_what_a_page_asks_for() -> None:
    options = Options(greeting="Hello!", api_key="k")
    async with dexto(options=options, headers={"Authorization": "Bearer k"}) as (client, _):
        await client.ask("POST", "message-sync", {"content": "hello", "sessionId": "s"})
        models = [await client.ask("GET", "llm/current", **query) for query in ({}, {"sessionId": "s"})]
        tools = await client.ask("GET", "tools")
        greeting = await client.ask("GET", "greeting")
        put = await client.ask("POST", "sessions/s/system-prompt/contributors", {"id": "tone", "content": "Be kind."})
        pieces = await client.ask("GET", "sessions/s/system-prompt/contributors")
        soft = await client.ask("POST", "sessions/s/cancel")
        hard = await client.ask("POST", "sessions/s/cancel", {"clearQueue": True})
        reset = await client.ask("POST", "reset", {"sessionId": "s"})
        empty = await loaded(client, "s")
    assert [one["config"] for one in models] == [{"provider": "function", "model": "echo"}] * 2
    assert [(one["id"], one["source"]) for one in tools["tools"]] == [("look", "local"), ("send_mail", "local")]
    assert (tools["totalCount"], tools["localCount"], tools["mcpCount"]) == (2, 2, 0)
    assert all(one["inputSchema"]["properties"].keys() == {"to"} for one in tools["tools"])
    assert greeting == {"greeting": "Hello!"}
    assert (put["id"], put["enabled"], put["priority"], put["replaced"]) == ("tone", True, 45, False)
    assert [(one["id"], one["priority"]) for one in pieces["contributors"]] == [("tone", 45)]
    assert (soft["cancelled"], hard["queueCleared"], hard["clearedCount"]) == (False, True, 0)
    assert reset == {"status": "reset initiated", "sessionId": "s"}
    assert empty.lines == []
