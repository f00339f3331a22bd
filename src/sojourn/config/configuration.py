"""What a loaded agent.yml is to the rest of the house."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sojourn.config.schema import AgentConfig

#: The keys and list indices that lead to a value.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about one place of a file, for a person to read."""

    file: str
    #: From 1; 0 where it is about the whole file.
    line: int
    #: Such as `llm.apiKey` or `mcpServers.files.args[0]`; empty where it is about the whole file.
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """An agent.yml with its variables expanded and its defaults filled in."""

    path: Path
    agent: AgentConfig
    #: What is fine but has no effect, or will not work as it is.
    warnings: Sequence[Problem]
    #: The agent's identity: `agentId`, else the card's name, else made from the file's place; safe in a file name.
    name: str
    #: The sections that the file has, in its order.
    sections: Sequence[str] = ()
    #: Where values came from the environment: they are never shown.
    from_environment: frozenset[KeyPath] = frozenset()
