"""GET /api/sessions: which sessions, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.kit import served
from tests.server.test_routes import ask, get


async def test_sessions_are_listed_by_what_they_do_by_parent_and_by_activity_in_any_order() -> None:
    async def listed(**wanted: Any) -> list[str]:
        page = await get(server, "/api/sessions", params=wanted)
        return [session["id"] for session in page["sessions"]]

    async with served() as server:
        for name in ("b", "c", "a"):
            await ask(server, f"apple {name}", name)
        await server.client.post("/api/sessions/c/fork", json={"sessionId": "child"})
        times = {one["id"]: one for one in (await get(server, "/api/sessions"))["sessions"]}
        await server.client.patch("/api/sessions/b", json={"title": "new"})
        assert await listed() == ["b", "child", "a", "c"]
        assert await listed(direction="asc") == ["c", "a", "child", "b"]
        assert await listed(order="created") == ["child", "a", "c", "b"]
        assert await listed(order="id") == ["a", "b", "c", "child"]
        assert await listed(order="id", direction="desc", q="apple", status="idle") == ["child", "c", "b", "a"]
        assert await listed(parentSessionId="c") == ["child"]
        assert await listed(parentSessionId="none") == await listed(status=["held", "waiting"]) == []
        assert sorted(await listed(status=["held", "idle"])) == ["a", "b", "c", "child"]
        last = times["child"]["lastActivity"]
        assert {"b", "child"} <= set(await listed(activeSince=last))
        assert set(await listed(activeSince=last, order="id")).isdisjoint(await listed(activeBefore=last))
        assert len(await listed(activeBefore=last) + await listed(activeSince=last)) == 4


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"status": "busy"}, "status"), ({"status": ["idle", ""]}, "status"), ({"order": "title"}, "order"),
        ({"direction": "down"}, "direction"), ({"parentSessionId": "a b"}, "session id"),
        ({"activeSince": -1}, "activeSince"), ({"activeBefore": "yesterday"}, "activeBefore"),
        ({"activeBefore": 2**60}, "activeBefore"),
    ],
)  # fmt: skip
async def test_what_cannot_be_listed_is_refused(wanted: dict[str, Any], said: str) -> None:
    async with served() as server:
        answer = await server.client.get("/api/sessions", params=wanted)
    assert answer.status_code == 400
    assert said in answer.text


async def test_a_page_goes_on_in_its_order_alone() -> None:
    async with served() as server:
        for name in ("a", "b", "c"):
            await server.client.post("/api/sessions", json={"sessionId": name})
        first = await get(server, "/api/sessions", params={"limit": 2, "order": "id"})
        rest = await get(server, "/api/sessions", params={"limit": 2, "order": "id", "after": first["next"]})
        wrong = await server.client.get("/api/sessions", params={"limit": 2, "after": first["next"]})
    assert [[one["id"] for one in page["sessions"]] for page in (first, rest)] == [["a", "b"], ["c"]]
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_input")
    assert "in this order, activity desc" in wrong.json()["message"]


async def test_the_description_names_what_can_be_listed() -> None:
    async with served() as server:
        document = (await server.client.get("/openapi.json")).json()
    listed = {one["name"]: one["schema"] for one in document["paths"]["/api/sessions"]["get"]["parameters"]}
    schemas = document["components"]["schemas"]
    assert schemas["SessionStatus"]["enum"] == ["idle", "queued", "running", "waiting", "held"]
    assert schemas["SessionOrder"]["enum"] == ["activity", "created", "id"]
    assert schemas["Direction"]["enum"] == ["asc", "desc"]
    for name, enum in (("status", "SessionStatus"), ("order", "SessionOrder"), ("direction", "Direction")):
        assert f"#/components/schemas/{enum}" in str(listed[name])
