"""The names under which a model sees the tools of MCP servers: `mcp--<server>--<tool>`; pure.

Providers take letters, digits, `_` and `-`, at most 64 of them. A server's part never holds `--` and never ends in `-`,
so no name of one server can be a name of another. What had to be changed until it could be mistaken for something else
ends in a digest of what it was.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

#: Characters that a tool's name may have with every provider.
LONGEST = 64
#: Characters of the server's part; the rest is the tool's.
LONGEST_SERVER = 32
#: Hexadecimal characters of a digest.
DIGEST = 6

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def server_prefixes(servers: Iterable[str]) -> dict[str, str]:
    """What the names of each server's tools begin with."""
    plain = {name: _server_part(name) for name in servers}
    parts = _distinct(plain, LONGEST_SERVER)
    return {name: f"mcp--{part}--" for name, part in parts.items()}


def tool_names(prefix: str, tools: Iterable[str]) -> dict[str, str]:
    """The tools' own names by the names that a model sees, in the given order; a tool named twice is there once."""
    plain = {tool: _FOREIGN.sub("_", tool) for tool in tools}
    shown = _distinct(plain, LONGEST - len(prefix))
    return {prefix + shown[tool]: tool for tool in plain}


def _server_part(name: str) -> str:
    return re.sub(r"-{2,}", "-", _FOREIGN.sub("_", name)).rstrip("-") or "_"


def _distinct(plain: dict[str, str], longest: int) -> dict[str, str]:
    """Short and different names, whatever order they come in: a name that needed no change keeps it."""
    found = {raw: text for raw, text in plain.items() if raw == text and len(raw) <= longest}
    taken = set(found.values())
    for raw in sorted(plain.keys() - found.keys()):
        text = plain[raw]
        if len(text) > longest or text in taken or list(plain.values()).count(text) > 1:
            text = _digested(raw, text, longest, taken)
        found[raw] = text
        taken.add(text)
    return found


def _digested(raw: str, text: str, longest: int, taken: set[str]) -> str:
    whole = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
    for length in range(DIGEST, longest):
        shortened = f"{text[: longest - length - 1].rstrip('-')}_{whole[:length]}"
        if shortened not in taken:
            return shortened
    raise ValueError(f"no name left for {raw!r}")
