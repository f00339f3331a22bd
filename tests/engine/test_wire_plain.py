"""What OpenAI's and Groq's clients send without their walk over the messages is what they send with it, to the byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from typing import Any, cast

import httpx
import httpx2
import pytest
from groq import AsyncGroq
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, ImageUrl, ModelRequestNode, NativeOutput, ToolReturn
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.models.groq import GroqModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers.groq import GroqProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openrouter import OpenRouterProvider
from pydantic_ai.settings import ModelSettings

from sojourn.engine.providers.groq import PlainGroq
from sojourn.engine.wire import PlainClient
from tests.engine import wire_server as wire
from tests.engine.wire_server import WireServer

PIXEL = BinaryContent(b"\x89PNG\r\n\x1a\n\x00", media_type="image/png")

TEXT: list[ModelMessage] = [
    ModelRequest(parts=[SystemPromptPart("Be brief."), UserPromptPart('Grüße, 世界 \U0001f600 \u2028 \\ "')]),
    ModelResponse(parts=[TextPart("Hello"), TextPart(" again\n")]),
    ModelRequest(parts=[UserPromptPart("")], instructions="Be kind."),
    ModelResponse(parts=[TextPart("Yes.")], provider_name="openai", provider_response_id="resp_0"),
]
TOOLS: list[ModelMessage] = [
    ModelRequest(parts=[UserPromptPart("What is 2 + 3, and 4 + 5?")]),
    ModelResponse(
        parts=[
            TextPart("Let me see."),
            ToolCallPart("add", '{"a": 2, "b": 3}', "call_1"),
            ToolCallPart("add", {"a": 4, "b": None}, "call_2"),
        ]
    ),
    ModelRequest(
        parts=[
            ToolReturnPart("add", {"sum": 5, "exact": True, "parts": [1.5, None, {"deep": [[]]}]}, "call_1"),
            ToolReturnPart("add", "b is no number", "call_2", outcome="retried"),
        ]
    ),
    ModelResponse(parts=[TextPart("5.")]),
]
IMAGES: list[ModelMessage] = [
    ModelRequest(
        parts=[
            UserPromptPart(
                [
                    "Look at these:",
                    PIXEL,
                    ImageUrl("https://images.example/a.png", vendor_metadata={"detail": "high"}),
                ]
            )
        ]
    ),
    ModelResponse(parts=[ToolCallPart("draw", "{}", "call_3")]),
    ModelRequest(parts=[ToolReturnPart("draw", ["drawn", PIXEL], "call_3")]),
    ModelResponse(parts=[TextPart("Nice.")]),
]
DOCUMENTS: list[ModelMessage] = [
    ModelRequest(
        parts=[
            UserPromptPart(
                [
                    "Read these:",
                    BinaryContent(b"%PDF-1.7", media_type="application/pdf"),
                    BinaryContent(b"plain", media_type="text/plain"),
                ]
            )
        ]
    ),
    ModelResponse(parts=[TextPart("Long.")]),
]
THINKING: list[ModelMessage] = [
    ModelRequest(parts=[UserPromptPart("Think.")]),
    ModelResponse(
        parts=[
            ThinkingPart("Hm.", id="rs_1", signature="c2VjcmV0", provider_name="openai"),
            ThinkingPart("Foreign.", signature="eHg=", provider_name="anthropic"),
            TextPart("Thought.", id="msg_1", provider_name="openai"),
            ToolCallPart("add", {"a": 1, "b": 1}, "call_4", id="fc_1", provider_name="openai"),
        ],
        provider_name="openai",
    ),
    ModelRequest(parts=[ToolReturnPart("add", 2, "call_4")]),
    ModelResponse(parts=[TextPart("2.")], provider_name="openai"),
]
HISTORIES = {
    "none": [],
    "text": TEXT,
    "tools": TOOLS,
    "images": IMAGES,
    "documents": DOCUMENTS,
    "thinking": THINKING,
}
SETTINGS: dict[str, Any] = {
    "plain": {},
    "rich": {
        "max_tokens": 100,
        "thinking": "low",
        "parallel_tool_calls": True,
        "extra_body": {"own": {"of": ["the", "caller"]}},
    },
}


class Answer(BaseModel):
    """What the model is to say."""

    text: str
    tags: list[str] = []


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with wire.running() as server:
        yield server


#: The clients with the walk and without it, by what they are asked with.
CLIENTS: dict[str, tuple[Any, Any]] = {
    "chat": (AsyncOpenAI, PlainClient),
    "responses": (AsyncOpenAI, PlainClient),
    "openrouter": (AsyncOpenAI, PlainClient),
    "groq": (AsyncGroq, PlainGroq),
}


def model(kind: str, client: Any) -> Model[Any]:
    if kind == "groq":
        return GroqModel("openai/gpt-oss-120b", provider=GroqProvider(groq_client=client))
    if kind == "openrouter":
        return OpenRouterModel("openai/gpt-5", provider=OpenRouterProvider(openai_client=client))
    provider = OpenAIProvider(openai_client=client)
    return (
        OpenAIChatModel("gpt-5", provider=provider)
        if kind == "chat"
        else OpenAIResponsesModel("gpt-5", provider=provider)
    )


async def sent(
    kind: Any,
    model_kind: str,
    server: WireServer,
    history: list[ModelMessage],
    settings: Any,
    *,
    stream: bool,
) -> bytes:
    """The body that arrives: that of a request behind the history, by an agent with tools and structured output."""
    server.says(wire.error(400))
    # Certificates take a tenth of a second to load, and nobody shows one here.
    pool = (httpx if model_kind == "groq" else httpx2).AsyncClient(verify=False)
    async with kind(api_key="k", base_url=server.url, max_retries=0, http_client=pool) as client:
        agent = Agent(model(model_kind, client), output_type=NativeOutput(Answer), instructions="Be exact.")

        @agent.tool_plain
        def add(a: int, b: int | None = None) -> int:
            """Add two numbers.

            Args:
                a: One of them.
                b: The other.
            """
            return a + (b or 0)

        @agent.tool_plain
        def draw(lines: list[dict[str, float]] | None = None) -> ToolReturn:
            raise AssertionError

        with pytest.raises(Exception, match="400"):
            await ask(agent, history, cast(ModelSettings, settings), stream=stream)
    return server.requests.pop().body


async def ask(agent: Agent[Any, Any], history: list[ModelMessage], settings: ModelSettings, *, stream: bool) -> None:
    if not stream:
        await agent.run("Next?", message_history=history, model_settings=settings)
        return
    async with agent.iter("Next?", message_history=history, model_settings=settings) as run:
        async for node in run:
            if isinstance(node, ModelRequestNode):
                async with node.stream(run.ctx) as events:
                    [event async for event in events]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("way", ["streamed", "whole"])
@pytest.mark.parametrize(
    ("kind", "history"),
    # Groq takes no documents.
    [pair for pair in product(CLIENTS, HISTORIES) if pair != ("groq", "documents")],
)
async def test_the_bytes_are_the_same(
    kind: str,
    history: str,
    way: str,
    settings: str,
    server: WireServer,
) -> None:
    stream = way == "streamed"
    arguments = (kind, server, HISTORIES[history], SETTINGS[settings])
    with_walk, without = CLIENTS[kind]
    walked = await sent(with_walk, *arguments, stream=stream)
    plain = await sent(without, *arguments, stream=stream)
    assert plain == walked
    assert (b'"stream":true' in plain) is stream
    assert b'"add"' in plain


async def test_what_the_caller_adds_wins_as_it_does_in_the_original(server: WireServer) -> None:
    bodies = []
    for kind in (AsyncOpenAI, PlainClient):
        server.says(wire.chat_whole("Hello"))
        async with kind(api_key="k", base_url=server.url) as client:
            messages: Any = [{"role": "user", "content": "Hello"}]
            done = await client.chat.completions.create(
                model="m", messages=messages, extra_body={"messages": [], "n": 1}
            )
            assert done.choices[0].message.content == "Hello"
        bodies.append(server.requests.pop().json())
    assert bodies[0] == bodies[1] == {"messages": [], "model": "m", "n": 1}


async def test_a_copy_with_other_options_is_as_plain(server: WireServer) -> None:
    async with PlainClient(api_key="k", base_url=server.url) as client:
        copy = client.with_options(max_retries=1)
        assert type(copy) is PlainClient
        assert type(copy.chat.completions) is type(client.chat.completions)
        assert type(copy.responses) is type(client.responses)
