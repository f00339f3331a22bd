"""From the text of a YAML file to a tree in which every value knows its line.

The tree is built from the parser's events, so that nothing is constructed that could run code, and so that duplicate
keys, aliases and depth are ours to judge.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from sojourn.config.configuration import KeyPath, Problem
from sojourn.config.node import Node, Scalar
from sojourn.config.wording import dotted

#: How deep mappings and lists may lie in each other.
MAX_DEPTH = 40
#: How large a file may become by its aliases: characters, and 16 for every value.
MAX_WEIGHT = 8 * 1024 * 1024
NODE_WEIGHT = 16

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
#: What cannot be stored, printed or passed to a program.
UNUSABLE = re.compile("[\x00\ud800-\udfff]")

#: A line that was meant to be a key of its own, and goes on with what is above it.
TOO_DEEP = "found a key with a deeper indent than the key above, which has a value; give both the same indent"
NO_COLON = "found a key below a line that is no key; put a colon behind that line, or correct the indent"

#: A part of the parser's sentence, and ours for it, which quotes nothing: what stands there may be a password.
SYNTAX = (
    (r"'\t'", "found a tab, expected spaces: YAML is indented with spaces"),
    ("mapping values are not allowed", "found a second ': ' in a line, expected one; put the text in quotes"),
    ("could not find expected ':'", "found a key without ': ' behind it"),
    ("unexpected end of stream", "found a quote that is never closed"),
    ("<stream end>", "found a bracket or brace that is never closed"),
    ("expected ',' or", "found something else between brackets or braces, expected a comma or the closing one"),
    ("expected <block end>", "found an indent that fits nothing above it, expected that of the key before"),
    ("expected '<document start>'", "found more behind the end of the file's value; correct the indent"),
    ("are not allowed here", "found a - or ? where no entry can begin; put the text in quotes, or correct the indent"),
    ("node content", "found a sign where a value must stand; put the text in quotes"),
    ("escape", "found a backslash that means nothing in double quotes; double it, or use single quotes"),
    ("alphabetic or numeric", "found & or * without a name; put the text in quotes"),
    ("line break", "found text behind | or >, expected it to begin on the next line"),
    ("indentation indicator", "found text behind | or >, expected it to begin on the next line"),
    ("cannot start any token", "found a character that no plain text can begin with; put the text in quotes"),
    ("tag", "found a tag (a word that begins with !), expected none; put the text in quotes"),
    ("URI", "found a tag (a word that begins with !), expected none; put the text in quotes"),
)


class Unreadable(Exception):
    """The text cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def parse(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a text and what is wrong with it; None where it is empty or cannot be read to its end."""
    text = text.removeprefix("\ufeff")
    builder = _Builder(text, file)
    try:
        events = YAML(typ="safe", pure=True).parse(text)
        return builder.document(events), builder.problems
    except Unreadable as unreadable:
        problem = unreadable.problem
    except MarkedYAMLError as error:
        problem = builder.syntax(error)
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways, and always because of the text
        position = getattr(error, "position", 0)
        why = (
            "a character that is not allowed" if position or hasattr(error, "reason") else "what no YAML file can hold"
        )
        problem = Problem(file, builder.line(position if isinstance(position, int) else 0), "", f"found {why}")
    return None, [*builder.problems, problem]


class _Builder:
    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._text = text
        self._breaks = [index for index, mark in enumerate(text) if mark == "\n"]
        self._last_line = len(self._breaks) + (not text.endswith("\n"))
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._weight = 0

    def line(self, index: int) -> int:
        """The line of a character, within the file."""
        return max(1, min(bisect_right(self._breaks, index - 1) + 1, self._last_line))

    def syntax(self, error: Any) -> Problem:
        """Our sentence for the parser's."""
        said = str(error.problem)
        mark = error.problem_mark or error.context_mark
        if "unexpected end" in said or "<stream end>" in said:
            mark = error.context_mark or mark
        sentence = next((ours for part, ours in SYNTAX if part in said), "found what cannot be read as YAML")
        if "mapping values are not allowed" in said and mark:
            sentence = self._indent(mark.index) or sentence
        return Problem(self.file, self.line(mark.index if mark else 0), "", sentence)

    def _indent(self, index: int) -> str | None:
        """What is wrong where a colon stands that is the first of its line; None where it is not the first."""
        *above, before = self._text[:index].split("\n")
        if not before.startswith(" ") or ": " in before:
            return None
        last = next((line for line in reversed(above) if line.strip()), "")
        return TOO_DEEP if ": " in last else NO_COLON

    def document(self, events: Iterator[Any]) -> Node | None:
        """The tree of the only document."""
        self._events = events
        root = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._unreadable(event, (), "found a second document (---), expected one")
            elif isinstance(event, NodeEvent):
                root = self._node(event, (), self.line(event.start_mark.index))
        return root

    def _node(self, event: Any, path: KeyPath, line: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, path, line)
        if len(path) > MAX_DEPTH:
            raise self._unreadable(event, (), f"found more than {MAX_DEPTH} mappings and lists in each other")
        before = self._weight
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, path, line)
        elif isinstance(event, SequenceStartEvent):
            node = self._list(event, path, line)
        else:
            node = self._mapping(event, path, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._weight - before)
        return node

    def _alias(self, event: Any, path: KeyPath, line: int) -> Node:
        # The name is not shown: it may be a password that begins with *.
        if event.anchor not in self._anchors:
            found = "an alias (*) without its anchor (&) above it; put a text that begins with * in quotes"
            raise self._unreadable(event, path, f"found {found}")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._unreadable(event, path, "found an alias of what it stands in itself")
        node, weight = anchored
        self._weigh(event, weight)
        if len(path) + node.height > MAX_DEPTH:
            raise self._unreadable(event, (), f"found more than {MAX_DEPTH} mappings and lists in each other")
        return replace(node, line=line)

    def _scalar(self, event: Any, path: KeyPath, line: int) -> Node:
        self._weigh(event, NODE_WEIGHT + len(event.value))
        if UNUSABLE.search(event.value):
            self._report(line, path, "found a character that cannot be used (NUL or half of a pair)")
        tag = self._tag(event, path, line, ("str", "int", "float", "bool", "null"))
        plain = event.style is None and not tag
        value = resolve(event.value) if plain or tag in {"int", "float", "bool", "null"} else event.value
        lines = self.line(event.end_mark.index) - self.line(event.start_mark.index) + 1
        return Node(line, value, lines=lines)

    def _list(self, event: Any, path: KeyPath, line: int) -> Node:
        self._weigh(event, NODE_WEIGHT)
        self._tag(event, path, line, ("seq",))
        items: list[Node] = []
        while not isinstance(inner := next(self._events), SequenceEndEvent):
            items.append(self._node(inner, (*path, len(items)), self.line(inner.start_mark.index)))
        return Node(line, items, height=1 + max((item.height for item in items), default=0))

    def _mapping(self, event: Any, path: KeyPath, line: int) -> Node:
        self._weigh(event, NODE_WEIGHT)
        self._tag(event, path, line, ("map",))
        entries: dict[str, Node] = {}
        merged: list[tuple[int, Node]] = []
        while not isinstance(inner := next(self._events), MappingEndEvent):
            at = self.line(inner.start_mark.index)
            key = self._key(inner, path, at)
            value = self._node(next(self._events), (*path, key if key is not None else "?"), at)
            if key == "<<" and getattr(inner, "style", None) is None:
                merged.append((at, value))
            elif key in entries:
                self._report(
                    at, (*path, key), f"found a second time (first on line {entries[key].line}), expected once"
                )
            elif key is not None:
                entries[key] = value
        for at, value in merged:
            self._merge(entries, value, (*path, "<<"), at)
        return Node(line, entries, height=1 + max((value.height for value in entries.values()), default=0))

    def _key(self, event: Any, path: KeyPath, line: int) -> str | None:
        node = self._node(event, path, line)
        if isinstance(node.value, dict | list):
            self._report(line, path, "found a mapping or list as a key, expected a text")
            return None
        value: str = event.value if isinstance(event, ScalarEvent) else str(node.value)
        return value

    def _merge(self, entries: dict[str, Node], value: Node, path: KeyPath, line: int) -> None:
        for source in value.value if isinstance(value.value, list) else [value]:
            if not isinstance(source.value, dict):
                self._report(line, path, "found something else, expected a mapping or a list of mappings")
                return
            for key, child in source.value.items():
                entries.setdefault(key, child)

    def _tag(self, event: Any, path: KeyPath, line: int, known: tuple[str, ...]) -> str:
        """The short name of an explicit tag; empty without one."""
        tag = str(event.ctag) if event.ctag else ""
        name = tag.removeprefix("tag:yaml.org,2002:")
        if tag == "!":
            return known[0]
        if tag and name not in known:
            self._report(line, path, "found a tag (a word that begins with !), expected none; put the text in quotes")
        return name

    def _weigh(self, event: Any, weight: int) -> None:
        self._weight += weight
        if self._weight > MAX_WEIGHT:
            raise self._unreadable(event, (), "found more than fits in memory once its aliases (*) are filled in")

    def _report(self, line: int, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(self.file, line, dotted(path), text))

    def _unreadable(self, event: Any, path: KeyPath, text: str) -> Unreadable:
        return Unreadable(Problem(self.file, self.line(event.start_mark.index), dotted(path), text))


def resolve(text: str) -> Scalar:
    """What a plain scalar means in YAML 1.2: null, true, false, a number, or else the text itself."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        try:
            return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
        except ValueError:  # thousands of digits
            return float(text)
    if FLOAT.fullmatch(text):
        return float(
            text.replace(".inf", "inf")
            .replace(".Inf", "inf")
            .replace(".INF", "inf")
            .replace(".n", "n")
            .replace(".N", "n")
        )
    return text
