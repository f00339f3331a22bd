"""How a command ends: its exit code, and one sentence on standard error where something went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

import typer

from sojourn.errors import ConfigInvalid, InvalidInput, SojournError

#: The command did what it says / something went wrong / the command line or a value in it is wrong.
OK, FAILED, USAGE = 0, 1, 2
#: The turn stopped, and goes on when people have decided whether its tools may run.
WAITS = 3
#: Ended by Ctrl-C, as shells count it.
INTERRUPTED = 130


class Refusal(Exception):
    """A command cannot do what it was asked to; the message is the sentence that people see."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        self.code = code
        super().__init__(sentence)


def finish(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit code; an error is one sentence on standard error, never a traceback."""
    import asyncio
    import signal

    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        guarded(lambda: asyncio.run(work))
    finally:
        signal.signal(signal.SIGTERM, before)


def guarded(work: Callable[[], int]) -> NoReturn:
    """The same for a command that needs no event loop."""
    try:
        code = work()
        sys.stdout.flush()  # whoever reads it may have left: better found out here than by the interpreter
    except BrokenPipeError:
        _leave_pipe()
        code = FAILED
    except (SojournError, Refusal, OSError) as error:
        code = explain(error)
    except KeyboardInterrupt:
        typer.echo(err=True)  # behind the ^C that a terminal shows
        code = INTERRUPTED
    raise typer.Exit(code)


def explain(error: Exception) -> int:
    """Say on standard error what went wrong, and give the exit code for it."""
    problems = error.problems if isinstance(error, ConfigInvalid) else [_sentence(error)]
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if isinstance(error, Refusal):
        return error.code
    return USAGE if isinstance(error, InvalidInput) else FAILED


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def _leave_pipe() -> None:
    """Nothing can be said to a reader who has left; the interpreter flushes once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(number: int, _frame: object) -> NoReturn:
    """End as with Ctrl-C: whatever is open is closed on the way."""
    sys.exit(128 + number)
