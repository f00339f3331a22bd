"""A session's own model and its own pieces of the system prompt, down to what a provider is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent

from sojourn import Sojourn
from sojourn.config.loader import loads
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.choices import Models
from sojourn.engine.configured import ConfiguredEngine
from sojourn.errors import AgentUnsupported, InvalidInput, TurnFailed
from sojourn.records import BusyPolicy
from tests.engine.core import Script
from tests.engine.test_prompts import instructions
from tests.engine.wire import Wire, serving, text
from tests.engine.wire_server import WireServer, chat_text, running

SECRET = "sk-of-the-file"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(lambda _: text("done")) as wire:
        yield wire


def agent_file(folder: Path, url: str, **more: Any) -> Path:
    agent = {
        "systemPrompt": {
            "contributors": [
                {"id": "role", "type": "static", "priority": 10, "content": "You are a baker."},
                {"id": "tone", "type": "static", "priority": 50, "content": "Be kind."},
            ]
        },
        "llm": {"provider": "openai-compatible", "model": "own", "apiKey": SECRET, "baseURL": url, "temperature": 0.5},
        "storage": {"database": {"type": "sqlite", "path": "chat.db"}},
        **more,
    }
    file = folder / "agent.yml"
    file.write_text(json.dumps(agent), encoding="utf-8")
    return file


def asked(wire: Wire) -> tuple[str, float | None]:
    """The model and temperature of the last request."""
    return wire.requests[-1]["model"], wire.requests[-1].get("temperature")


def system(wire: Wire) -> str:
    """What stood before the conversation in the last request."""
    first = wire.sent[-1][0]
    return str(first["content"]) if first["role"] == "system" else ""


async def test_a_session_is_answered_by_its_own_model_until_it_uses_the_agents_again(
    tmp_path: Path, wire: Wire
) -> None:
    file = agent_file(tmp_path, wire.url)
    async with Sojourn.from_file(file) as runtime:
        await runtime.send("s", "hi")
        assert asked(wire) == ("own", 0.5)
        found = await runtime.switch_model("s", {"model": "other", "maxOutputTokens": 77})
        assert found == {
            "provider": "openai-compatible", "model": "other", "baseURL": wire.url, "maxOutputTokens": 77,
            "maxIterations": 50,
        }  # fmt: skip
        await runtime.send("s", "hi")
        assert asked(wire) == ("other", None)
        assert wire.requests[-1]["max_completion_tokens"] == 77
        await runtime.send("t", "hi")
        assert asked(wire) == ("own", 0.5)
        with pytest.raises(InvalidInput, match=r"llm\.baseURL"):
            await runtime.switch_model("s", {"model": "other", "baseURL": "http://127.0.0.1:9/v1"})
        with pytest.raises(InvalidInput, match=r"llm\.reasoning\.variant"):
            await runtime.switch_model("s", {"model": "other", "reasoning": {"variant": "hard"}})
    async with Sojourn.from_file(file) as runtime:
        await runtime.send("s", "hi")
        assert asked(wire) == ("other", None)
        assert (await runtime.switch_model("s", None))["model"] == "own"
        await runtime.send("s", "hi")
        assert asked(wire) == ("own", 0.5)
    assert SECRET.encode() not in stored(tmp_path)


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.name.startswith("chat.db"))


async def test_a_login_in_the_address_is_neither_stored_nor_shown(tmp_path: Path, wire: Wire) -> None:
    url = wire.url.replace("://", "://somebody:pa55-word@") + "?key=qu3ry"
    async with Sojourn.from_file(agent_file(tmp_path, url)) as runtime:
        assert (await runtime.send("s", "hi")).text.strip() == "done"
        found = await runtime.switch_model("s", {"model": "other", "baseURL": url})
        assert "***@127.0.0.1" in found["baseURL"]
        await runtime.send("s", "hi")
        with pytest.raises(InvalidInput) as refused:
            await runtime.switch_model("s", {"model": "other", "baseURL": f"{url}4"})
    told = f"{found} {refused.value}".encode() + stored(tmp_path)
    assert not [secret for secret in (b"pa55-word", b"qu3ry", SECRET.encode()) if secret in told]


async def test_a_model_that_the_agent_no_longer_allows_fails_the_turn_and_says_so(tmp_path: Path, wire: Wire) -> None:
    keys = {"keys": {"openai": "k"}}
    async with Sojourn.from_file(agent_file(tmp_path, wire.url, sojourn=keys)) as runtime:
        await runtime.create("s")
        await runtime.switch_model("s", {"provider": "openai", "model": "gpt-5"})
    async with Sojourn.from_file(agent_file(tmp_path, wire.url)) as runtime:
        assert (await runtime.model("s"))["model"] == "gpt-5"
        with pytest.raises(TurnFailed, match="a provider whose key the agent"):
            await runtime.send("s", "hi")
        await runtime.switch_model("s", None)
        assert (await runtime.send("s", "hi")).text.strip() == "done"


async def test_pieces_of_a_session_stand_among_the_agents_by_priority(tmp_path: Path, wire: Wire) -> None:
    async with Sojourn.from_file(agent_file(tmp_path, wire.url)) as runtime:
        await runtime.create("s")
        await runtime.contribute("s", "late", "Say bye.", priority=50)
        await runtime.contribute("s", "first", "Hear me.", priority=0)
        await runtime.contribute("s", "silent", "Nothing.", priority=0, enabled=False)
        await runtime.send("s", "hi")
        assert system(wire) == "Hear me.\n\nYou are a baker.\n\nBe kind.\n\nSay bye."
        await runtime.send("t", "hi")
        assert system(wire) == "You are a baker.\n\nBe kind."
        await runtime.contribute("s", "role", "You are a butcher.", priority=60)
        await runtime.contribute("s", "tone", "Be rude.", enabled=False)
        await runtime.withdraw("s", "first")
        await runtime.send("s", "hi")
        assert system(wire) == "Say bye.\n\nYou are a butcher."
        assert not any("butcher" in entry.body for entry in await runtime.core.store.entries("local", "s"))


async def test_pieces_of_a_session_follow_the_instructions_of_an_agent_of_ones_own() -> None:
    model = Script("one", "two")
    agent = Agent(model, instructions="You are a baker.")
    async with Sojourn(agent, storage="memory:") as runtime:
        await runtime.create("s")
        await runtime.contribute("s", "a", "Be kind.\n")
        await runtime.contribute("s", "b", "Be short.", priority=3)
        await runtime.contribute("s", "c", "Be gone.", enabled=False)
        await runtime.send("s", "hi")
        assert instructions(model.sent[-1]) == "You are a baker.\n\nBe short.\n\nBe kind."
        await runtime.send("t", "hi")
        assert instructions(model.sent[-1]) == "You are a baker."


async def test_an_agent_of_ones_own_says_its_model_and_keeps_it() -> None:
    async with Sojourn(Agent(Script("one")), storage="memory:") as runtime:
        await runtime.create("s")
        assert await runtime.model("s") == {"provider": "function", "model": "script"}
        with pytest.raises(AgentUnsupported):
            await runtime.switch_model("s", {"model": "other"})
    assert PydanticAIEngine(Agent("openai:gpt-5", defer_model_check=True)).model({}) == {
        "provider": "openai",
        "model": "gpt-5",
    }
    assert PydanticAIEngine(Agent()).model({}) == {"model": "unknown"}


def many(folder: Path, url: str) -> Models:
    return Models(loads(agent_file(folder, url).read_text(), folder / "agent.yml").agent, max_idle=2)


async def test_models_are_made_once_and_those_unused_for_longest_are_closed(tmp_path: Path) -> None:
    models = many(tmp_path, "http://127.0.0.1:9/v1")
    choices = [models.check({"model": name}) for name in "abcd"]
    made: list[Any] = []
    for choice in choices:
        async with models.use(choice) as used, models.use(choice) as again:
            assert used is again
            made.append(used.model)
    async with models.use(choices[3]) as used:
        assert used.model is made[3]
    await models.close()
    assert all(model.client.is_closed() for model in made)


async def test_a_model_in_use_is_never_closed_however_many_there_are(tmp_path: Path) -> None:
    models = many(tmp_path, "http://127.0.0.1:9/v1")
    async with models.use(models.check({"model": "a"})) as used:
        model: Any = used.model
        for name in "bcdefg":
            async with models.use(models.check({"model": name})):
                pass
        async with models.use({"provider": "openai-compatible", "model": "a"}) as again:
            assert again is used
        assert not model.client.is_closed()
    await models.close()
    assert model.client.is_closed()


async def test_runs_with_a_chosen_model_share_its_connection_which_ends_with_the_runtime(tmp_path: Path) -> None:
    async with running() as server:
        server.says(chat_text("done"))
        await talk_twice(tmp_path, server)
        assert server.accepted == 1
        await server.disconnected()


async def talk_twice(folder: Path, server: WireServer) -> None:
    async with Sojourn.from_file(agent_file(folder, server.url), storage="memory:") as runtime:
        for name in ("s", "t"):
            await runtime.create(name)
            await runtime.switch_model(name, {"model": "other"})
            await runtime.send(name, "hi")
            await runtime.send(name, "hi")


def test_a_key_is_only_sent_to_the_address_that_it_is_for(tmp_path: Path) -> None:
    file = agent_file(tmp_path, "http://127.0.0.1:9/v1", sojourn={"keys": {"openai": "sk-of-openai"}})
    engine = ConfiguredEngine(loads(file.read_text(), file))
    own, other = ({"model": "m"}, {"provider": "openai", "model": "gpt-5"})
    found = [engine._models._get(engine.check_model(llm)).model for llm in (own, other)]
    clients: list[Any] = [model.client for model in found]  # type: ignore[attr-defined]
    assert [(str(client.base_url), client.api_key) for client in clients] == [
        ("http://127.0.0.1:9/v1/", SECRET),
        ("https://api.openai.com/v1/", "sk-of-openai"),
    ]
    assert "baseURL" not in engine.model({"llm": engine.check_model(other)})


@pytest.mark.parametrize(
    ("llm", "limit"),
    [
        ({"provider": "openai", "model": "gpt-4", "apiKey": "k"}, 8192),
        ({"provider": "openai", "model": "gpt-4", "apiKey": "k", "maxOutputTokens": 192}, 8000),
        ({"provider": "openai", "model": "gpt-4", "apiKey": "k", "maxInputTokens": 50_000}, 50_000),
        ({"provider": "openai", "model": "nobody-knows-it", "apiKey": "k"}, None),
        ({"provider": "openai-compatible", "model": "gpt-4", "baseURL": "http://127.0.0.1:9"}, None),
    ],
)
async def test_the_view_is_as_large_as_the_model_is_known_to_be(
    tmp_path: Path, llm: dict[str, Any], limit: int | None
) -> None:
    file = agent_file(tmp_path, "", llm=llm)
    engine = ConfiguredEngine(loads(file.read_text(), file))
    async with engine.choose({}) as choice:
        assert choice.max_input_tokens == limit
    async with engine.choose({"llm": engine.check_model({"model": "gpt-4", "maxInputTokens": 5})}) as choice:
        assert choice.max_input_tokens == 5
    await engine.close()


async def test_the_policy_for_busy_sessions_and_the_length_of_the_line_come_from_the_file(tmp_path: Path) -> None:
    file = agent_file(tmp_path, "http://127.0.0.1:9/v1", sojourn={"busy": "steer", "maxInbox": 3})
    settings = Sojourn.from_file(file, storage="memory:").settings
    assert (settings.busy, settings.max_inbox) == (BusyPolicy.STEER, 3)
    assert Sojourn(Agent(Script()), storage="memory:", max_inbox=4).settings.max_inbox == 4
