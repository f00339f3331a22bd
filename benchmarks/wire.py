"""What a request to OpenAI costs us before it is on the wire, with a long history, and what its client's walk adds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Figures, Results, Row, median, percentile, ratio, ratio_text

MESSAGES = 1000
#: Characters of a text.
TEXT = 300
#: Requests before those that are timed.
WARM = 2

APIS = ("chat", "responses")
CLIENTS = ("plain", "walked")


def cases(*, quick: bool) -> Sequence[Case]:
    times = 5 if quick else 20
    return [
        Case(f"{api}, {client}", {"api": api, "client": client, "times": times}) for api in APIS for client in CLIENTS
    ]


def repetitions(*, quick: bool) -> int:
    return 1 if quick else 3


async def run(params: Mapping[str, Any], directory: Path) -> Figures:  # noqa: ARG001 - nothing is stored
    with _refusing() as (url, lengths):
        model = _model(params["api"], params["client"], url)
        history = _history()
        taken = [await _request(model, history) for _ in range(WARM + params["times"])][WARM:]
    return {"cpu_ms": percentile(taken, 50) * 1000, "bytes": float(lengths[-1])}


def rows(results: Results) -> Sequence[Row]:
    found: list[Row] = []
    for api in APIS:
        plain, walked = f"{api}, plain", f"{api}, walked"
        # The same bytes, or the comparison is void.
        same = median(results, plain, "bytes") == median(results, walked, "bytes")
        cost = median(results, plain, "cpu_ms")
        found += [
            Row(f"wire: {api}, {MESSAGES:,} messages, CPU ms of a request", f"{cost:.1f}", "≤ 50", cost <= 50),
            Row(f"wire: {api}, the same with the walk, CPU ms", f"{median(results, walked, 'cpu_ms'):.1f}"),
            Row(
                f"wire: {api}, CPU with the walk over without",
                ratio_text(ratio(results, walked, plain, "cpu_ms")),
                "same bytes",
                same,
            ),
        ]
    return found


def _model(api: str, client: str, url: str) -> Any:
    from openai import AsyncOpenAI  # noqa: PLC0415 - imports belong to nobody's figure
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: PLC0415, TID251
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415, TID251

    from sojourn.engine.wire import PlainClient  # noqa: PLC0415

    kind = PlainClient if client == "plain" else AsyncOpenAI
    provider = OpenAIProvider(openai_client=kind(api_key="none", base_url=url, max_retries=0))
    return OpenAIChatModel("m", provider=provider) if api == "chat" else OpenAIResponsesModel("m", provider=provider)


def _history() -> list[Any]:
    from pydantic_ai.messages import (  # noqa: PLC0415, TID251
        ModelMessage,
        ModelRequest,
        ModelResponse,
        TextPart,
        ToolCallPart,
        ToolReturnPart,
        UserPromptPart,
    )

    history: list[ModelMessage] = []
    for number in range(MESSAGES // 4):
        call = f"call_{number}"
        history += [
            ModelRequest(parts=[UserPromptPart("x" * TEXT)]),
            ModelResponse(parts=[ToolCallPart("add", '{"a": 1, "b": 2}', call)]),
            ModelRequest(parts=[ToolReturnPart("add", 3, call)]),
            ModelResponse(parts=[TextPart("y" * TEXT)]),
        ]
    return [*history, ModelRequest(parts=[UserPromptPart("z")])]


async def _request(model: Any, history: list[Any]) -> float:
    """The CPU seconds of this thread for one request that the server refuses."""
    from pydantic_ai.direct import model_request  # noqa: PLC0415, TID251
    from pydantic_ai.exceptions import ModelHTTPError  # noqa: PLC0415, TID251

    began = time.thread_time()
    try:
        await model_request(model, history)
    except ModelHTTPError:
        return time.thread_time() - began
    raise RuntimeError("the server did not refuse")


@contextmanager
def _refusing() -> Iterator[tuple[str, list[int]]]:
    """A server in a thread of its own, whose time does not count: its address, and the lengths of what it was sent."""
    lengths: list[int] = []
    body = json.dumps({"error": {"message": "no"}}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            lengths.append(len(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", lengths
    finally:
        server.shutdown()
        server.server_close()
