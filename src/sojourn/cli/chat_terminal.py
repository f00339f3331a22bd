"""A conversation in a terminal: answers drawn as Markdown while they are written, a prompt with a status line."""

from __future__ import annotations

import asyncio
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console, RenderableType
from rich.text import Text

from sojourn.cli.chat_blocks import Blocks, blocks, rendered
from sojourn.cli.chat_prompt import PROMPT, Prompt
from sojourn.cli.chat_screen import Screen
from sojourn.cli.chat_tail import Tail
from sojourn.cli.chat_words import Status
from sojourn.cli.notes import visible

#: The tail is drawn at most this often, seconds; less often where drawing takes long.
_REDRAW, _SHARE = 0.05, 4

_WAITING = "… Ctrl-C cancels"


class _Last(Enum):
    """What was printed last, which says whether an empty line comes before what follows."""

    NOTHING = "nothing"
    BLOCK = "block"
    LINE = "line"
    SAID = "said"


class TerminalScreen(Screen):
    """Finished blocks of an answer are printed once; only the one that is being written is drawn again."""

    def __init__(self, commands: Mapping[str, str], console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(file=sys.stdout, soft_wrap=False)
        self._tail = Tail(self._console)
        self._prompt = Prompt(
            commands,
            self._status_line,
            lambda: self.note("Ctrl-D or /exit ends the chat; Ctrl-C again does too"),
        )
        self._blocks = Blocks()
        #: Whether blocks of the text that is being written were printed.
        self._printed = False
        self._calls_shown: Sequence[str] = ()
        self._last = _Last.NOTHING
        self._prompting = False
        self._on_interrupt: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cost = 0.0

    def _status_line(self, width: int) -> str:
        return self.status.line(width)

    # -- reading

    async def read(self) -> str:
        if self._last is not _Last.NOTHING:
            self._print(_Last.NOTHING, Text())
        with self._prompt_is_up():
            text = await self._prompt.read()
        self._last = _Last.SAID
        return visible(text)

    async def ask(self, question: str) -> str:
        session: PromptSession[str] = PromptSession(f"{visible(question)} ")
        text = ""
        with self._prompt_is_up(), suppress(EOFError, KeyboardInterrupt):
            text = await session.prompt_async(handle_sigint=False)
        self._last = _Last.SAID
        return text.strip()

    @contextmanager
    def _prompt_is_up(self) -> Iterator[None]:
        self._prompting = True
        try:
            # whatever else writes, such as a library's warning, comes above the prompt
            with patch_stdout(raw=True):
                yield
        finally:
            self._prompting = False

    def remember(self, said: Sequence[str]) -> None:
        self._prompt.remember(said)

    @contextmanager
    def answering(self, interrupt: Callable[[], None]) -> Iterator[None]:
        self._on_interrupt = interrupt
        with _quiet():
            self._draw()
            try:
                yield
            finally:
                self._on_interrupt = None
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                self._tail.change((), ())

    def interrupt(self) -> None:
        if self._on_interrupt is not None:
            self._on_interrupt()
        else:
            self._prompt.interrupt()

    # -- showing

    def tell_status(self, status: Status) -> None:
        super().tell_status(status)
        self._prompt.refresh()

    def note(self, text: str) -> None:
        self._print(_Last.LINE, Text(visible(text), "dim"))

    def fault(self, text: str) -> None:
        self._print(_Last.LINE, Text("✗ ", "red") + Text(visible(text), "red"))

    def lines(self, lines: Sequence[str]) -> None:
        self._print(_Last.BLOCK, Text("\n").join(Text(visible(line)) for line in lines))

    def said(self, text: str) -> None:
        told = visible(text).replace("\n", "\n" + " " * len(PROMPT))
        self._print(_Last.SAID, Text(PROMPT, "bold") + Text(told))

    def _piece(self, text: str) -> None:
        self._print_blocks(self._blocks.feed(text))
        self._draw_soon()

    def _settle(self) -> None:
        self._print_blocks(self._blocks.end())
        self._printed = False

    def _void(self) -> None:
        self._blocks.end()
        if self._printed:
            self._printed = False
            self.note("↑ what was written of this answer is void")
        else:
            self._draw()

    def _called(self, line: str) -> None:
        self.note(line)

    def _running(self, lines: Sequence[str]) -> None:
        self._calls_shown = [f"⚙ {line}" for line in lines]
        self._draw()

    # -- drawing

    def _print_blocks(self, whole: Sequence[str]) -> None:
        for block in whole:
            self._printed = True
            self._print(_Last.BLOCK, rendered(block))

    def _print(self, kind: _Last, shown: RenderableType) -> None:
        """For good, above the prompt or the tail."""
        above = [Text(), shown] if self._needs_space(kind) else [shown]
        self._last = kind
        if self._prompting:
            self._print_above_prompt(above)
        else:
            self._tail.change(above, self._below())

    def _print_above_prompt(self, above: Sequence[RenderableType]) -> None:
        # not `run_in_terminal`: in its moment of cooked mode a Ctrl-D that is typed would be lost
        app = get_app_or_none()
        if app is None or not app.is_running:
            self._tail.change(above, ())
            return
        app.renderer.erase()
        self._tail.change(above, ())
        app.renderer.request_absolute_cursor_position()
        app.invalidate()

    def _needs_space(self, kind: _Last) -> bool:
        lines = kind is _Last.LINE and self._last is _Last.LINE
        return not lines and _Last.NOTHING not in {kind, self._last}

    def _below(self) -> list[RenderableType]:
        """What may still change."""
        if self._on_interrupt is None:
            return []
        shown: list[RenderableType] = []
        for block in blocks(self._blocks.rest):
            shown += [Text(), rendered(block)]
        lines = list(self._calls_shown) if shown or self._calls_shown else [_WAITING]
        if lines and (shown or self._needs_space(_Last.LINE)):
            shown.append(Text())
        return [*shown, *(Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines)]

    def _draw(self) -> None:
        self._timer = None
        if self._on_interrupt is not None:
            began = time.monotonic()
            self._tail.change((), self._below())
            self._cost = time.monotonic() - began

    def _draw_soon(self) -> None:
        if self._timer is None and self._on_interrupt is not None:
            self._timer = asyncio.get_running_loop().call_later(max(_REDRAW, self._cost * _SHARE), self._draw)


@contextmanager
def _quiet() -> Iterator[None]:
    """What is typed meanwhile is not shown between the answer's lines, and stands in the next prompt."""
    try:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (OSError, ValueError, termios.error):
        yield
        return
    quiet = termios.tcgetattr(number)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(number, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(OSError, termios.error):  # the terminal is gone
            termios.tcsetattr(number, termios.TCSANOW, before)
