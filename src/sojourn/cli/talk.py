"""`sojourn run` and `sojourn chat`: one conversation with the demo agent."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import platformdirs
from rich.console import Console

from sojourn.bootstrap import Sojourn
from sojourn.errors import InvalidInput, SessionNotFound
from sojourn.records import EventKind, Role, TurnStatus

OK, FAILED = 0, 1

PROMPT = "\u203a "


def default_storage() -> str:
    """The database in the user's data directory, or in SOJOURN_HOME; its folder is made."""
    folder = Path(os.environ.get("SOJOURN_HOME") or platformdirs.user_data_dir("sojourn"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput("SOJOURN_HOME", str(folder), f"a folder that can be made ({error.strerror})") from error
    return f"sqlite:///{folder / 'sojourn.db'}"


def demo_runtime(storage: str | None) -> Sojourn:
    """The runtime that both commands use."""
    from sojourn.engine.demo import demo_agent

    return Sojourn(demo_agent(), storage=default_storage() if storage is None else storage)


def _again(command: str, session: str, storage: str | None) -> str:
    kept = "" if storage is None else f" --storage {shlex.quote(storage)}"
    return f"sojourn {command}{kept} --session {session}"


def _tell(console: Console, text: str) -> None:
    """A line about the conversation, not of it."""
    console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


async def converse(session: str | None, storage: str | None) -> int:
    """A conversation, line by line; what was said before is shown first."""
    chosen, console = session or str(uuid.uuid4()), Console()
    async with demo_runtime(storage) as runtime:
        _tell(console, f"session {chosen} · an empty line or Ctrl-C ends it; Ctrl-C in an answer cancels that")
        if session is not None:
            with suppress(SessionNotFound):  # a new conversation may be given its id
                await _show_history(runtime, chosen, console)
        while line := (await _read_line()).strip():
            await _show_turn(runtime, chosen, line, console)
        statistics = await runtime.statistics()
        _tell(console, f"{statistics.live} live, {statistics.stored} stored · {_again('chat', chosen, storage)}")
    return OK


async def _show_history(runtime: Sojourn, session: str, console: Console) -> None:
    for message in await runtime.history(session, limit=20):
        if message.role is not Role.TOOL and message.text:
            console.print(
                f"{PROMPT if message.role is Role.USER else '  '}{message.text}", markup=False, highlight=False
            )


async def _read_line() -> str:
    """What is typed; nothing at Ctrl-C or the end of the input."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def give(text: str) -> None:
        if not line.done():
            line.set_result(text)

    def read() -> None:
        text = ""
        with suppress(EOFError):
            text = input(PROMPT)
        with suppress(RuntimeError):  # the loop is closed: it was ended by Ctrl-C
            loop.call_soon_threadsafe(give, text)

    loop.add_signal_handler(signal.SIGINT, give, "\n")
    # a daemon: a line that nobody will type must not keep the program
    threading.Thread(target=read, name="sojourn-prompt", daemon=True).start()
    try:
        typed = await line
        if typed == "\n":
            print()  # noqa: T201 - behind the ^C that the terminal shows
        return typed
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _show_turn(runtime: Sojourn, session: str, prompt: str, console: Console) -> int:
    """Stream one answer; Ctrl-C cancels the turn and not the program."""
    loop = asyncio.get_running_loop()
    cancelling: set[asyncio.Task[bool]] = set()
    loop.add_signal_handler(signal.SIGINT, lambda: cancelling.add(asyncio.create_task(runtime.cancel(session))))
    shown, code = "", FAILED
    try:
        async for event in runtime.stream(session, prompt):
            if event.kind is EventKind.TEXT:
                console.print(event.text, end="", markup=False, highlight=False, soft_wrap=True)
                shown += event.text
            elif event.kind is EventKind.MESSAGE and event.message is not None:
                for call in event.message.tool_calls:
                    console.print(f"[dim]⚙ {call.name}({call.arguments})[/dim]", highlight=False)
                shown = ""
            elif event.kind is EventKind.TURN_ENDED:
                code = OK if event.status is TurnStatus.COMPLETED else FAILED
                console.print("" if code == OK else f"\n[yellow]{event.status}: {event.text}[/yellow]")
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await asyncio.gather(*cancelling, return_exceptions=True)
    return code
