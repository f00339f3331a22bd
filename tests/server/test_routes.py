"""Every route does what it says, with Dexto's shapes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sojourn.server.app import make_app
from sojourn.server.service import Options
from tests.server.kit import SOON, Served, becomes, served
from tests.server.scripts import Door, asking, tool_turn
from tests.server.shapes import ANSWER, APPROVAL, HISTORY, QUEUED, SESSION, SESSION_DETAIL, SESSION_LOADED, check
from tests.unit.sessions.kit import around


async def get(server: Served, path: str, **more: Any) -> Any:
    answer = await server.client.get(path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ask(server: Served, content: str = "hello", session: str = "s") -> dict[str, object]:
    answer = await server.client.post("/api/message-sync", json={"content": content, "sessionId": session})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    check(found, ANSWER)
    return dict(found)


# -- sessions


async def test_a_session_is_made_once_and_given_again() -> None:
    async with served() as server:
        made = await server.client.post("/api/sessions", json={"sessionId": "s", "title": "Colours", "other": 1})
        again = await server.client.post("/api/sessions", json={"sessionId": "s"})
        random = await server.client.post("/api/sessions")
    assert (made.status_code, again.status_code, random.status_code) == (201, 200, 201)
    assert made.json() == again.json()
    check(made.json(), {"session": SESSION})
    assert made.json()["session"]["title"] == "Colours"
    assert len(random.json()["session"]["id"]) == 36


async def test_sessions_are_listed_newest_first_page_by_page_and_found_by_words() -> None:
    async with served() as server:
        for name in ("a", "b", "c"):
            await ask(server, f"apple {name}", name)
        first = await get(server, "/api/sessions", params={"limit": 2})
        rest = await get(server, "/api/sessions", params={"limit": 2, "after": first["next"]})
        found = await get(server, "/api/sessions", params={"q": "apple b"})
    check(first, {"sessions": [SESSION], "next": (str, type(None))})
    ids = [[one["id"] for one in page["sessions"]] for page in (first, rest, found)]
    assert ids == [["c", "b"], ["a"], ["b"]]


async def test_what_is_known_of_a_session() -> None:
    async with served() as server:
        await ask(server)
        detail = await get(server, "/api/sessions/s")
        loaded = await get(server, "/api/sessions/s/load")
    check(detail, {"session": SESSION_DETAIL})
    check(loaded, {"session": SESSION_LOADED})
    assert detail["session"]["history"] == detail["session"]["messageCount"] == 2
    assert loaded["session"]["isBusy"] is False


async def test_a_session_has_an_etag_that_saves_reading_and_guards_writing() -> None:
    async with served() as server:
        await ask(server)
        first = await server.client.get("/api/sessions/s")
        tag = first.headers["etag"]
        same = await server.client.get("/api/sessions/s", headers={"If-None-Match": tag})
        renamed = await server.client.patch("/api/sessions/s", json={"title": "New"}, headers={"If-Match": tag})
        refused = await server.client.patch("/api/sessions/s", json={"title": "Newer"}, headers={"If-Match": tag})
        changed = await server.client.get("/api/sessions/s", headers={"If-None-Match": tag})
        tag = changed.headers["etag"]
        told = [
            server.client.patch("/api/sessions/s", json={"title": f"Title {n}"}, headers={"If-Match": tag})
            for n in range(5)
        ]
        answers = sorted(answer.status_code for answer in await asyncio.gather(*told))
    assert answers == [200, 412, 412, 412, 412]
    assert (same.status_code, same.content) == (304, b"")
    assert (renamed.status_code, renamed.json()["session"]["title"]) == (200, "New")
    assert (refused.status_code, refused.json()["code"]) == (412, "session_changed")
    assert changed.json()["session"]["title"] == "New"
    assert changed.headers["etag"] == renamed.headers["etag"]


async def test_any_state_of_a_session_may_be_meant_also_while_it_changes() -> None:
    async with served() as server:
        await ask(server)
        store = server.runtime.core.store

        async def moves_on(call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
            await store.change_state("local", "s", "{}", server.runtime.core.clock.now_ms() + 1000)
            return await call()

        around(store, "rename", moves_on)
        titles = {"*": "New", '"other"': "Newer"}
        answers = [
            (await server.client.patch("/api/sessions/s", json={"title": title}, headers={"If-Match": tag})).status_code
            for tag, title in titles.items()
        ]
        missing = await server.client.patch("/api/sessions/t", json={"title": "New"}, headers={"If-Match": "*"})
        assert (await get(server, "/api/sessions/s"))["session"]["title"] == "New"
    assert answers == [200, 412]
    assert missing.status_code == 404


async def test_history_is_all_or_a_window_of_it() -> None:
    async with served(tool_turn) as server:
        await ask(server)
        whole = await get(server, "/api/sessions/s/history")
        window = await get(server, "/api/sessions/s/history", params={"limit": 2})
        older = await get(server, "/api/sessions/s/history", params={"limit": 2, "before": window["before"]})
    check(whole, HISTORY)
    assert [one["role"] for one in whole["history"]] == ["user", "assistant", "tool", "assistant"]
    assert older["history"] + window["history"] == whole["history"]
    tool = whole["history"][2]
    assert (tool["name"], tool["toolCallId"], tool["success"]) == ("search", "call-0", True)


async def test_a_long_history_comes_in_pieces_and_is_the_same() -> None:
    async with served() as server:
        for number in range(60):
            await ask(server, f"number {number}")
        whole = await get(server, "/api/sessions/s/history")
        window = await get(server, "/api/sessions/s/history", params={"limit": 110})
    check(whole, HISTORY)
    check(window, HISTORY)
    assert [one["content"] for one in whole["history"][::2]] == [f"number {n}" for n in range(60)]
    assert window["history"] == whole["history"][10:]
    assert window["before"] == whole["history"][10]["seq"]


async def test_a_session_is_forked_at_a_turn() -> None:
    async with served() as server:
        await ask(server, "one")
        await ask(server, "two")
        history = (await get(server, "/api/sessions/s/history"))["history"]
        whole = await server.client.post("/api/sessions/s/fork")
        part = await server.client.post(
            "/api/sessions/s/fork", json={"at": history[1]["seq"], "sessionId": "child", "title": "Half"}
        )
        wrong = await server.client.post("/api/sessions/s/fork", json={"at": history[0]["seq"]})
        child = await get(server, "/api/sessions/child/history")
    assert (whole.status_code, part.status_code) == (201, 201)
    check(whole.json(), {"session": SESSION})
    assert whole.json()["session"]["title"] == "Fork: one"
    assert part.json()["session"]["parentSessionId"] == "s"
    assert [one["content"] for one in child["history"]] == ["one", "you said: one"]
    assert (wrong.status_code, wrong.json()["code"]) == (400, "fork_point_invalid")


async def test_delete_is_the_same_a_second_time() -> None:
    async with served() as server:
        await ask(server)
        answers = [await server.client.delete("/api/sessions/s") for _ in range(2)]
        gone = await server.client.get("/api/sessions/s")
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"status": "deleted", "sessionId": "s"})] * 2
    assert gone.status_code == 404


async def test_reset_forgets_the_history_and_keeps_the_session() -> None:
    async with served() as server:
        await ask(server)
        answer = await server.client.post("/api/reset", json={"sessionId": "s"})
        history = await get(server, "/api/sessions/s/history")
    assert answer.json() == {"status": "reset initiated", "sessionId": "s"}
    assert history == {"history": [], "isBusy": False}


async def test_a_title_is_there_after_the_first_message() -> None:
    async with served() as server:
        await ask(server, "What is teal?")
        answer = await server.client.post("/api/sessions/s/generate-title")
    assert answer.json() == {"title": "What is teal?", "sessionId": "s"}


async def test_a_session_is_unloaded_unless_it_is_busy() -> None:
    door = Door()
    async with served(door) as server:
        await ask(server)
        first = await server.client.post("/api/sessions/s/unload")
        second = await server.client.post("/api/sessions/s/unload")
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        busy = await server.client.post("/api/sessions/s/unload")
        door.open.set()
    assert [one.json()["unloaded"] for one in (first, second)] == [True, False]
    assert (busy.status_code, busy.json()["code"]) == (409, "session_busy")


async def test_state_is_read_and_replaced() -> None:
    async with served() as server:
        await ask(server)
        put = await server.client.put("/api/sessions/s/state", json={"state": {"basket": ["tea"]}})
        assert put.json() == await get(server, "/api/sessions/s/state")
    assert put.json() == {"state": {"basket": ["tea"]}, "sessionId": "s"}


async def test_turns_are_listed_and_shown() -> None:
    async with served() as server:
        await ask(server)
        turns = (await get(server, "/api/sessions/s/turns"))["turns"]
        assert await get(server, "/api/sessions/s/turns/1") == turns[0]
        unknown = await server.client.get("/api/sessions/s/turns/7")
    assert (turns[0]["status"], turns[0]["attempts"]) == ("completed", 1)
    assert unknown.json()["code"] == "turn_not_found"


async def test_held_turns_are_resumed_and_discarded() -> None:
    door = Door()

    async def hold(server: Served) -> dict[str, Any]:
        door.reached.clear()
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        await server.client.post("/api/follow-up/s", json={"content": "later"})
        await server.client.post("/api/sessions/s/cancel")
        return await becomes(server, "held")

    async with served(door) as server:
        held = await hold(server)
        line = await get(server, "/api/follow-up/s")
        assert held["status"] == "held"
        assert [one["held"] for one in line["messages"]] == [True]
        resumed = await server.client.post("/api/sessions/s/resume")
        await becomes(server, "idle")
        nothing = await server.client.post("/api/sessions/s/discard")
        await hold(server)
        (turn,) = [one["turn"] for one in (await get(server, "/api/follow-up/s"))["messages"]]
        unknown = await server.client.post("/api/sessions/s/discard", json={"turn": turn + 1})
        discarded = await server.client.post("/api/sessions/s/discard", json={"turn": turn})
        await becomes(server, "idle")
        history = (await get(server, "/api/sessions/s/history"))["history"]
    assert len(resumed.json()["turns"]) == 1
    assert nothing.json() == {"turns": [], "sessionId": "s"}
    assert unknown.json()["code"] == "turn_not_found"
    assert discarded.json() == {"turns": [turn], "sessionId": "s"}
    assert [one["content"] for one in history if one["role"] == "user"] == ["wait", "later", "wait"]


async def test_an_export_can_be_imported_under_another_id() -> None:
    async with served() as server:
        await ask(server)
        out = await server.client.get("/api/sessions/s/export")
        back = await server.client.post("/api/sessions/import", content=out.content, params={"sessionId": "t"})
        twice = await server.client.post("/api/sessions/import", content=out.content, params={"sessionId": "t"})
        broken = await server.client.post("/api/sessions/import", content=b"\xff\n")
        one, other = [(await get(server, f"/api/sessions/{name}/history"))["history"] for name in "st"]
    assert out.headers["content-type"] == "application/x-ndjson"
    assert json.loads(out.text.splitlines()[0])["id"] == "s"
    assert (back.status_code, back.json()["session"]["id"]) == (201, "t")
    assert one == other
    assert (twice.status_code, twice.json()["code"]) == (409, "session_exists")
    assert (broken.status_code, broken.json()["code"]) == (400, "export_invalid")


# -- messages


async def test_a_message_is_accepted_when_it_is_durable_and_runs() -> None:
    async with served() as server:
        body = {"content": [{"type": "text", "text": "hello"}], "sessionId": "s"}
        answer = await server.client.post("/api/message", json=body)
        assert answer.status_code == 202
        assert answer.json() == {"accepted": True, "sessionId": "s", "turn": 1}
        await becomes(server, "idle")
        history = await get(server, "/api/sessions/s/history")
    assert history["history"][0]["content"] == [{"type": "text", "text": "hello"}]


@pytest.mark.parametrize("path", ["message", "message-sync"])
async def test_the_same_key_never_runs_twice(path: str) -> None:
    async with served() as server:
        sent = [
            await server.client.post(
                f"/api/{path}", json={"content": text, "sessionId": "s"}, headers={"Idempotency-Key": "k"}
            )
            for text in ("hello", "hello", "other")
        ]
        await becomes(server, "idle")
        turns = (await get(server, "/api/sessions/s/turns"))["turns"]
    assert sent[0].json() == sent[1].json()
    assert (sent[2].status_code, sent[2].json()["code"]) == (422, "idempotency_conflict")
    assert [turn["key"] for turn in turns] == ["k"]


# -- queue


@pytest.mark.parametrize("line", ["steer", "follow-up"])
async def test_what_is_in_line_is_listed_and_taken_out(line: str) -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        put = [await server.client.post(f"/api/{line}/s", json={"content": text}) for text in ("a", "b", "c")]
        assert [one.status_code for one in put] == [201] * 3
        found = await get(server, f"/api/{line}/s")
        check(found, {"messages": [QUEUED], "count": int})
        assert [one["content"][0]["text"] for one in found["messages"]] == ["a", "b", "c"]
        assert [one["id"] for one in found["messages"]] == [one.json()["id"] for one in put]
        one = await server.client.delete(f"/api/{line}/s/{put[0].json()['id']}")
        assert one.json() == {"removed": True, "id": put[0].json()["id"]}
        again = await server.client.delete(f"/api/{line}/s/{put[0].json()['id']}")
        rest = await server.client.delete(f"/api/{line}/s")
        assert rest.json() == {"cleared": True, "count": 2}
        assert await get(server, f"/api/{line}/s") == {"messages": [], "count": 0}
        door.open.set()
    assert (again.status_code, again.json()["code"]) == (404, f"{line.replace('-', '_')}_message_not_found")


async def test_a_cancel_may_clear_the_line_and_says_how_many() -> None:
    door = Door()
    async with served(door) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "s"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        for text in ("a", "b"):
            await server.client.post("/api/follow-up/s", json={"content": text})
        answer = await server.client.post("/api/sessions/s/cancel", json={"clearQueue": True})
        idle = await server.client.post("/api/sessions/s/cancel", json={"clearQueue": False})
    assert answer.json() == {"cancelled": True, "sessionId": "s", "queueCleared": True, "clearedCount": 2}
    assert idle.json()["cancelled"] is False


# -- approvals


async def test_questions_are_listed_decided_and_remembered() -> None:
    async with served(asking) as server:
        waiting = await ask(server, "mail her")
        listed = await get(server, "/api/approvals", params={"sessionId": "s"})
        check(listed, {"ok": bool, "approvals": [APPROVAL]})
        assert waiting["finishReason"] == "waiting"
        assert waiting["approvals"] == listed["approvals"] == (await get(server, "/api/approvals"))["approvals"]
        name = listed["approvals"][0]["approvalId"]
        yes = await server.client.post(f"/api/approvals/{name}", json={"status": "approved", "rememberChoice": True})
        same = await server.client.post(f"/api/approvals/{name}", json={"status": "approved", "rememberChoice": True})
        no = await server.client.post(f"/api/approvals/{name}", json={"status": "denied"})
        await becomes(server, "idle")
        decided = await get(server, "/api/approvals", params={"pending": False})
        remembered = (await get(server, "/api/remembered-approvals", params={"sessionId": "s"}))["remembered"]
        forgotten = await server.client.delete(f"/api/remembered-approvals/{remembered[0]['id']}")
        again = await server.client.delete(f"/api/remembered-approvals/{remembered[0]['id']}")
    assert (yes.status_code, same.status_code) == (200, 200)
    assert (no.status_code, no.json()["code"]) == (409, "approval_decided")
    assert decided["approvals"][0]["status"] == "approved"
    assert (remembered[0]["toolName"], remembered[0]["sessionId"]) == ("send_mail", "s")
    assert forgotten.status_code == 200
    assert again.json()["code"] == "remembered_not_found"


@pytest.mark.parametrize(
    "body",
    [
        {"status": "maybe"},
        {"status": "approved", "reason": "because"},
        {"status": "denied", "rememberChoice": True},
        {"status": "approved", "formData": {}},
        {"status": "approved", "unknown": 1},
        {"status": "denied", "message": "no", "reason": "x" * 2001},
        {"status": "denied", "message": "\x00"},
        {},
    ],
)
async def test_a_decision_that_contradicts_itself_is_refused(body: dict[str, object]) -> None:
    async with served(asking) as server:
        await ask(server, "mail her")
        name = (await get(server, "/api/approvals"))["approvals"][0]["approvalId"]
        answer = await server.client.post(f"/api/approvals/{name}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_an_unknown_question_is_not_found_with_and_without_its_session() -> None:
    async with served(asking) as server:
        await ask(server, "mail her")
        for more in ({}, {"sessionId": "s"}):
            answer = await server.client.post("/api/approvals/none", json={"status": "approved", **more})
            assert (answer.status_code, answer.json()["code"]) == (404, "approval_not_found")


# -- the rest


async def test_the_model_is_told_and_only_a_sessions_is_switched() -> None:
    async with served() as server:
        await ask(server)
        current = await get(server, "/api/llm/current")
        of_session = await get(server, "/api/llm/current", params={"sessionId": "s"})
        agents = await server.client.post("/api/llm/switch", json={"provider": "openai", "model": "gpt-5"})
        back = await server.client.post("/api/llm/switch", json={"sessionId": "s"})
        other = await server.client.post("/api/llm/switch", json={"sessionId": "s", "provider": "x", "model": "y"})
    assert current == {"config": {"model": "unknown"}, "routing": {"viaDexto": False}}
    assert of_session["sessionId"] == "s"
    assert (agents.status_code, agents.json()["code"]) == (400, "invalid_input")
    assert back.json() == {"config": {"model": "unknown"}, "sessionId": "s"}
    assert (other.status_code, other.json()["code"]) == (400, "agent_unsupported")


async def test_pieces_of_the_system_prompt_are_put_replaced_and_removed() -> None:
    path = "/api/sessions/s/system-prompt/contributors"
    async with served() as server:
        await ask(server)
        put = await server.client.post(path, json={"id": "tone", "content": "Be kind."})
        again = await server.client.post(path, json={"id": "tone", "content": "Be brief.", "priority": 3})
        listed = await get(server, path)
        removed = await server.client.post(path, json={"id": "tone", "enabled": False})
        assert await get(server, path) == {"contributors": []}
    assert put.json() == {"id": "tone", "enabled": True, "priority": 45, "replaced": False, "contentLength": 8}
    assert again.json()["replaced"] is True
    assert listed == {"contributors": [{"id": "tone", "priority": 3, "enabled": True, "contentLength": 9}]}
    assert removed.json() == {"id": "tone", "enabled": False, "removed": True}


async def test_tools_greeting_statistics_health_and_readiness() -> None:
    async with served() as server:
        await ask(server)
        assert await get(server, "/api/tools") == {"tools": [], "totalCount": 0, "localCount": 0, "mcpCount": 0}
        assert await get(server, "/api/greeting") == {}
        statistics = await get(server, "/api/statistics")
        health = await server.client.get("/health")
        assert await get(server, "/ready") == {"ready": True}
    assert (statistics["live"], statistics["maxSessions"]) == (1, 100)
    assert (health.text, health.headers["content-type"]) == ("OK", "text/plain; charset=utf-8")


async def test_every_operation_is_described_with_examples_and_our_errors() -> None:
    async with served() as server:
        found = await get(server, "/openapi.json")
        assert await get(server, "/openapi.json") == make_app(server.runtime).openapi()
    schemas = found["components"]["schemas"]
    operations = [(path, method, told) for path, methods in found["paths"].items() for method, told in methods.items()]
    assert len(operations) > 40
    assert len({told["operationId"] for *_, told in operations}) == len(operations)
    for path, method, told in operations:
        place = f"{method} {path}"
        assert told["description"], place
        assert told["summary"], place
        assert [one["name"] for one in told.get("parameters", ()) if not one.get("description")] == [], place
        if "requestBody" in told:
            assert _has_example(told["requestBody"]["content"], schemas), place
        good = next(answer for status, answer in told["responses"].items() if status.startswith("2"))
        assert _has_example(good["content"], schemas), place
        assert "422" not in told["responses"] or _is_error(told["responses"]["422"]), place
        common = {"400", "401", "403", "500", "503"} | ({"408", "413"} if "requestBody" in told else set())
        for status in common if path.startswith("/api/") else ():
            assert _is_error(told["responses"][status]), f"{place} {status}"
        assert "503" not in told["responses"] or "Retry-After" in told["responses"]["503"]["headers"], place


async def test_the_description_says_where_a_key_is_asked_for() -> None:
    async with served(options=Options(api_key="k")) as server:
        with_key = await get(server, "/openapi.json")
    async with served() as server:
        without = await get(server, "/openapi.json")
    ((name, scheme),) = with_key["components"]["securitySchemes"].items()
    assert scheme == {"type": "http", "scheme": "bearer"}
    assert with_key["security"] == [{name: []}]
    public = {path for path, methods in with_key["paths"].items() if methods.get("get", {}).get("security") == []}
    assert public == {"/health", "/ready"}
    assert "security" not in without


def _has_example(content: dict[str, dict[str, object]], schemas: dict[str, dict[str, object]]) -> bool:
    return all("example" in media or "example" in _resolved(media["schema"], schemas) for media in content.values())


def _resolved(schema: object, schemas: dict[str, dict[str, object]]) -> dict[str, object]:
    assert isinstance(schema, dict)
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return schemas[options[0]["$ref"].rpartition("/")[2]] if "$ref" in options[0] else options[0]


def _is_error(answer: dict[str, object]) -> bool:
    return "ErrorAnswer" in json.dumps(answer)
