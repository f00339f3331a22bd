"""The configuration as it counts: its order, its masks, the agent's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sojourn.config.configuration import Configuration
from sojourn.config.effective import as_yaml, effective
from sojourn.config.loader import load, loads
from sojourn.config.wording import dotted, is_secret, masked, shown
from tests.config.reading import MINIMAL, added, read

WHOLE = """\
mcpServers:
  web: {type: http, url: "https://u:p-hidden@h/mcp?k=q-hidden", headers: {X-Auth: h-hidden}}
  files:
    {type: stdio, command: npx, args: [-y, "--api-key=a-hidden", --token, b-hidden, $DIR], env: {A: e-hidden}}
llm: {provider: openai, model: gpt-5, apiKey: k-hidden, baseURL: "https://u:l-hidden@h/v1"}
systemPrompt: |
  Be kind.
  Be short.
storage: {database: {type: postgres, connectionString: "postgres://u:c-hidden@h/d", password: d-hidden}}
telemetry: {export: {type: otlp, endpoint: "http://u:t-hidden@h", headers: {authorization: o-hidden}}}
tools: [{type: x, apiToken: x-hidden, nested: {secretKey: [y-hidden]}}]
"""


def whole() -> Configuration:
    return read(WHOLE, {"DIR": "/v-hidden"})


def test_the_files_sections_come_first_and_in_its_order() -> None:
    found = list(effective(whole()))
    assert found[:6] == ["mcpServers", "llm", "systemPrompt", "storage", "telemetry", "tools"]
    assert set(found[6:]) == {
        "agentFile",
        "permissions", "elicitation", "sessions", "logger", "resources", "prompts", "compaction", "sojourn",
    }  # fmt: skip


def test_defaults_are_filled_in_and_what_is_not_set_is_not_there() -> None:
    found = effective(added("mcpServers: {a: {type: stdio, command: x}}\n"))
    assert found["sessions"] == {"maxSessions": 100, "sessionTTL": 3_600_000}
    assert found["llm"] == {"provider": "openai", "model": "gpt-5", "apiKey": "***", "maxIterations": 50}
    assert found["mcpServers"]["a"]["connectionMode"] == "lenient"
    assert "agentId" not in found


def test_what_may_be_a_secret_is_masked() -> None:
    found = effective(whole())
    assert found["mcpServers"]["files"]["args"] == ["-y", "--api-key=***", "--token", "***", "***"]
    assert found["mcpServers"]["files"]["env"] == {"A": "***"}
    assert found["mcpServers"]["web"]["url"] == "https://***@h/mcp?***"
    assert found["mcpServers"]["web"]["headers"] == {"X-Auth": "***"}
    assert found["storage"]["database"] == {"type": "postgres", "connectionString": "***", "password": "***"}
    assert found["tools"] == [{"type": "x", "apiToken": "***", "nested": {"secretKey": ["***"]}}]
    assert "hidden" not in as_yaml(whole())


def test_no_repr_shows_a_secret() -> None:
    configuration = whole()
    for shown_as in (repr(configuration), str(configuration.agent), repr(configuration.agent.mcp_servers)):
        assert "hidden" not in shown_as


def test_the_yaml_can_be_loaded_again_and_means_the_same() -> None:
    once = as_yaml(whole())
    again = loads(once, "/agents/support.yml", environ={})
    assert as_yaml(again) == once
    assert "    content: |-\n      Be kind.\n      Be short.\n" in once


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("llm", "apiKey"), True),
        (("llm", "maxOutputTokens"), False),
        (("llm", "reasoning", "budgetTokens"), False),
        (("compaction", "maxContextTokens"), False),
        (("mcpServers", "token-server", "timeout"), False),
        (("mcpServers", "a", "env", "HOME"), True),
        (("mcpServers", "a", "env"), True),
        (("hooks", 0, "webhook_secret"), True),
        (("hooks", 0, "db-password"), True),
        (("hooks", 0, "oauthTokens", 0), True),
        (("permissions", "toolPolicies", "alwaysAllow"), False),
        (("agentCard", "metadata", "signature"), True),
    ],
)
def test_names_tell_what_may_be_a_secret(path: tuple[str | int, ...], secret: bool) -> None:  # noqa: FBT001
    assert is_secret(path) is secret


@pytest.mark.parametrize(
    ("arguments", "masks"),
    [
        (["--key", "k", "x"], ["--key", "***", "x"]),
        (["--key", "--verbose", "x"], ["--key", "--verbose", "x"]),
        (["-e", "API_KEY=k"], ["-e", "API_KEY=***"]),
        (["--header", "Authorization: Bearer k"], ["--header", "Authorization: ***"]),
        (["postgres://u:p@h/d", 5], ["postgres://***@h/d", 5]),
    ],
)
def test_arguments_lose_the_values_of_secret_options(arguments: list[object], masks: list[object]) -> None:
    assert masked(arguments, ("mcpServers", "a", "args")) == masks


def test_values_are_shown_short_and_on_one_line() -> None:
    assert shown("a\nb", ("x",)) == r"'a\nb'"
    assert len(shown("x" * 500, ("x",))) == 60
    assert shown("x" * 501, ("x",)) == "a text of 501 characters"
    assert shown("https://u:p@h?k=v", ("x",)) == "'https://***@h?***'"
    assert shown("https//u:p@h/?k=v and u:p@h", ("x",)) == "'***@h/?*** and ***@h'"
    assert dotted(("a", 0, "b c", "d")) == "a[0].'b c'.d"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("agentId: support\n", "support"),
        ("agentId: Support desk\n", "Support-desk"),
        ("agentCard: {name: card, description: d, url: 'http://h', version: '1'}\n", "card"),
        ("agentId: a/b\n", "a-b-c14cddc0"),
        ("agentId: ../..\n", "agent-0cfd1c96"),
        ("agentId: 助手\n", "助手"),
    ],
)
def test_an_agent_has_the_name_it_gives_itself(text: str, name: str) -> None:
    assert added(text).name == name


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = {added(f"agentId: {'x' * 100}{end}\n").name for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) < 64


def test_an_agent_without_a_name_is_known_by_its_place(tmp_path: Path) -> None:
    names = []
    for place in ("a/support.yml", "b/support.yml", "b/agent.yml"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(MINIMAL)
        names.append(load(path, environ={}).name)
    assert [name[:-8] for name in names] == ["support-", "support-", "b-"]
    assert len({name[-8:] for name in names}) == 3
    assert load(tmp_path / "b" / ".." / "a" / "support.yml", environ={}).name == names[0]
