"""A model server whose answers are written piece by piece, as a test says."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_END, _CUT = object(), object()


class Answer:
    """One answer, while it is written."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self._parts: queue.Queue[object] = queue.Queue()

    def write(self, text: str) -> None:
        self._parts.put({"content": text})

    def call(self, name: str, arguments: str, index: int = 0) -> None:
        function = {"name": name, "arguments": arguments}
        call = {"index": index, "id": f"call-{index + 1}", "type": "function", "function": function}
        self._parts.put({"tool_calls": [call]})

    def end(self) -> None:
        self._parts.put(_END)

    def cut(self) -> None:
        """The connection breaks."""
        self._parts.put(_CUT)

    def parts(self) -> Iterator[object]:
        while (part := self._parts.get()) is not _END:
            yield part


class Model:
    """Give its `url` to an agent, and take each question from `asked`."""

    def __init__(self) -> None:
        self._asked: queue.Queue[Answer] = queue.Queue()
        self._answers: list[Answer] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                answer = Answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                model._answers.append(answer)
                model._asked.put(answer)
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.send_header("connection", "close")
                self.end_headers()
                with suppress(OSError):  # whoever asked has left
                    self._stream(answer)

            def _stream(self, answer: Answer) -> None:
                for part in answer.parts():
                    if part is _CUT:
                        return
                    self._chunk(part)
                self._chunk({}, "stop")
                self._send(b"data: [DONE]\n\n")
                self._send(b"")

            def _chunk(self, delta: object, reason: str | None = None) -> None:
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                chunk = {
                    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice],
                }  # fmt: skip
                self._send(b"data: " + json.dumps(chunk).encode() + b"\n\n")

            def _send(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def asked(self) -> Answer:
        """The next question, when it comes."""
        return self._asked.get(timeout=30)

    def close(self) -> None:
        for answer in self._answers:
            answer.end()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


SHOUT = "mcp--small--shout"

_SERVER = Path(__file__).parents[1] / "engine" / "mcp_server.py"
#: More of an agent.yml: the small server's tools, about each of which a person is asked.
ASKING = f"""
permissions: {{mode: manual}}
mcpServers:
  small: {{type: stdio, command: '{sys.executable}', args: ['{_SERVER}']}}
"""


@contextmanager
def serving(folder: Path, more: str = "") -> Iterator[Model]:
    """A model, and an agent.yml in the folder that asks it."""
    model = Model()
    try:
        (folder / "agent.yml").write_text(
            f"llm: {{provider: openai-compatible, model: slow, baseURL: '{model.url}'}}\n"
            "systemPrompt: be brief\ngreeting: Hello, I am *slow*.\n"
            f"storage: {{database: {{type: sqlite, path: chat.db}}}}\n{more}",
            encoding="utf-8",
        )
        yield model
    finally:
        model.close()
