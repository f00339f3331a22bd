"""How a process of a replay is killed at a moment that is known, and how that is told."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any


def kill(pid: int, log: Path, kind: str, **what: Any) -> None:
    """SIGKILL, written down first, because a process that ends itself cannot tell of it afterwards."""
    note(log, kind=kind, **what)
    os.kill(pid, signal.SIGKILL)


def note(log: Path, **what: Any) -> None:
    """Append a line of JSON in one write, so that it is whole whoever else writes."""
    line = (json.dumps(what) + "\n").encode()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def noted(log: Path) -> list[Any]:
    """The lines that are there."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
