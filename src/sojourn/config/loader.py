"""From an agent.yml to a `Configuration`, or to everything that is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sojourn.config.configuration import Configuration, KeyPath, Problem
from sojourn.config.expansion import expand
from sojourn.config.identity import name_of
from sojourn.config.node import Node
from sojourn.config.notices import notice
from sojourn.config.rules import check
from sojourn.config.schema import AgentConfig
from sojourn.config.validation import validate
from sojourn.config.wording import dotted, shown
from sojourn.errors import ConfigInvalid

#: The largest file that is read, bytes: far more than an agent needs, and read within seconds.
MAX_SIZE = 256 * 1024
#: How many problems are told.
MAX_PROBLEMS = 100


def load(path: Path | str, *, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read an agent.yml.

    Raises `ConfigInvalid` with all that is wrong, each with its line, also where the file cannot be read.
    """
    file = str(path)
    try:
        text = _read(file)
    except _Unusable as unusable:
        problem = Problem(file, unusable.line, "", unusable.text)
    else:
        return loads(text, path, environ=environ)
    raise ConfigInvalid([problem])


def loads(text: str, path: Path | str, *, environ: Mapping[str, str] = os.environ) -> Configuration:
    """The same of a text that was read; `path` says where from."""
    reading = _Reading(str(path))
    configuration = reading.configuration(text, environ)
    if configuration is None:
        raise ConfigInvalid(reading.told())
    return configuration


class _Unusable(Exception):
    """The file cannot be read at all."""

    def __init__(self, text: str, line: int = 0) -> None:
        self.text, self.line = text, line


def _read(file: str) -> str:
    try:
        # Not blocking, for a pipe that nobody writes to.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _Unusable("found a folder or a device, expected a file")
            with open(descriptor, "rb", closefd=False) as stream:
                content = stream.read(MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise _Unusable("there is no such file; correct the path") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no file can have this path"
        raise _Unusable(f"cannot be read: {why}; correct the path, or the file's permissions") from None
    if len(content) > MAX_SIZE:
        raise _Unusable(f"found more than {MAX_SIZE:,} bytes, expected an agent.yml")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise _Unusable("found bytes that are not UTF-8; save the file as UTF-8", line)


@dataclass(slots=True)
class _Reading:
    """One file being read, and what was found on the way."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    #: By the place.
    warnings: dict[KeyPath, Problem] = field(default_factory=dict)

    def problem(self, line: int, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(self.file, line, dotted(path), text))

    def warning(self, line: int, path: KeyPath, text: str) -> None:
        # One for each place: a key whose variable is not set need not be called empty too.
        self.warnings.setdefault(path, Problem(self.file, line, dotted(path), text))

    def told(self) -> list[Problem]:
        """The problems as a person goes through them: one for each place, by line, not too many."""
        first: dict[tuple[int, str], Problem] = {}
        for problem in self.problems:
            first.setdefault((problem.line, problem.key), problem)
        found = sorted(first.values(), key=lambda problem: problem.line)
        if len(found) > MAX_PROBLEMS:
            return [*found[:MAX_PROBLEMS], Problem(self.file, 0, "", "and more problems; correct these first")]
        return found

    def configuration(self, text: str, environ: Mapping[str, str]) -> Configuration | None:
        """The configuration; None after problems."""
        root = self._tree(text)
        if root is None:
            return None
        path = os.path.abspath(self.file)  # noqa: PTH100 - a link must not lead away from its folder
        root = expand(root, path, environ, self.problem, self.warning)
        agent = validate(root, self.problem)
        check(root, self.problem, self.warning)
        notice(root, self.warning)
        if agent is None or self.problems:
            return None
        return self._made(root, agent, path)

    def _tree(self, text: str) -> Node | None:
        """The file's tree; None where there is none to go on with."""
        from sojourn.config.document import parse  # noqa: PLC0415 - the YAML library is slow to import

        root, problems = parse(text, self.file)
        self.problems += problems
        if problems and root is None:
            return None
        if root is None or root.value is None:
            self.problem(0, (), "found nothing in it, expected at least the sections llm and systemPrompt")
            return None
        if not isinstance(root.value, dict):
            found = shown(root.value, (), lines=root.lines)
            self.problem(root.line, (), f"found {found}, expected a mapping with the sections of an agent")
            return None
        return root

    def _made(self, root: Node, agent: AgentConfig, path: str) -> Configuration:
        return Configuration(
            path=Path(path),
            agent=agent,
            warnings=tuple(sorted(self.warnings.values(), key=lambda warning: warning.line)),
            name=name_of(agent, path),
            sections=tuple(str(place[-1]) for place, _ in root.entries()),
            from_environment=frozenset(_from_environment(root, ())),
        )


def _from_environment(node: Node, path: KeyPath) -> list[KeyPath]:
    if not isinstance(node.value, dict | list):
        return [path] if node.variables else []
    return [place for inner, child in node.entries() for place in _from_environment(child, (*path, *inner))]
