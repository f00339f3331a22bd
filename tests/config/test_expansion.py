"""Templates and environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from sojourn.config.loader import load
from sojourn.config.schema import FileContributor, StdioServer
from tests.config.reading import MINIMAL, added, problems_added, warnings_added

STDIO = "permissions: {mode: auto-approve}\nmcpServers: {files: {type: stdio, command: npx, args: ['%s']}}\n"


def argument(text: str, environ: dict[str, str]) -> str:
    server = added(STDIO % text, environ).agent.mcp_servers["files"]
    assert isinstance(server, StdioServer)
    return server.args[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$HOME/x", "/h/x"),
        ("${HOME}x$HOME", "/hx/h"),
        (" $HOME ", "/h"),
        ("$home", ""),
        ("$HOME_X", ""),
        ("a$", "a$"),
        ("$1", "$1"),
        ("${HOME:-/x}", "${HOME:-/x}"),
        ("${ HOME }", "${ HOME }"),
        ("$${HOME}", "$/h"),
    ],
)
def test_a_variable_is_replaced_and_the_result_trimmed(text: str, value: str) -> None:
    assert argument(text, {"HOME": "/h"}) == value


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert argument("$A", {"A": "$B", "B": "b"}) == "$B"


def test_variables_count_where_keys_and_addresses_stand() -> None:
    text = (
        "permissions: {mode: auto-approve}\n"
        "mcpServers:\n"
        "  a: {type: stdio, command: $V, args: [$V], env: {K: $V}}\n"
        "  b: {type: http, url: http://$V, headers: {K: $V}}\n"
        "storage: {database: {type: sqlite, url: $V, connectionString: $V, path: $V}}\n"
        "greeting: $V\n"
    )
    agent = added(text, {"V": "v"}).agent
    dumped = agent.model_dump(include={"mcp_servers", "storage"})
    assert dumped["mcp_servers"]["a"]["command"] == "v"
    assert dumped["mcp_servers"]["a"]["args"] == ["v"]
    assert dumped["mcp_servers"]["a"]["env"] == {"K": "v"}
    assert dumped["mcp_servers"]["b"]["url"] == "http://v"
    assert dumped["mcp_servers"]["b"]["headers"] == {"K": "v"}
    assert dumped["storage"]["database"]["url"] == dumped["storage"]["database"]["connection_string"] == "v"
    assert (dumped["storage"]["database"]["path"], agent.greeting) == ("$V", "$V")


def test_a_variable_that_is_not_set_gives_one_warning_however_often_it_is_used() -> None:
    text = (
        "permissions: {mode: auto-approve}\nmcpServers:\n  a: {type: stdio, command: x, args: [$V, $V], env: {K: $V}}\n"
    )
    said = "is not set, so nothing stands in its place; set it"
    assert warnings_added(text) == [f"5 mcpServers.a.args[0]: the variable V {said}"]
    assert warnings_added(text, {"V": ""}) == []


def test_a_variable_in_another_case_is_suggested() -> None:
    [warning] = warnings_added(STDIO % "$home", {"HOME": "/h"})
    assert warning.endswith("the variable home is not set, so nothing stands in its place; set it, did you mean HOME?")


def test_a_problem_at_a_place_without_variables_says_so() -> None:
    [problem] = problems_added("agentCard: {name: a, description: b, version: '1', url: $URL}\n", {"URL": "http://x"})
    assert problem.endswith(
        "found '$URL', expected a URL that begins with http:// or https://; variables do not count here"
    )


def files_of(folder: Path, template: str) -> str:
    path = folder / "agent.yml"
    contributor = f"{{id: a, type: file, priority: 0, files: ['{template}']}}"
    path.write_text(
        f"llm: {{provider: openai, model: m, apiKey: k}}\nsystemPrompt: {{contributors: [{contributor}]}}\n"
    )
    [found] = load(path, environ={}).agent.system_prompt.contributors
    assert isinstance(found, FileContributor)
    return found.files[0]


@pytest.mark.parametrize("owner", ["sojourn", "dexto"])
def test_a_template_is_the_agents_folder_or_its_projects(tmp_path: Path, owner: str) -> None:
    folder = tmp_path / "project" / "agents" / "support"
    folder.mkdir(parents=True)
    (tmp_path / "project" / "package.json").touch()
    assert files_of(folder, f"${{{{{owner}.agent_dir}}}}/a/../b.md") == f"{folder}/b.md"
    assert files_of(folder, f"${{{{ {owner}.agent_dir }}}}") == f"{folder}"
    assert files_of(folder, f"${{{{{owner}.project_dir}}}}/b.md") == f"{tmp_path}/project/b.md"


@pytest.mark.parametrize("mark", [".git", "pyproject.toml", "package.json", ".sojourn"])
def test_the_nearest_folder_with_a_mark_is_the_project(tmp_path: Path, mark: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / mark).mkdir()
    assert files_of(folder, "${{sojourn.project_dir}}/x") == f"{tmp_path}/a/x"


def test_templates_count_in_every_text() -> None:
    text = "tools: [{type: x, folder: {in: ['${{dexto.agent_dir}}/x']}}]\ngreeting: '${{dexto.agent_dir}}'\n"
    agent = added(text).agent
    assert agent.greeting == "/agents"
    assert agent.tools is not None
    assert agent.tools[0].model_extra == {"folder": {"in": ["/agents/x"]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${{dexto.agent_dir}}/../x", "found a path that leaves dexto.agent_dir, expected one inside it"),
        ("${{dexto.agent_dir}}x", "found a path that leaves dexto.agent_dir, expected one inside it"),
        ("in ${{dexto.agent_dir}}", "found a template inside a text, expected one at the beginning of a path"),
        (
            "${{dexto.agent_dir}}/${{dexto.agent_dir}}",
            "found a template inside a text, expected one at the beginning of a path",
        ),
        (
            "${{dexto.agentdir}}",
            (
                "found an unknown template, expected one of sojourn.agent_dir, sojourn.project_dir, dexto.agent_dir, "
                "dexto.project_dir, did you mean dexto.agent_dir?"
            ),
        ),
    ],
)
def test_a_template_that_leads_nowhere_is_a_problem(text: str, said: str) -> None:
    assert problems_added(f"greeting: '{text}'\n") == [f"3: greeting: {said}"]


def test_the_minimal_agent_has_no_warning() -> None:
    assert added("").warnings == ()
    assert MINIMAL.count("\n") == 2


def test_a_variable_that_is_not_set_is_named_where_something_must_be() -> None:
    start = "permissions: {mode: auto-approve}\nmcpServers:\n"
    assert problems_added(start + "  a: {type: stdio, command: $CMD}\n") == [
        "5: mcpServers.a.command: the variable CMD is not set, expected a text that is not empty; set it"
    ]
    url = "a URL that begins with http:// or https://"
    assert problems_added(start + "  a: {type: http, url: 'http://$HOST:$PORT'}\n") == [
        f"5: mcpServers.a.url: the variables HOST, PORT are not set, expected {url}; set them"
    ]
    assert problems_added(start + "  a: {type: http, url: $URL}\n", {"URL": "sk-secret"}) == [
        f"5: mcpServers.a.url: found *** (from the variable URL), expected {url}"
    ]
