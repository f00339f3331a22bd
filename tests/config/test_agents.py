"""Agents as people write them, one of every shape that the compatible tool's own have."""

from __future__ import annotations

from pathlib import Path

import pytest

from sojourn.config.configuration import Configuration
from sojourn.config.effective import as_yaml
from sojourn.config.loader import load, loads
from sojourn.config.schema import StdioServer
from sojourn.errors import ConfigInvalid

AGENTS = sorted((Path(__file__).parent / "agents").glob("*.yml"))
NAMES = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "TAVILY_API_KEY", "POSTHOG_API_KEY",
    "N8N_MCP_TOKEN",
)  # fmt: skip
ENVIRON = {name: f"{name.lower()}-planted" for name in NAMES} | {"N8N_MCP_URL": "https://n8n.example/mcp"}
VALID = [path for path in AGENTS if path.stem != "mail-and-chat"]


def loaded(name: str) -> Configuration:
    return load(Path(__file__).parent / "agents" / f"{name}.yml", environ=ENVIRON)


def test_there_are_twenty_eight() -> None:
    assert (len(AGENTS), len(VALID)) == (28, 27)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_agent_loads_and_no_key_of_it_is_shown(path: Path) -> None:
    configuration = load(path, environ=ENVIRON)
    assert configuration.agent.llm.api_key in ENVIRON.values()
    assert not [it for it in configuration.warnings if "variable" in it.text]
    for shown in (as_yaml(configuration), repr(configuration), *map(str, configuration.warnings)):
        assert "planted" not in shown


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_what_is_printed_of_an_agent_is_an_agent(path: Path) -> None:
    printed = as_yaml(load(path, environ=ENVIRON))
    assert as_yaml(loads(printed, path, environ={})) == printed


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_each_variable_that_is_missing_is_named_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = {name for name in ENVIRON if name in text}
    said = [it.text.split()[2] for it in load(path, environ={}).warnings if it.text.startswith("the variable")]
    assert len(said) == len(set(said))
    assert set(said) <= used
    assert said


def test_the_invalid_one_says_why() -> None:
    path = next(path for path in AGENTS if path not in VALID)
    with pytest.raises(ConfigInvalid) as caught:
        load(path, environ=ENVIRON)
    expected = (
        f"{path}:6: mcpServers.gmail.url: found 'composio-url', expected a URL that begins with http:// or https://"
    )
    assert caught.value.problems == (expected,)


def test_a_hook_that_only_another_image_has_is_a_warning() -> None:
    assert "has no effect yet (request-logger): nothing is called before or after a message" in [
        it.text for it in loaded("request-logger").warnings if it.key == "hooks"
    ]


def test_the_greatest_agent_is_read_whole() -> None:
    configuration = loaded("coding")
    agent = configuration.agent
    assert (agent.llm.provider, agent.llm.model, agent.llm.max_iterations) == (
        "anthropic",
        "claude-sonnet-4-5-20250929",
        100,
    )
    assert [it.id for it in agent.system_prompt.contributors] == ["date", "env", "primary"]
    assert len(agent.permissions.tool_policies.always_allow) == 13
    assert [it.key for it in configuration.warnings] == [
        "image", "memories", "storage.cache", "storage.blob", "compaction", "elicitation", "tools",
        "resources", "prompts",
    ]  # fmt: skip


def test_a_desk_of_agents_finds_its_files_beside_it() -> None:
    servers = loaded("desk").agent.mcp_servers
    assert len(servers) == 6
    billing = servers["billing"]
    assert isinstance(billing, StdioServer)
    assert Path(billing.args[-1]) == AGENTS[0].parent / "desk-billing.yml"
