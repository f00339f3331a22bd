"""What the tests of the command share: the command in this process, in another, and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from sojourn.cli.app import app

COMMAND = [sys.executable, "-c", "from sojourn.cli.app import main; main()"]
#: The same, to which Ctrl-C that is typed comes as a signal.
IN_TERMINAL = [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {COMMAND[2]}"]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "SOJOURN_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", "TERM": "xterm", **more}


def sojourn(home: Path, *arguments: str, said: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, without a terminal."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(home, **more), input=said, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def invoke(*arguments: object, said: str = "") -> Result:
    """The command in this process: quick, without a terminal, SOJOURN_HOME as it is set."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=said, prog_name="sojourn")


def printed(*arguments: object, said: str = "") -> Any:
    """What a command that goes well prints as JSON."""
    done = invoke(*arguments, said=said)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], handle: int) -> None:
        self.process, self._handle, self.raw = process, handle, ""

    @property
    def seen(self) -> str:
        """What was shown, without its colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)

    def wait_for(self, text: str) -> str:
        """All that was shown when this is."""
        limit = time.monotonic() + 30
        while text not in self.seen:
            if not self._read(limit):
                raise AssertionError(f"{text!r} never came; there is {self.seen!r}")
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def end(self, *, pressing: str = "") -> int:
        """The exit code, when everything was shown; what is `pressing` is typed again each second until then.

        A Ctrl-C that comes in the instant before CPython waits for a line is seen with the next key only.
        """
        limit = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < limit:
            if self._read(min(limit, time.monotonic() + 1) if pressing else limit):
                continue
            if not pressing:
                break
            self.type(pressing)
        while self._read(time.monotonic() + 0.2):
            pass
        return self.process.wait(30)

    def _read(self, limit: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], max(0.0, limit - time.monotonic()))
        try:
            found = os.read(self._handle, 65536) if ready else b""
        except OSError:  # nobody holds the other end any more
            found = b""
        self.raw += found.decode().replace("\r\n", "\n")
        return bool(found)


@contextmanager
def terminal(
    home: Path, *arguments: str, columns: int = 80, more: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """The command in a terminal of that width."""
    ours, theirs = pty.openpty()
    known = environment(home, COLUMNS=str(columns), LINES="40", **(more or {}))
    process = subprocess.Popen(
        [*IN_TERMINAL, *arguments], env=known, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def ids(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [session["id"] for session in sessions]
