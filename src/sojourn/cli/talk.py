"""`sojourn run` and `sojourn chat`: one conversation with the demo agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import platformdirs
from rich.console import Console

from sojourn.bootstrap import Sojourn
from sojourn.errors import SessionNotFound
from sojourn.records import EventKind, Role, TurnStatus

OK, FAILED = 0, 1

PROMPT = "\u203a "


def default_storage() -> str:
    """The database in the user's data directory, or in SOJOURN_HOME; its folder is made."""
    folder = Path(os.environ.get("SOJOURN_HOME") or platformdirs.user_data_dir("sojourn"))
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'sojourn.db'}"


def demo_runtime(storage: str | None) -> Sojourn:
    """The runtime that both commands use."""
    from sojourn.engine.demo import demo_agent

    return Sojourn(demo_agent(), storage=storage or default_storage())


async def say_once(prompt: str, session: str | None, storage: str | None) -> int:
    """Print the answer to standard output, and where it is kept to standard error."""
    chosen = session or str(uuid.uuid4())
    async with demo_runtime(storage) as runtime:
        code = await _show_turn(runtime, chosen, prompt, Console())
    Console(stderr=True).print(
        f"[dim]session {chosen}; go on with: sojourn run --session {chosen} …[/dim]", highlight=False
    )
    return code


async def converse(session: str | None, storage: str | None) -> int:
    """A conversation, line by line; what was said before is shown first."""
    chosen, console = session or str(uuid.uuid4()), Console()
    async with demo_runtime(storage) as runtime:
        console.print(f"[dim]session {chosen} · an empty line ends it, Ctrl-C cancels an answer[/dim]", highlight=False)
        if session is not None:
            with suppress(SessionNotFound):  # a new conversation may be given its id
                await _show_history(runtime, chosen, console)
        while line := (await asyncio.to_thread(_read_line)).strip():
            await _show_turn(runtime, chosen, line, console)
        statistics = await runtime.statistics()
        kept = f"[dim]{statistics.live} live, {statistics.stored} stored · sojourn chat --session {chosen}[/dim]"
        console.print(kept, highlight=False)
    return OK


async def _show_history(runtime: Sojourn, session: str, console: Console) -> None:
    for message in await runtime.history(session, limit=20):
        if message.role is not Role.TOOL and message.text:
            console.print(
                f"{PROMPT if message.role is Role.USER else '  '}{message.text}", markup=False, highlight=False
            )


def _read_line() -> str:
    try:
        return input(PROMPT)
    except EOFError:
        return ""


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
        sys.stdout.flush()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await asyncio.gather(*cancelling, return_exceptions=True)
    return code
