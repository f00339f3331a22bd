"""What stands for something else in an agent.yml: `${{sojourn.agent_dir}}` and `$VARIABLE`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sojourn.config.configuration import KeyPath
from sojourn.config.node import Node
from sojourn.config.wording import did_you_mean

TEMPLATE = re.compile(r"\$\{\{(?P<name>[^{}]*)\}\}")
VARIABLE = re.compile(r"\$(?:(?P<bare>[A-Z_][A-Z0-9_]*)|\{(?P<braced>[A-Z_][A-Z0-9_]*)\})", re.IGNORECASE | re.ASCII)
TEMPLATES = ("sojourn.agent_dir", "sojourn.project_dir", "dexto.agent_dir", "dexto.project_dir")
#: What a project's folder is known by.
PROJECT_MARKS = (".git", "pyproject.toml", "package.json", ".sojourn")

#: Is told the line, the path and a sentence.
Report = Callable[[int, KeyPath, str], None]


def expand(root: Node, path: str, environ: Mapping[str, str], problem: Report, warning: Report) -> Node:
    """The tree with its templates and variables replaced.

    `path` is the file's, absolute. Problems are about templates; each variable that is not set gives one warning.
    """
    templates, variables = _Templates(os.path.dirname(path), problem), _Variables(environ, warning)  # noqa: PTH120

    def replaced(node: Node, at: KeyPath) -> Node:
        node = templates.expand(node, at)
        return variables.expand(node, at) if is_expanded(at) else node

    return _rewrite(root, (), replaced)


def is_expanded(path: KeyPath) -> bool:
    """Whether variables count in the value that lies there."""
    match path:
        case ("llm", "apiKey") | ("sojourn", "keys", str()):
            return True
        case ("mcpServers", _, "command" | "url") | ("mcpServers", _, "args", int()):
            return True
        case ("mcpServers", _, "env" | "headers", str()) | (
            "storage",
            "database" | "cache",
            "url" | "connectionString",
        ):
            return True
    return False


def _rewrite(node: Node, path: KeyPath, change: Callable[[Node, KeyPath], Node]) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={key: _rewrite(child, (*path, key), change) for key, child in node.value.items()})
    if isinstance(node.value, list):
        items = [_rewrite(child, (*path, index), change) for index, child in enumerate(node.value)]
        return replace(node, value=items)
    return change(node, path) if isinstance(node.value, str) else node


@dataclass(frozen=True, slots=True)
class _Templates:
    agent_dir: str
    problem: Report

    def expand(self, node: Node, path: KeyPath) -> Node:
        text = node.value
        if not isinstance(text, str) or not (found := list(TEMPLATE.finditer(text))):
            return node
        names = [template["name"].strip() for template in found]
        if unknown := [name for name in names if name not in TEMPLATES]:
            near = did_you_mean(unknown[0], TEMPLATES)
            self.problem(node.line, path, f"found an unknown template, expected one of {', '.join(TEMPLATES)}{near}")
            return node
        if found[0].start() or len(found) > 1:
            self.problem(node.line, path, "found a template inside a text, expected one at the beginning of a path")
            return node
        folder = self._folder(names[0])
        # Two slashes at the beginning would stay two.
        whole = os.path.normpath("/" + (folder + text[found[0].end() :]).lstrip("/"))
        if whole != folder and not whole.startswith(folder.rstrip("/") + "/"):
            self.problem(node.line, path, f"found a path that leaves {names[0]}, expected one inside it")
            return node
        return replace(node, value=whole)

    def _folder(self, name: str) -> str:
        return self.agent_dir if name.endswith("agent_dir") else project_dir(self.agent_dir)


def project_dir(agent_dir: str) -> str:
    """The nearest folder, from the agent's upwards, that looks like a project's; else the agent's."""
    folder = agent_dir
    while not any(os.path.lexists(f"{folder}/{mark}") for mark in PROJECT_MARKS):
        folder, below = os.path.dirname(folder), folder  # noqa: PTH120
        if folder == below:
            return agent_dir
    return folder


class _Variables:
    def __init__(self, environ: Mapping[str, str], warning: Report) -> None:
        self._environ = environ
        self._warning = warning
        self._missing: set[str] = set()

    def expand(self, node: Node, path: KeyPath) -> Node:
        text = str(node.value)
        names = tuple(found["bare"] or found["braced"] for found in VARIABLE.finditer(text))
        for name in names:
            if name not in self._environ and name not in self._missing:
                self._missing.add(name)
                near = did_you_mean(name, (other for other in self._environ if other.lower() == name.lower()))
                self._warning(
                    node.line, path, f"the variable {name} is not set, so nothing stands in its place; set it{near}"
                )
        value = VARIABLE.sub(lambda found: self._environ.get(found["bare"] or found["braced"], ""), text).strip()
        unset = tuple(dict.fromkeys(name for name in names if name not in self._environ))
        return replace(node, value=value, variables=names, unset=unset)
