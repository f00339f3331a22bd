"""The tree of a file: values that know their line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sojourn.config.configuration import KeyPath

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file."""

    #: Of its key, or of itself in a list; from 1.
    line: int
    value: Scalar | list[Node] | dict[str, Node]
    #: How many mappings and lists lie in it, counted downwards.
    height: int = 0
    #: How many lines the value itself covers.
    lines: int = 1
    #: The variables that it was made from.
    variables: tuple[str, ...] = ()
    #: Those of them that are not set.
    unset: tuple[str, ...] = ()

    def at(self, *path: str | int) -> Node | None:
        """The value that the path leads to; None where there is none, or null."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node else None
        return node if node and node.value is not None else None

    def child(self, part: str | int) -> Node | None:
        """The value one step down, also where it is null."""
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def text(self, *path: str | int) -> str | None:
        """The text that the path leads to; None where there is none."""
        node = self.at(*path)
        return node.value if node and isinstance(node.value, str) else None

    def entries(self, *path: str | int) -> list[tuple[KeyPath, Node]]:
        """The values in the mapping or list that the path leads to, with their whole paths; no nulls."""
        node = self.at(*path)
        if node is None or not isinstance(node.value, dict | list):
            return []
        pairs = node.value.items() if isinstance(node.value, dict) else enumerate(node.value)
        return [((*path, part), child) for part, child in pairs if child.value is not None]

    def plain(self) -> Any:
        """The value as Python has it; keys whose value is null are absent."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items() if child.value is not None}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value
