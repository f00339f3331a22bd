"""The shortest path through the server: create, say, follow, read."""

from __future__ import annotations

from tests.server.kit import names, say, served


async def test_a_session_is_made_spoken_to_and_read_back() -> None:
    async with served() as server:
        made = await server.client.post("/api/sessions", json={"sessionId": "s"})
        assert (made.status_code, made.json()["session"]["id"]) == (201, "s")
        answer = await server.client.post("/api/message-sync", json={"content": "hello", "sessionId": "s"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["response"] == "you said: hello"
        stream = await say(server, "again")
        assert names(stream) == ["llm:thinking", "llm:response", "run:complete"]
        assert "".join(b.data["content"] for b in stream if b.name == "llm:chunk") == "you said: again"
        history = (await server.client.get("/api/sessions/s/history")).json()
        assert [(m["role"], m["content"]) for m in history["history"]] == [
            ("user", "hello"), ("assistant", "you said: hello"), ("user", "again"), ("assistant", "you said: again"),
        ]  # fmt: skip
        assert history["isBusy"] is False
