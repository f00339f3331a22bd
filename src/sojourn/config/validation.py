"""From the tree of a file to its sections; what pydantic finds is said in our words, at its line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from sojourn.config.configuration import KeyPath
from sojourn.config.expansion import VARIABLE, Report, is_expanded
from sojourn.config.node import Node
from sojourn.config.providers import provider_meant
from sojourn.config.schema import AgentConfig
from sojourn.config.shape import ANYTHING, Kind, locate
from sojourn.config.wording import did_you_mean, is_secret, shown

#: How many findings are explained: far more than are told, and soon done.
MOST = 1000


def validate(root: Node, report: Report) -> AgentConfig | None:
    """The sections of the file; None after something was reported."""
    data = root.plain()
    prompt = root.text("systemPrompt")
    if prompt is not None:
        inline = {"id": "inline", "type": "static", "priority": 0, "content": prompt}
        data["systemPrompt"] = {"contributors": [inline]}
    try:
        return AgentConfig.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    for entry in found[:MOST]:
        _explain(root, entry, report)
    return None


def _explain(root: Node, entry: Any, report: Report) -> None:
    kind_of_error = entry["type"]
    path, kind = locate(entry["loc"])
    if kind_of_error.startswith("union_tag_"):
        path = (*path, "type")
        kind = Kind(str, "one of " + ", ".join(kind.options), kind.members)
    node, path = _nearest(root, path)
    missing = root.at(*path) is None and not _in_list(root, path)
    if kind_of_error == "extra_forbidden":
        parent = locate(entry["loc"][:-1])[1]
        report(node.line, path, _unknown(str(path[-1]), parent))
    elif missing:
        report(node.line, path, f"missing, expected {kind.expected}")
    else:
        report(node.line, path, _wrong(node, path, kind))


def _nearest(root: Node, path: KeyPath) -> tuple[Node, KeyPath]:
    """The value of a path, or of the mapping in which it is missing; and the path as far as the file has it."""
    node = root
    for index, part in enumerate(path):
        child = node.child(part)
        if child is None:
            # A missing key is named; what we made of a plain value is not.
            return node, path[: index + 1] if isinstance(node.value, dict) else path[:index]
        node = child
    return node, path


def _in_list(root: Node, path: KeyPath) -> bool:
    """Whether the path leads to an entry of a list, which is never absent."""
    return bool(path) and isinstance(path[-1], int) and root.at(*path[:-1]) is not None


def _unknown(key: str, parent: Kind) -> str:
    near = did_you_mean(key, parent.keys)
    return f"found an unknown key{near}" if near else f"found an unknown key, expected one of {', '.join(parent.keys)}"


def _wrong(node: Node, path: KeyPath, kind: Kind) -> str:
    expected = kind.expected if kind is not ANYTHING else "something else"
    if node.unset:
        which = f"variable {node.unset[0]} is" if len(node.unset) == 1 else f"variables {', '.join(node.unset)} are"
        return f"the {which} not set, expected {expected}; set {'it' if len(node.unset) == 1 else 'them'}"
    if node.variables:
        made_of = ", ".join(dict.fromkeys(node.variables))
        return f"found {shown(node.value, path, hidden=True)} (from the variable {made_of}), expected {expected}"
    sentence = f"found {shown(node.value, path, lines=node.lines)}, expected {expected}"
    value = node.value
    if isinstance(value, str) and not is_secret(path):
        if "number" in expected and value.strip().lstrip("-").replace(".", "", 1).isdigit():
            return f"{sentence}, without quotes"
        if VARIABLE.search(value) and not is_expanded(path):
            return f"{sentence}; variables do not count here"
        if path == ("llm", "provider"):
            return sentence + provider_meant(value)
        return sentence + did_you_mean(value, kind.options)
    if isinstance(value, int | float) and expected.startswith("a text"):
        return f"{sentence}; put it in quotes"
    return sentence
