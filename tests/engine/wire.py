"""A provider on a real socket that fails as it is told to: it speaks HTTP by itself, so that it can stop anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True)
class Status:
    """Fails with a status, before any answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "no"


@dataclass(frozen=True)
class Cut:
    """Begins as the answer would, and hangs up: before the first byte of it, or inside."""

    after: int = 0


Fault = Status | Cut
#: Given the messages of a request, the deltas of its answer.
Talk = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class Wire:
    """An OpenAI-like server. Answers by `talk`; `faults` come first, one for each request, None for none."""

    def __init__(self, talk: Talk, *faults: Fault | None) -> None:
        self.talk = talk
        self.faults = list(faults)
        #: Of every request: what it held.
        self.requests: list[dict[str, Any]] = []
        self.url = ""
        self.usage_first = False

    @property
    def sent(self) -> list[list[dict[str, Any]]]:
        """Of every request: its messages."""
        return [request["messages"] for request in self.requests]

    def model(self) -> OpenAIChatModel:
        provider = OpenAIProvider(base_url=self.url, api_key=KEY)
        return OpenAIChatModel("gpt-4o", provider=provider, settings={"max_retries": 0, "timeout": 20})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(line for line in head.split("\r\n") if line.startswith("content-length"))
            request = json.loads(await reader.readexactly(int(length.partition(":")[2])))
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, Status):
                writer.write(_refused(fault))
            elif request.get("stream"):
                await self._stream(writer, request["messages"], fault)
            elif fault is None:
                writer.write(_whole(self.talk(request["messages"])))
        finally:
            await writer.drain()
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, messages: list[dict[str, Any]], fault: Cut | None) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        deltas = self.talk(messages)
        for place, delta in enumerate(deltas):
            if fault is not None and fault.after == place:
                return
            early: dict[str, Any] = {"usage": _usage(messages)} if self.usage_first and place == 0 else {}
            writer.write(_event(delta, **early))
            await writer.drain()
        if fault is not None:
            return
        writer.write(_event({}, finish="tool_calls" if "tool_calls" in deltas[0] else "stop"))
        usage: dict[str, Any] = {} if self.usage_first else {"usage": _usage(messages)}
        writer.write(_event(None, **usage) + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")


@asynccontextmanager
async def serving(talk: Talk, *faults: Fault | None) -> AsyncIterator[Wire]:
    wire = Wire(talk, *faults)
    server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield wire
    finally:
        server.close()
        await server.wait_closed()


def text(words: str) -> list[dict[str, Any]]:
    """The deltas of a text, word by word."""
    return [{"content": word + " "} for word in words.split(" ")]


def calls(*wanted: tuple[str, str]) -> list[dict[str, Any]]:
    """The deltas of tool calls, their arguments in two pieces."""
    deltas: list[dict[str, Any]] = []
    for index, (name, arguments) in enumerate(wanted):
        half = len(arguments) // 2
        begun = {"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": arguments[:half]}}
        deltas.append({"tool_calls": [begun]})
        deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]})
    return deltas


def _usage(messages: list[dict[str, Any]]) -> dict[str, int]:
    return {"prompt_tokens": 10 * len(messages), "completion_tokens": 5, "total_tokens": 10 * len(messages) + 5}


def _event(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return _chunked(f"data: {json.dumps({**base, 'choices': choices, **more})}\n\n".encode())


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _refused(fault: Status) -> bytes:
    body = json.dumps({"error": {"message": fault.message}})
    return _response(body, f"{fault.status} No", fault.headers)


def _whole(deltas: list[dict[str, Any]]) -> bytes:
    message = {"role": "assistant", "content": "".join(delta.get("content", "") for delta in deltas)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    base = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": choices}
    return _response(json.dumps(base), "200 OK", {})


def _response(body: str, status: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
