"""SQL kept as text: one file a backend, each statement under a line `-- name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources


def statements(package: str, file: str = "statements.sql") -> Mapping[str, str]:
    """The statements of a package's file by name, without comments and superfluous white space."""
    text = (resources.files(package) / file).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, body = block.partition("\n")
        lines = (line.split("--", 1)[0] for line in body.splitlines())
        found[name.strip()] = " ".join(" ".join(lines).split()).rstrip(";")
    return found
