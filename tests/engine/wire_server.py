"""A small HTTP server that stands for any provider: it remembers what it was sent, byte by byte, and says its replies.

It is written on bare sockets, because it has to do what servers should not: to hang up in the middle of an answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

LENGTH, CHUNKED = "content-length", "transfer-encoding"


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.path}\n{dict(self.headers)}\n{self.body.decode()}"


@dataclass(frozen=True)
class Reply:
    """What the server says: a body, or events one after the other, and whether it hangs up instead of ending it."""

    status: int = 200
    body: bytes = b"{}"
    events: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class WireServer:
    """The server; replies are said in order, the last one again and again."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    #: Connections that are open, and how many there were ever.
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    accepted: int = 0
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def says(self, *replies: Reply) -> None:
        self.replies = list(replies)

    async def disconnected(self) -> None:
        """Return when nobody is connected."""
        async with asyncio.timeout(10):
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def hang_up(self) -> None:
        """Let nobody be connected."""
        for writer in list(self.connections):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        self.accepted += 1
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                await _write(writer, reply)
                if reply.cut:
                    writer.transport.abort()
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.connections.discard(writer)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in lines}
    body = await reader.readexactly(int(headers.get(LENGTH, 0)))
    return Request(head[0].split(" ")[1], headers, body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    kind = "text/event-stream" if reply.events else "application/json"
    framing = {CHUNKED: "chunked"} if reply.events else {LENGTH: str(len(reply.body))}
    headers = {"content-type": kind, **framing, **reply.headers}
    head = f"HTTP/1.1 {reply.status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(head.encode() + b"\r\n" + (b"" if reply.events else reply.body))
    for event in reply.events:
        data = event.encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
    if reply.events and not reply.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def running(certificate: Path | None = None) -> AsyncIterator[WireServer]:
    """A server, over TLS if there is a certificate (with its key in the same file)."""
    wire, tls = WireServer(replies=[Reply()]), None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, limit=2**24, ssl=tls)
    wire.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield wire
    server.close()
    await wire.hang_up()
    async with asyncio.timeout(10):
        await server.wait_closed()


def make_certificate(path: Path) -> Path:
    """Write a certificate of this machine, and its key, that nobody trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wire")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(pem))
    return path


def error(status: int, message: str = "no", **headers: str) -> Reply:
    """A failure in a shape that all of them understand."""
    body = {"type": "error", "error": {"type": "some_error", "message": message, "code": status}, "message": message}
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, body=json.dumps(body).encode(), headers=dashed)


def _events(*datas: Mapping[str, Any], named: bool = False) -> list[str]:
    return [(f"event: {data['type']}\n" if named else "") + f"data: {json.dumps(data)}\n\n" for data in datas]


# -- Chat Completions


def _chunk(delta: Mapping[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


def chat_stream(*deltas: Mapping[str, Any], cut: bool = False) -> Reply:
    """Deltas of a message, and unless it is cut, its end."""
    chunks = [_chunk(delta) for delta in deltas]
    if cut:
        return Reply(events=_events(*chunks), cut=True)
    finish = "tool_calls" if any("tool_calls" in delta for delta in deltas) else "stop"
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return Reply(events=[*_events(*chunks, _chunk({}, finish), _chunk(None, usage=usage)), "data: [DONE]\n\n"])


def chat_text(*pieces: str, cut: bool = False) -> Reply:
    return chat_stream(*({"role": "assistant", "content": piece} for piece in pieces), cut=cut)


def chat_call(name: str, arguments: str) -> Reply:
    call = {"index": 0, "id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}
    return chat_stream({"role": "assistant", "tool_calls": [call]})


def chat_whole(text: str) -> Reply:
    """An answer that is not streamed."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Reply(body=json.dumps(body).encode())


# -- Responses


def _response(status: str, output: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _numbered(*datas: dict[str, Any]) -> list[str]:
    return _events(*({**data, "sequence_number": number} for number, data in enumerate(datas)), named=True)


def responses_text(*pieces: str, cut: bool = False) -> Reply:
    text = "".join(pieces)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
    done = {**item, "status": "completed", "content": [{**empty, "text": text}]}
    begin: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": empty},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces),
    ]
    end: list[dict[str, Any]] = [
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": _response("completed", [done])},
    ]
    return Reply(events=_numbered(*begin, *([] if cut else end)), cut=cut)


def responses_call(name: str, arguments: str) -> Reply:
    item = {"id": "fc_1", "type": "function_call", "call_id": "call_0", "name": name, "status": "in_progress"}
    done = {**item, "arguments": arguments, "status": "completed"}
    place = {"item_id": "fc_1", "output_index": 0}
    return Reply(
        events=_numbered(
            {"type": "response.created", "response": _response("in_progress")},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
            {"type": "response.function_call_arguments.done", **place, "arguments": arguments, "name": name},
            {"type": "response.output_item.done", "output_index": 0, "item": done},
            {"type": "response.completed", "response": _response("completed", [done])},
        )
    )


# -- Anthropic's messages


def _anthropic(block: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]], stop: str, *, cut: bool = False) -> Reply:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    begin: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
    ]
    usage = {"output_tokens": 5}
    end: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return Reply(events=_events(*begin, *([] if cut else end), named=True), cut=cut)


def anthropic_text(*pieces: str, cut: bool = False) -> Reply:
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return _anthropic({"type": "text", "text": ""}, deltas, "end_turn", cut=cut)


def anthropic_call(name: str, arguments: str) -> Reply:
    block = {"type": "tool_use", "id": "call_0", "name": name, "input": {}}
    return _anthropic(block, [{"type": "input_json_delta", "partial_json": arguments}], "tool_use")


def anthropic_overloaded() -> Reply:
    """An answer that begins, and is broken off by an error."""
    said = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return Reply(events=[*anthropic_text("Once ", cut=True).events, *_events(said, named=True)])
