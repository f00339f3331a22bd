"""What must hold between several values of an agent.yml, asked of the file even where other parts of it are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sojourn.config.configuration import KeyPath
from sojourn.config.expansion import VARIABLE, Report
from sojourn.config.node import Node
from sojourn.config.providers import provider_meant
from sojourn.config.schema import PROVIDERS
from sojourn.config.wording import shown

#: What is meant as a variable, and not as shell code or a price, in a text for the model.
_CAPITALS = re.compile(r"\$(?:[A-Z][A-Z0-9_]+|\{[A-Z][A-Z0-9_]+\})(?![A-Za-z0-9_{])")

#: These are at no fixed address.
NEED_BASE_URL = ("openai-compatible", "litellm")
#: Behind these may be a server of one's own, which asks for no key.
NEED_NO_KEY = ("openai-compatible", "litellm")


def check(root: Node, problem: Report, warning: Report) -> None:
    """Report what contradicts itself, and what is fine but will not work as it is."""
    _base_url(root, problem)
    _model(root, problem)
    _key(root, warning)
    _keys(root, problem, warning)
    _unique(root.entries("systemPrompt", "contributors"), problem)
    _unique(root.entries("prompts"), problem)
    _files(root, problem)
    _database(root, problem, warning)
    _log_files(root, problem)
    _not_expanded(root, warning)


def _base_url(root: Node, problem: Report) -> None:
    provider = root.text("llm", "provider")
    if provider in NEED_BASE_URL and root.at("llm", "baseURL") is None:
        problem(_line(root, "llm"), ("llm", "baseURL"), f"missing, expected the URL where {provider} answers")


def _model(root: Node, problem: Report) -> None:
    path = ("llm", "model")
    model = root.text(*path)
    if model is not None and (expected := expected_model(root.text("llm", "provider"), model)) is not None:
        found = shown(model, path, lines=root.at(*path).lines)  # type: ignore[union-attr] # it has a text
        problem(_line(root, *path), path, f"found {found}, expected {expected}")


def expected_model(provider: str | None, model: str) -> str | None:
    """What an id of the provider's models looks like, where this one does not."""
    return "an id with a /, such as openai/gpt-5" if provider == "openrouter" and "/" not in model else None


def _key(root: Node, warning: Report) -> None:
    provider, key = root.text("llm", "provider"), root.at("llm", "apiKey")
    if provider is None or provider in NEED_NO_KEY:
        return
    if key is None:
        text = "missing, so the model cannot be asked; write the name of a variable, such as $API_KEY"
        warning(_line(root, "llm"), ("llm", "apiKey"), text)
    elif key.value == "":
        where = f"the variable {' or '.join(key.variables)} is empty" if key.variables else "an empty text"
        warning(key.line, ("llm", "apiKey"), f"found nothing in it ({where}), so the model cannot be asked")


def _keys(root: Node, problem: Report, warning: Report) -> None:
    own = root.text("llm", "provider")
    for path, key in root.entries("sojourn", "keys"):
        provider = str(path[-1])
        if provider not in PROVIDERS:
            problem(
                key.line, path, f"found an unknown provider, expected one of {', '.join(PROVIDERS)}" + _meant(provider)
            )
        elif provider == own:
            warning(key.line, path, "has no effect: it is the provider of llm, whose key is llm.apiKey")
        elif provider in NEED_BASE_URL:
            warning(key.line, path, "has no effect: no session can switch to it, since it is at no fixed address")


def _meant(provider: str) -> str:
    near = provider_meant(provider)
    return "" if NEED_BASE_URL[0] in near else near  # to those a session cannot switch


def _unique(entries: Iterable[tuple[KeyPath, Node]], problem: Report) -> None:
    first: dict[str, int] = {}
    for path, entry in entries:
        if (text := entry.text("id")) is None:
            continue
        name = text.strip()
        if name in first:
            line = _line(entry, "id")
            found = f"found {shown(name, path)} a second time (first on line {first[name]})"
            problem(line, (*path, "id"), f"{found}, expected an id of its own")
        first.setdefault(name, _line(entry, "id"))


def _files(root: Node, problem: Report) -> None:
    for path, entry in root.entries("systemPrompt", "contributors"):
        if entry.text("type") != "file":
            continue
        for index, file in entry.entries("files"):
            name = file.value
            if isinstance(name, str) and name.strip() and not name.strip().startswith("/"):
                begin = "${{sojourn.agent_dir}}/"
                found = shown(name, path, lines=file.lines)
                problem(file.line, (*path, *index), f"found {found}, expected an absolute path; begin it with {begin}")


def _database(root: Node, problem: Report, warning: Report) -> None:
    at = ("storage", "database")
    database = root.at(*at)
    kind = root.text(*at, "type")
    if database is None:
        return
    if kind == "sqlite" and (path := database.text("path")) is not None and path.endswith(("/", ":memory:")):
        text = f"found {shown(path, at)}, expected a file; for none, write type: in-memory"
        problem(_line(database, "path"), (*at, "path"), text)
    if kind == "postgres":
        if database.at("url") is None and database.at("connectionString") is None:
            problem(database.line, (*at, "url"), "missing, expected the database's URL")
        text = "PostgreSQL comes later; until then the agent cannot run with it, only with sqlite or in-memory"
        warning(_line(database, "type"), (*at, "type"), text)


def _log_files(root: Node, problem: Report) -> None:
    for path, transport in root.entries("logger", "transports"):
        if transport.text("type") == "file" and transport.at("path") is None:
            problem(transport.line, (*path, "path"), "missing, expected the file for the log's lines")


def _not_expanded(root: Node, warning: Report) -> None:
    for path in (("llm", "model"), ("storage", "database", "path")):
        if VARIABLE.match(root.text(*path) or ""):
            text = "found what looks like a variable; variables do not count here, so it is taken as it is written"
            warning(_line(root, *path), path, text)
    pieces = root.entries("systemPrompt", "contributors")
    prompts = [
        (("systemPrompt",), root.at("systemPrompt")),
        *(((*at, "content"), one.at("content")) for at, one in pieces),
    ]
    for place, prompt in prompts:
        found = _CAPITALS.search(prompt.value) if prompt and isinstance(prompt.value, str) else None
        if prompt and found:
            text = f"found {found[0]}; variables do not count here, so the model is told that as it is written"
            warning(prompt.line, place, text)


def _line(root: Node, *path: str) -> int:
    node = root.at(*path)
    return node.line if node else root.line
