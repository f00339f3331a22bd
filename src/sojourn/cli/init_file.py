"""The text of a new agent.yml, with a comment wherever one may want to change something. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sojourn.cli.init import Answers


@dataclass(frozen=True, slots=True)
class _Server:
    """An MCP server to begin with."""

    name: str
    about: str
    command: str
    args: tuple[str, ...]
    #: Its tools that change nothing.
    harmless: tuple[str, ...]


_SERVERS = {
    "files": _Server(
        "files",
        "This one reads and writes files below the folder in its last argument; npx comes with Node.js.",
        "npx",
        ("-y", "@modelcontextprotocol/server-filesystem", "."),
        ("read_text_file", "list_directory", "search_files", "get_file_info"),
    ),
    "web": _Server(
        "web", "This one reads pages of the web; uvx comes with uv.", "uvx", ("mcp-server-fetch",), ("fetch",)
    ),
}


def text_of(answers: Answers) -> str:
    """The file."""
    parts = [_HEAD, _llm(answers), _system_prompt(answers), _tools(answers), _storage(answers), _SESSIONS]
    return "\n".join(parts)


_HEAD = """\
# An agent for Sojourn. `sojourn check` prints what is in effect, `sojourn chat` talks with it.
"""

_SESSIONS = """\
# Conversations are always stored. These two say how many are in memory at once, and for how long an idle one.
sessions:
  maxSessions: 100
  sessionTTL: 3600000 # milliseconds: one hour
"""


def _llm(answers: Answers) -> str:
    lines = ["llm:", f"  provider: {answers.provider}", f"  model: {_quoted(answers.model)}"]
    if answers.base_url:
        lines.append(f"  baseURL: {_quoted(answers.base_url)}")
    if answers.key_variable:
        lines += [
            "  # Read from the environment when the agent starts. Never write the key itself here.",
            f"  apiKey: ${answers.key_variable}",
        ]
    else:
        lines += [
            "  # Where the server wants a key, name a variable that holds its own: whatever it holds is sent there.",
            "  # apiKey: $SERVER_API_KEY",
        ]
    lines += [
        "  # temperature: 0.7",
        "  # maxOutputTokens: 2000",
        "  # maxIterations: 20 # requests to the model in a turn",
    ]
    return "\n".join(lines) + "\n"


def _system_prompt(answers: Answers) -> str:
    return (
        "# What the model is told before every conversation; contributors make it of texts, files and the date.\n"
        f"systemPrompt: {_quoted(answers.system_prompt)}\n"
        '# greeting: "Hello! What can I do for you?"\n'
    )


def _tools(answers: Answers) -> str:
    server = _SERVERS.get(answers.tools or "")
    if server is None:
        example = _server(_SERVERS["files"]).splitlines()
        return "# Tools come from MCP servers, for example:\n" + "".join(f"# {line}\n" for line in example)
    allowed = "".join(f"      - mcp--{server.name}--{tool}\n" for tool in server.harmless)
    return (
        f"# Tools come from MCP servers. {server.about}\n{_server(server)}\n"
        "# manual: tools that are not listed here need a person's approval. auto-approve: none does.\n"
        f"permissions:\n  mode: manual\n  toolPolicies:\n    alwaysAllow:\n{allowed}"
    )


def _server(server: _Server) -> str:
    return (
        "mcpServers:\n"
        f"  {server.name}:\n"
        "    type: stdio\n"
        f"    command: {server.command}\n"
        f"    args: {json.dumps(server.args)}\n"
    )


def _storage(answers: Answers) -> str:
    if answers.storage == "default":
        return (
            "# Conversations are kept in your data folder. Name a file to keep them elsewhere:\n"
            "# storage:\n"
            "#   database:\n"
            "#     type: sqlite\n"
            "#     path: ./conversations.db\n"
        )
    return (
        "# A relative path begins at this file's folder.\n"
        "storage:\n"
        "  database:\n"
        "    type: sqlite\n"
        f"    path: {_quoted(answers.storage)}\n"
    )


def _quoted(text: str | None) -> str:
    """As a YAML text, which a JSON text is."""
    return json.dumps(text or "", ensure_ascii=False)
