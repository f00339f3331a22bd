"""Every error has the one shape and the status of its code; what is too large, too slow or not allowed is refused."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sojourn import errors as ours
from sojourn.errors import SojournError
from sojourn.server.connections import Connection
from sojourn.server.errors import KINDS
from sojourn.server.service import Options
from tests.server.kit import SOON, Served, served
from tests.server.scripts import Door
from tests.server.shapes import ERROR, check

KEY = "a-key-of-the-server"


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    found = answer.json()
    check(found, ERROR)
    assert found["traceId"] == answer.headers["x-trace-id"]
    assert found["endpoint"] == answer.request.url.path
    assert found["method"] == answer.request.method
    return dict(found)


@pytest.mark.parametrize(
    "kind", [kind for _, kind in inspect.getmembers(ours, inspect.isclass) if issubclass(kind, SojournError)]
)
def test_every_code_has_a_status(kind: type[SojournError]) -> None:
    assert kind.code in KINDS or kind is SojournError


JSON = {"content-type": "application/json"}

#: method, path, what else is sent, status, code
WRONG: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/nothing", {}, 404, "route_not_found"),
    ("GET", "/api/nothing", {}, 404, "route_not_found"),
    ("GET", "/api/sessions/", {}, 404, "route_not_found"),
    ("PUT", "/api/sessions", {}, 405, "method_not_allowed"),
    ("GET", "/api/message", {}, 405, "method_not_allowed"),
    ("GET", "/api/sessions/none", {}, 404, "session_not_found"),
    ("GET", "/api/sessions/a%20b", {}, 400, "session_id_invalid"),
    ("GET", f"/api/sessions/{'x' * 129}", {}, 400, "session_id_invalid"),
    ("POST", "/api/sessions", {"content": b"", "headers": JSON}, 201, ""),
    ("POST", "/api/sessions", {"content": b"{", "headers": JSON}, 400, "malformed_json"),
    ("POST", "/api/sessions", {"content": b"\xff\xfe", "headers": JSON}, 400, "malformed_json"),
    ("POST", "/api/sessions", {"json": {"sessionId": ""}}, 400, "session_id_invalid"),
    ("POST", "/api/sessions", {"json": {"sessionId": 7}}, 400, "invalid_input"),
    ("POST", "/api/sessions", {"json": []}, 400, "invalid_input"),
    ("POST", "/api/message", {"content": b"", "headers": JSON}, 400, "invalid_input"),
    ("POST", "/api/message", {"json": {"content": "hi"}}, 400, "invalid_input"),
    ("POST", "/api/message", {"json": {"content": " ", "sessionId": "s"}}, 400, "invalid_input"),
    ("POST", "/api/message", {"json": {"content": "hi", "sessionId": "a/b"}}, 400, "session_id_invalid"),
    ("POST", "/api/message-sync", {"json": {"content": {"a": 1}, "sessionId": "s"}}, 400, "invalid_input"),
    ("POST", "/api/message-stream", {"json": {"content": [], "sessionId": "s"}}, 400, "invalid_input"),
    ("POST", "/api/message", {"json": {"content": "hi", "sessionId": "s", "busy": "x"}}, 400, "invalid_input"),
    ("POST", "/api/message", {"json": {"content": "hi", "sessionId": "s"}, "headers": {"Idempotency-Key": "k" * 300}},
     400, "invalid_input"),
    ("POST", "/api/steer/none", {"json": {"content": "hi"}}, 404, "session_not_found"),
    ("GET", "/api/follow-up/none", {}, 404, "session_not_found"),
    ("POST", "/api/reset", {"json": {"sessionId": "none"}}, 404, "session_not_found"),
    ("POST", "/api/sessions/none/cancel", {}, 404, "session_not_found"),
    ("POST", "/api/sessions/none/cancel", {"content": b"", "headers": JSON}, 404, "session_not_found"),
    ("POST", "/api/sessions/none/cancel", {"json": {"other": 1}}, 400, "invalid_input"),
    ("GET", "/api/sessions/none/export", {}, 404, "session_not_found"),
    ("GET", "/api/sessions/none/history", {}, 404, "session_not_found"),
    ("GET", "/api/sessions?limit=0", {}, 400, "invalid_input"),
    ("GET", "/api/sessions?limit=1001", {}, 400, "invalid_input"),
    ("GET", "/api/sessions?after=rubbish", {}, 400, "invalid_input"),
    ("GET", "/api/approvals?sessionId=none", {}, 404, "session_not_found"),
    ("POST", "/api/sessions/import", {"content": b"rubbish"}, 400, "export_invalid"),
    ("PUT", "/api/sessions/none/state", {"json": {"state": {}}}, 404, "session_not_found"),
    ("PUT", "/api/sessions/none/state", {"json": {"state": 7}}, 400, "invalid_input"),
]  # fmt: skip


async def test_whatever_is_wrong_has_the_one_shape() -> None:
    async with served() as server:
        for method, path, more, status, code in WRONG:
            answer = await server.client.request(method, path, **more)
            if code:
                refused(answer, status, code)
            else:
                assert answer.status_code == status


async def test_what_is_wrong_is_told_so_that_it_can_be_mended() -> None:
    said = b'{"content": "hi", "sessionId": "s"}'
    image = {"type": "image", "image": "no base64"}
    for sent, words in (
        ({"content": said}, "found no JSON object; send one with content-type: application/json"),
        ({"content": said, "headers": {"content-type": "text/plain"}}, "found no JSON object"),
        ({"json": {"content": 5, "sessionId": "s"}}, "content: found 5, expected text, or a list of parts"),
        ({"json": {"content": ["hi"], "sessionId": "s"}}, "content[0].type: found 'hi', expected text, image or file"),
        ({"json": {"content": [image], "sessionId": "s"}}, "content[0].image: found 'no base64', expected base64"),
    ):
        async with served() as server:
            answer = await server.client.post("/api/message-sync", **sent)
            assert words in refused(answer, 400, "invalid_input")["message"]
            assert (await server.client.get("/api/sessions")).json()["sessions"] == []


async def test_halves_of_characters_break_nothing() -> None:
    half = b"\\ud83d"
    async with served() as server:
        await server.client.post("/api/sessions", json={"sessionId": "s"})
        for path, body in (
            ("sessions", b'{"sessionId": "%s"}'),
            ("sessions", b'{"title": "%s"}'),
            ("message", b'{"sessionId": "s", "content": "%s"}'),
            ("sessions/s/cancel", b'{"%s": 1}'),
            ("message", b'{"sessionId": "s", "content": [{"type": "%s"}]}'),
        ):
            answer = await server.client.post(f"/api/{path}", content=body % half, headers=JSON)
            assert answer.status_code == 400, answer.text
            check(answer.json(), ERROR)
        put = await server.client.put("/api/sessions/s/state", content=b'{"state": {"a": "x%s"}}' % half, headers=JSON)
        state = await server.client.get("/api/sessions/s/state")
    assert put.json()["state"] == state.json()["state"] == {"a": "x?"}


async def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    async with served() as server:
        for body in (b"[" * 200_000, b'{"state":' * 100_000):
            answer = await server.client.post("/api/sessions", content=body, headers=JSON)
            assert (answer.status_code, answer.json()["type"]) == (400, "user")


async def test_a_method_that_is_not_possible_names_those_that_are() -> None:
    async with served() as server:
        found = await server.client.put("/api/greeting")
    assert found.headers["allow"] == "GET"
    assert "GET" in refused(found, 405, "method_not_allowed")["message"]


async def test_what_nobody_expected_is_an_internal_error_without_words(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:

        async def broken(*_: object, **__: object) -> None:
            raise ValueError("the secret hunter2")

        server.runtime.core.store.page = broken  # type: ignore[method-assign,assignment]
        found = refused(await server.client.get("/api/sessions"), 500, "internal_error")
    assert "hunter2" not in json.dumps(found)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert found["traceId"] in told[0]
    assert "ValueError" in told[0]
    assert "hunter2" not in told[0]


async def test_no_place_in_memory_says_when_to_try_again() -> None:
    door = Door()
    async with served(door, max_sessions=1, admission_wait=timedelta(0)) as server:
        await server.client.post("/api/message", json={"content": "wait", "sessionId": "a"})
        await asyncio.wait_for(door.reached.wait(), SOON)
        for path in ("message-sync", "message-stream"):
            answer = await server.client.post(f"/api/{path}", json={"content": "hi", "sessionId": "b"})
            refused(answer, 503, "session_max_sessions_exceeded")
            assert int(answer.headers["retry-after"]) >= 1
        stored = await server.client.get("/api/sessions/b")
        door.open.set()
    assert stored.status_code == 404


async def test_a_body_that_is_too_large_is_refused_announced_or_not() -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 100

    async with served(options=Options(max_body=1000)) as server:
        announced = await server.client.post("/api/sessions", content=b" " * 1001, headers=JSON)
        refused(announced, 413, "body_too_large")
        in_pieces = await server.client.post("/api/sessions", content=pieces(), headers=JSON)
        refused(in_pieces, 413, "body_too_large")
        fine = await server.client.post("/api/sessions", json={"sessionId": "s"})
    assert fine.status_code == 201


async def test_a_message_that_is_too_large_is_refused() -> None:
    async with served() as server:
        body = {"content": "x" * (8 * 1024 * 1024), "sessionId": "s"}
        refused(await server.client.post("/api/message", json=body), 413, "content_too_large")


async def test_a_body_that_stops_coming_is_given_up() -> None:
    async with served(options=Options(body_timeout=0.05)) as server:
        answer = await _raw(
            server, "POST /api/sessions HTTP/1.1", "content-type: application/json", "content-length: 10", body='{"a"'
        )
    assert answer.startswith("HTTP/1.1 408 ")
    assert '"request_timeout"' in answer


async def test_headers_that_are_too_large_are_refused() -> None:
    async with served() as server:
        answer = await server.client.get("/health", headers={"x-large": "x" * 33_000})
    refused(answer, 431, "headers_too_large")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"HELO example.org\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"x" * 40_000, 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: ", 408, "request_timeout"),
    ],
    ids=["no HTTP", "no header", "no host", "TLS", "endless", "unfinished"],
)
async def test_what_is_no_request_is_answered_in_the_shape_of_all_errors(sent: bytes, status: int, code: str) -> None:
    async with served(options=Options(body_timeout=0.2)) as server:
        answer = await _said(server, sent)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    check(json.loads(body), ERROR)
    assert json.loads(body)["code"] == code


async def test_who_says_nothing_is_not_waited_for_and_who_has_spoken_may_pause() -> None:
    async with served(options=Options(body_timeout=0.2)) as server:
        silent, busy = await asyncio.gather(_said(server, b""), server.client.get("/health"))
        assert (silent, busy.status_code) == ("", 200)
        (connection,) = server.server.server_state.connections
        assert isinstance(connection, Connection)
        assert not connection.is_in_head
        assert (await server.client.get("/health")).status_code == 200
        assert [*server.server.server_state.connections] == [connection]


async def test_a_second_head_that_does_not_end_is_given_up_as_well() -> None:
    async with served(options=Options(body_timeout=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nOK")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /health HTT")
        async with asyncio.timeout(SOON):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in answer


async def test_the_rest_of_a_request_that_is_answered_is_not_waited_for() -> None:
    async with served(options=Options(body_timeout=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"DELETE /api/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        writer.write(b"a")
        async with asyncio.timeout(SOON):
            await reader.read()
        writer.close()
        await writer.wait_closed()
        assert not server.server.server_state.connections


async def test_a_body_that_becomes_malformed_amid_an_answer_ends_the_connection() -> None:
    async with served() as server:
        head = "POST /api/message-stream HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        body = '{"content": "hi", "sessionId": "s"}'
        chunk = f"transfer-encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n"
        answer = await _said(server, (head + chunk + "not a size\r\n").encode())
        assert (await server.client.get("/health")).status_code == 200
    assert answer.startswith("HTTP/1.1 400 ")


async def test_with_a_key_everything_but_the_signs_of_life_needs_it() -> None:
    async with served(options=Options(api_key=KEY)) as server:
        for path in ("/health", "/ready", "/openapi.json"):
            assert (await server.client.get(path)).status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": ""},
        ):
            for path in ("/api/sessions", "/api/nothing", "/nothing"):
                answer = await server.client.get(path, headers=headers)
                found = refused(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert KEY not in json.dumps(found)
        good = await server.client.get("/api/sessions", headers={"Authorization": f"Bearer {KEY}"})
        elsewhere = await server.client.post(
            "/api/sessions", headers={"Authorization": f"bearer {KEY}", "Origin": "https://example.org"}
        )
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        preflight = await server.client.options("/api/sessions", headers={"Origin": "https://example.org", **asks})
    assert (good.status_code, elsewhere.status_code) == (200, 201)
    for answer in (preflight, elsewhere):
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert preflight.status_code == 200


async def test_without_a_key_web_pages_of_elsewhere_change_nothing() -> None:
    async with served(options=Options(local_only=True)) as server:
        post = server.client.post
        refused(await post("/api/sessions", headers={"Origin": "https://example.org"}), 403, "origin_not_allowed")
        for host in ("example.org", "127.0.0.1.example.org", "10.0.0.1:8700", "[fe80::1]", "["):
            refused(await post("/api/sessions", headers={"Host": host}), 403, "host_not_allowed")
        refused(await post("/api/sessions", headers={"Origin": "http://["}), 403, "origin_not_allowed")
        for host in ("localhost", "127.0.0.1:8700", "127.0.0.2:8700", "[::1]:8700"):
            assert (await server.client.get("/api/sessions", headers={"Host": host})).status_code == 200
        here = await post("/api/sessions", headers={"Origin": "http://localhost:3000"})
        preflight = await server.client.options(
            "/api/sessions", headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
        )
        foreign = await server.client.options(
            "/api/sessions", headers={"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
        )
    assert here.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert preflight.status_code == 200
    assert foreign.status_code == 400


async def test_a_request_is_logged_with_ids_and_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sojourn.server")
    async with served() as server:
        body = {"content": "pomegranate", "sessionId": "s"}
        answer = await server.client.post("/api/message-sync", json=body, params={"q": "pomegranate"})
        await server.client.get("/api/sessions/s/history")
        await server.client.get("/api/pomegranate")
        await server.client.get("/api/sessions/pomegranate%20juice")
        await server.client.post("/api/follow-up/s", json={"content": "pomegranate"})
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "sojourn.server"]
    assert lines[0] == {
        "event": "request", "method": "POST", "path": "/api/message-sync", "status": 200, "ms": lines[0]["ms"],
        "user": "local", "session": "s", "turn": 1, "trace": answer.headers["x-trace-id"],
    }  # fmt: skip
    assert (lines[1]["path"], lines[1]["session"]) == ("/api/sessions/{session_id}/history", "s")
    assert (lines[2]["path"], lines[2]["code"]) == ("-", "route_not_found")
    assert (lines[3]["status"], lines[3].get("session")) == (400, None)
    assert (lines[4]["path"], lines[4]["session"], lines[4]["turn"]) == ("/api/follow-up/{session_id}", "s", 2)
    assert "pomegranate" not in caplog.text


async def _raw(server: Served, *head: str, body: str = "") -> str:
    """An answer to a request that no client library would send."""
    lines = [head[0], "host: 127.0.0.1", "connection: close", *head[1:]]
    return await _said(server, ("\r\n".join(lines) + "\r\n\r\n" + body).encode())


async def _said(server: Served, sent: bytes) -> str:
    """All that is answered to these bytes, until the server closes."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(SOON):
            return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
