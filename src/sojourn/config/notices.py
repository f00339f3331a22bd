"""Warnings about what is valid in an agent.yml and has no effect in this version."""

from __future__ import annotations

from sojourn.config.expansion import Report
from sojourn.config.node import Node
from sojourn.config.wording import did_you_mean, dotted

#: The key, and what is not done with it.
WITHOUT_EFFECT: dict[tuple[str, ...], str] = {
    ("agentFile",): "no files with instructions are looked for",
    ("image",): "the tools and defaults of an image are not loaded",
    ("memories",): "nothing is remembered over conversations",
    ("tools",): "the agent has the tools of its MCP servers only",
    ("hooks",): "nothing is called before or after a message",
    ("resources",): "no files are offered to the agent",
    ("prompts",): "no prompts are offered to start with",
    ("elicitation",): "tools cannot ask the person something",
    ("compaction",): "long histories are not made shorter",
    ("telemetry",): "no traces are sent",
    ("storage", "cache"): "everything is kept in the database",
    ("storage", "blob"): "everything is kept in the database",
    ("llm", "allowedMediaTypes"): "every kind of file is passed to the model",
}

#: The keys of a database's settings, by its type.
DATABASE_KEYS = {"in-memory": ("type",), "sqlite": ("type", "path"), "postgres": ("type", "url", "connectionString")}


def notice(root: Node, warning: Report) -> None:
    """Warn once about each part of the file that has no effect."""
    for path, consequence in WITHOUT_EFFECT.items():
        if (node := root.at(*path)) is not None:
            warning(node.line, path, f"has no effect yet{_types(node)}: {consequence}")
    _contributors(root, warning)
    _transports(root, warning)
    _database(root, warning)


def _types(node: Node) -> str:
    """The types of a list's entries, which is what people know them by."""
    types = [name for _, entry in node.entries() if (name := entry.text("type")) is not None]
    words = list(dict.fromkeys(dotted((name,)) for name in types)) if isinstance(node.value, list) else []
    return f" ({', '.join(words[:10])})" if words else ""


def _contributors(root: Node, warning: Report) -> None:
    for path, entry in root.entries("systemPrompt", "contributors"):
        if entry.text("source") == "resources":
            warning(entry.line, (*path, "source"), "has no effect yet (resources): nothing is added to the prompt")


def _transports(root: Node, warning: Report) -> None:
    for path, entry in root.entries("logger", "transports"):
        if entry.text("type") == "upstash":
            warning(entry.line, (*path, "type"), "has no effect yet (upstash): lines are not sent there")


def _database(root: Node, warning: Report) -> None:
    known = DATABASE_KEYS.get(root.text("storage", "database", "type") or "")
    for path, entry in root.entries("storage", "database")[:20]:
        if known and path[-1] not in known:
            near = did_you_mean(str(path[-1]), known)
            warning(entry.line, path, f"has no effect: it is no setting of this type of database{near}")
