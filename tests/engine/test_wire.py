"""Over a real socket: OpenAI's client against a small server that streams."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sojourn.abc import ModelResponded, TextDelta
from sojourn.engine.agent import EngineOptions, PydanticAIEngine
from sojourn.errors import ModelFailed
from tests.engine.core import Core, of, said, streamed


class Provider:
    """A chat-completions server: calls a tool, then talks; "hang" keeps it talking, "fail" makes it fail."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.left = asyncio.Event()
        self.url = ""

    async def answer(self, request: Request) -> Response:
        messages = (await request.json())["messages"]
        self.requests.append(messages)
        last = messages[-1]
        if last["content"] == "fail":
            return JSONResponse({"error": {"message": "overloaded"}}, status_code=503)
        if last["content"] == "hang":
            return StreamingResponse(self._hang(request), media_type="text/event-stream")
        call = {"index": 0, "id": "call_0", "function": {"name": "add", "arguments": '{"a":2,"b":3}'}}
        deltas = [{"tool_calls": [call]}] if last["role"] == "user" else [{"content": "It is "}, {"content": "5."}]
        return StreamingResponse(self._stream(deltas), media_type="text/event-stream")

    async def _stream(self, deltas: list[dict[str, Any]]) -> AsyncIterator[str]:
        for delta in deltas:
            yield _chunk(delta)
        yield _chunk({}, "tool_calls" if "tool_calls" in deltas[0] else "stop")
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        yield _chunk(None, usage=usage)
        yield "data: [DONE]\n\n"

    async def _hang(self, request: Request) -> AsyncIterator[str]:
        yield _chunk({"content": "Once "})
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


def _chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return f"data: {json.dumps({**base, 'choices': choices, **more})}\n\n"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = Starlette(routes=[Route("/v1/chat/completions", provider.answer, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield provider
    server.should_exit = True
    async with asyncio.timeout(10):
        await serving
    listener.close()


@pytest.fixture
async def core(provider: Provider) -> AsyncIterator[Core]:
    model = OpenAIChatModel(
        "gpt-4o", provider=OpenAIProvider(base_url=provider.url, api_key="secret"), settings={"max_retries": 0}
    )
    agent = Agent(model, instructions="Be brief.")

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    engine = PydanticAIEngine(agent, options=EngineOptions(model_retries=0))
    async with asyncio.timeout(30):
        await engine.open()
        yield Core(engine)
        await engine.close()


async def test_turns_over_the_wire_send_what_was_recorded(core: Core, provider: Provider) -> None:
    steps = await core.send("What is 2 + 3?")
    assert streamed(steps) == said(steps) == "It is 5."
    assert [step.usage.input_tokens for step in of(steps, ModelResponded)] == [10, 10]
    await core.send("Again?")
    assert [message["role"] for message in provider.requests[-1]] == [
        *["system", "user", "assistant", "tool", "assistant"],
        *["user", "assistant", "tool"],
    ]
    ids = [call["id"] for message in provider.requests[-1] for call in message.get("tool_calls") or []]
    answered = [message["tool_call_id"] for message in provider.requests[-1] if message["role"] == "tool"]
    # The server repeats its call ids, as some real ones do.
    assert ids == answered == ["call_0", "call_0-2"]
    assert not any("secret" in entry.body for entry in core.log)


async def test_closing_hangs_up_on_the_provider(core: Core, provider: Provider) -> None:
    core.open("hang")
    async with asyncio.timeout(10):
        await core.go(stop=lambda step: isinstance(step, TextDelta))
        await provider.left.wait()


async def test_a_provider_that_fails_fails_the_turn(core: Core) -> None:
    with pytest.raises(ModelFailed, match="503"):
        await core.send("fail")
