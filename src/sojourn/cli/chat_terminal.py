"""A conversation in a terminal: answers drawn as Markdown while they are written, a prompt with a status line."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

from rich.console import Console, RenderableType
from rich.text import Text

from sojourn.cli.chat_blocks import Blocks, blocks, rendered
from sojourn.cli.chat_prompt import PROMPT, Prompt
from sojourn.cli.chat_questions import HINT, Question, pending_line
from sojourn.cli.chat_screen import Screen
from sojourn.cli.chat_tail import lines
from sojourn.cli.chat_words import Status
from sojourn.cli.notes import visible
from sojourn.records import QueuedInput

#: The tail is drawn at most this often, seconds; less often where drawing takes long.
_REDRAW, _SHARE = 0.05, 4

_WAITING = "… Enter says more into it, Ctrl-C cancels"


class _Last(Enum):
    """What was printed last, which says whether an empty line comes before what follows."""

    NOTHING = "nothing"
    BLOCK = "block"
    LINE = "line"
    SAID = "said"


class TerminalScreen(Screen):
    """Finished blocks of an answer are printed once; only the one that is being written is drawn again."""

    steers = True

    def __init__(self, commands: Mapping[str, str], console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(file=sys.stdout, soft_wrap=False)
        self._prompt = Prompt(commands, self)
        self._blocks = Blocks()
        #: Whether blocks of the text that is being written were printed.
        self._printed = False
        self._calls_shown: Sequence[str] = ()
        #: What was said and is not told yet, and the question that is put, if any.
        self._waiting: Sequence[str] = ()
        self._question: Sequence[str] = ()
        self._last = _Last.NOTHING
        self._on_interrupt: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cost = 0.0
        #: What stands above the prompt, and the width for which it was drawn; None where it is to be drawn again.
        self._drawn: tuple[int, Sequence[str]] | None = None

    # -- what the prompt asks for

    @property
    def answering_now(self) -> bool:
        return self._on_interrupt is not None

    def above(self) -> Sequence[str]:
        width = self._console.width
        if self._drawn is None or self._drawn[0] != width:
            began = time.monotonic()
            self._drawn = (width, lines(self._console, self._below()))
            self._cost = time.monotonic() - began
        return self._drawn[1]

    def status_line(self, width: int) -> str:
        return self.status.line(width)

    def entered(self, text: str) -> None:
        if self._on_interrupt is None and not self._question:
            self.said(visible(text))

    def interrupted(self) -> bool:
        if self._on_interrupt is None:
            return False
        self._on_interrupt()
        return True

    def warn(self) -> None:
        self.note("Ctrl-D or /exit ends the chat; Ctrl-C again does too")

    # -- reading

    async def read(self) -> str:
        return visible(await self._prompt.read())

    async def ask(self, question: str) -> str:
        self._put([visible(question)])
        answer = visible(await self._prompt.ask() or "").strip()
        self._put([])
        self.note(f"{question} {answer}")
        return answer

    async def edit(self, text: str) -> str | None:
        self._put(["the arguments as JSON: Alt-Enter runs it with them, Ctrl-C leaves them as they were"])
        changed = await self._prompt.ask(text=text, edits=True)
        self._put([])
        return changed

    async def close(self) -> None:
        self._stop_drawing()
        await self._prompt.close()

    def remember(self, said: Sequence[str]) -> None:
        self._prompt.remember(said)

    @contextmanager
    def answering(self, interrupt: Callable[[], None]) -> Iterator[None]:
        self._on_interrupt = interrupt
        self._draw()
        try:
            yield
        finally:
            self._on_interrupt = None
            self._draw()

    def interrupt(self) -> None:
        self._prompt.interrupt()

    # -- showing

    def tell_status(self, status: Status) -> None:
        super().tell_status(status)
        self._prompt.refresh()

    def question(self, question: Question) -> None:
        self._put([*question.card(), HINT])

    def no_question(self) -> None:
        self._put([])

    def pending(self, inbox: Sequence[QueuedInput]) -> None:
        self._waiting = [pending_line(item) for item in inbox]
        self._draw()

    def _put(self, asked: Sequence[str]) -> None:
        self._question = asked
        self._draw()

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
        """For good, above the prompt."""
        above = [Text(), shown] if self._needs_space(kind) else [shown]
        self._last, self._drawn = kind, None
        text = "".join(f"{line}\n" for line in lines(self._console, above))
        if self._prompt.running:
            self._prompt.above(lambda: self._write(text))
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _needs_space(self, kind: _Last) -> bool:
        lines = kind is _Last.LINE and self._last is _Last.LINE
        return not lines and _Last.NOTHING not in {kind, self._last}

    def _below(self) -> list[RenderableType]:
        """What may still change, with an empty line between it and what is around it."""
        shown: list[RenderableType] = []
        for block in blocks(self._blocks.rest):
            shown += [Text(), rendered(block)]
        if self._on_interrupt is not None:
            running = list(self._calls_shown) if shown or self._calls_shown else [_WAITING]
            shown += self._faint(running, space=bool(shown) or self._needs_space(_Last.LINE))
        shown += self._faint(
            [f"⋯ {line}" for line in self._waiting], space=bool(shown) or self._needs_space(_Last.LINE)
        )
        if self._question:
            first, *others = self._question
            shown += [Text(), Text(first, "bold"), *(Text(line, "dim") for line in others)]
        return [*shown, Text()] if shown or self._last is not _Last.NOTHING else []

    def _faint(self, told: Sequence[str], *, space: bool) -> list[RenderableType]:
        found: list[RenderableType] = [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in told]
        return [Text(), *found] if found and space else found

    def _draw(self) -> None:
        self._stop_drawing()
        self._drawn = None
        self._prompt.refresh()

    def _draw_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(_REDRAW, self._cost * _SHARE), self._draw)

    def _stop_drawing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
