"""Turns over real sockets: what is streamed, what tools get, and which exception a failure becomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic_ai import Agent, ModelRequestNode
from pydantic_ai.models import Model

from sojourn.config.schema import LLM
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.failures import passing_failure
from sojourn.engine.models import build_model
from tests.engine import wire_server as wire
from tests.engine.core import Core, said, streamed
from tests.engine.wire_server import Reply, WireServer


@dataclass(frozen=True)
class Dialect:
    """How a provider is configured, and how its answers look."""

    provider: str
    model: str
    text: Callable[..., Reply]
    call: Callable[[str, str], Reply]
    path: str
    #: Where a test's server stands for the real one.
    real: str | None = None


DIALECTS = [
    Dialect("openai-compatible", "m", wire.chat_text, wire.chat_call, "/v1/chat/completions"),
    Dialect("openai", "gpt-5", wire.responses_text, wire.responses_call, "/v1/responses", "https://api.openai.com"),
    Dialect("anthropic", "claude-opus-5", wire.anthropic_text, wire.anthropic_call, "/v1/messages"),
    Dialect("groq", "llama-3.3-70b-versatile", wire.chat_text, wire.chat_call, "/openai/v1/chat/completions"),
]


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.provider)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with wire.running() as server:
        yield server


@pytest.fixture
async def model(dialect: Dialect, server: WireServer) -> AsyncIterator[Model[Any]]:
    url = (dialect.real or server.url) + ("/v1" if dialect.provider.startswith("openai") else "")
    described = {"provider": dialect.provider, "model": dialect.model, "apiKey": "secret", "baseURL": url}
    model = build_model(LLM.model_validate(described))
    if dialect.real:
        # Only an address of OpenAI's gets this model, and then it has to be led elsewhere.
        client(model).base_url = f"{server.url}/v1"
    async with asyncio.timeout(30):
        yield model
        await server.disconnected()


def client(model: Model[Any]) -> Any:
    assert model.provider is not None
    return model.provider.client


async def failure(model: Model[Any]) -> BaseException:
    """The error of one streamed request, as whoever drives the agent gets it."""
    with pytest.raises(Exception, match=r".") as caught:
        await ask(model)
    assert "secret" not in str(caught.value)
    return caught.value


async def ask(model: Model[Any]) -> None:
    async with model, Agent(model).iter("Hello") as run:
        async for node in run:
            if isinstance(node, ModelRequestNode):
                async with node.stream(run.ctx) as stream:
                    [event async for event in stream]


async def test_text_is_streamed_and_a_tool_is_called(model: Model[Any], dialect: Dialect, server: WireServer) -> None:
    agent = Agent(model, instructions="Be brief.")

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    engine = PydanticAIEngine(agent)
    await engine.open()
    core = Core(engine)
    server.says(dialect.call("add", '{"a": 2, "b": 3}'), dialect.text("It ", "is ", "5."))
    steps = await core.send("What is 2 + 3?")
    assert streamed(steps) == said(steps) == "It is 5."
    first, second = server.requests
    assert first.path == second.path == dialect.path
    assert first.json()["stream"] is True
    assert first.json()["tools"]
    assert '"5"' in second.body.decode()
    assert not any("secret" in entry.body for entry in core.log)
    await core.send("Again?")
    assert b"It is 5." in server.requests[-1].body
    await engine.close()


@pytest.mark.parametrize(
    ("reply", "wait", "reason"),
    [
        (wire.error(429, retry_after="7"), 7.0, "limits requests (HTTP 429)"),
        (wire.error(429, retry_after_ms="1500"), 1.5, "limits requests (HTTP 429)"),
        (wire.error(500), None, "failed (HTTP 500)"),
        (wire.error(503), None, "is overloaded (HTTP 503)"),
        (wire.error(529), None, "is overloaded (HTTP 529)"),
        (Reply(body=b"", headers={"content-length": "10"}, cut=True), None, "was lost"),
    ],
    ids=["429", "429 ms", "500", "503", "529", "hung up"],
)
async def test_a_failure_that_may_pass_reaches_the_caller_at_once(
    model: Model[Any], server: WireServer, reply: Reply, wait: float | None, reason: str
) -> None:
    server.says(reply)
    passing = passing_failure(await failure(model))
    assert passing is not None
    assert passing.wait == wait
    assert passing.reason.endswith(reason)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_failure_that_stays_is_none_that_may_pass(model: Model[Any], server: WireServer, status: int) -> None:
    server.says(wire.error(status))
    assert passing_failure(await failure(model)) is None
    assert len(server.requests) == 1


async def test_a_stream_that_is_cut_may_pass(model: Model[Any], dialect: Dialect, server: WireServer) -> None:
    server.says(dialect.text("Once ", "upon ", cut=True))
    passing = passing_failure(await failure(model))
    assert passing is not None
    assert passing.reason == "the connection to the model's provider was lost"
    assert len(server.requests) == 1


async def test_a_stream_that_is_closed_before_it_has_ended_is_cut(
    model: Model[Any], dialect: Dialect, server: WireServer
) -> None:
    server.says(replace(dialect.text("Once ", "upon ", cut=True), cut=False))
    passing = passing_failure(await failure(model))
    assert passing is not None
    assert passing.reason == "the connection to the model's provider was lost"
    assert len(server.requests) == 1


async def test_the_end_of_a_stream_may_come_in_pieces(model: Model[Any], dialect: Dialect, server: WireServer) -> None:
    whole = "".join(dialect.text("It ", "is.").events)
    server.says(Reply(events=[whole[at : at + 7] for at in range(0, len(whole), 7)]))
    await ask(model)


async def test_a_server_that_is_not_there_may_come(model: Model[Any], server: WireServer) -> None:
    client(model).base_url = "http://127.0.0.1:1/v1"
    passing = passing_failure(await failure(model))
    assert passing is not None
    assert passing.reason == "the model's provider could not be reached"


@pytest.mark.parametrize("dialect", DIALECTS[2:3], indirect=True, ids=["anthropic"])
async def test_an_overload_inside_an_answer_may_pass(model: Model[Any], server: WireServer) -> None:
    server.says(wire.anthropic_overloaded())
    passing = passing_failure(await failure(model))
    assert passing is not None
    assert "is overloaded" in passing.reason


@pytest.mark.parametrize("dialect", DIALECTS[:1], indirect=True, ids=["openai-compatible"])
async def test_a_quota_that_is_used_up_does_not_pass(model: Model[Any], server: WireServer) -> None:
    body = b'{"error": {"message": "Pay first", "type": "insufficient_quota", "code": "insufficient_quota"}}'
    server.says(Reply(status=429, body=body))
    assert passing_failure(await failure(model)) is None
