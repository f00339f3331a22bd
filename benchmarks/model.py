"""A model behind OpenAI's API, which waits and then repeats what it was told.

`python -m benchmarks.model DELAY_MS PIECES EVERY_MS` says on standard output at which port it listens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_HEAD = {"id": "echo", "object": "chat.completion.chunk", "created": 1, "model": "echo"}


def answer_to(text: str, pieces: int) -> list[str]:
    """What is answered, piece by piece."""
    return ["you said: ", *([f"{text} "] * (pieces - 1))]


@dataclass(frozen=True, slots=True)
class Model:
    """How it answers; times are seconds."""

    delay: float
    pieces: int
    every: float

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes over one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                await self._answer(json.loads(await reader.readexactly(length)), writer)
        writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        said = next(one["content"] for one in reversed(body["messages"]) if one["role"] == "user")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await asyncio.sleep(self.delay)
        for piece in answer_to(said, self.pieces):
            writer.write(_chunk({"choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}}]}))
            await writer.drain()
            if self.every:
                await asyncio.sleep(self.every)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        writer.write(_chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        writer.write(_chunk({"choices": [], "usage": usage}) + _framed(b"data: [DONE]\n\n") + _framed(b""))
        await writer.drain()


def _chunk(data: dict[str, Any]) -> bytes:
    return _framed(f"data: {json.dumps({**_HEAD, **data})}\n\n".encode())


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def main() -> None:
    """Serve until it is ended."""
    delay, pieces, every = map(int, sys.argv[1:4])
    model = Model(delay / 1000, pieces, every / 1000)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=2**24, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
