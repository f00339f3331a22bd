"""How the demo is shown: drawn in a terminal, as plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sojourn.cli.demo_script import script

if TYPE_CHECKING:
    from sojourn.cli.demo import Seen

_COLUMNS = 25
#: How full a conversation's cell is.
_LEVELS = "·▁▂▃▅▆█"


class Stage(AbstractContextManager["Stage"], ABC):
    """Shows what is seen; inside it the screen is its own."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """A sentence."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def claim(self, text: str, *, holds: bool) -> None:
        """A claim, and whether it held."""
        mark = Text("✓ ", "green") if holds else Text("✗ ", "red")
        self._console.print(mark + Text(text), highlight=False, soft_wrap=True)

    @abstractmethod
    def show(self, seen: Seen) -> None:
        """How it stands; called often."""


class LineStage(Stage):
    """A line a second."""

    _next = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lines stay as they are."""

    def show(self, seen: Seen) -> None:
        if time.monotonic() >= self._next and seen.statistics:
            self._next = time.monotonic() + 1
            self.say(f"answers {len(seen.answers)}/{seen.total}  {counts(seen)}")


class TerminalStage(Stage):
    """A picture of all conversations."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, refresh_per_second=12, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, seen: Seen) -> None:
        grid = Table.grid(padding=(0, 1))
        cells = [_cell(seen, number) for number in range(seen.conversations)]
        for at in range(0, len(cells), _COLUMNS):
            grid.add_row(*cells[at : at + _COLUMNS])
        bar = Table.grid()  # a bar alone would not end its line
        bar.add_row(ProgressBar(total=seen.total, completed=len(seen.answers), width=70))
        state = Text(f"{len(seen.answers)}/{seen.total} answers   {counts(seen)}")
        legend = Text("▅ how much is answered   ", "dim") + Text("◆ being answered", "bold yellow")
        self._live.update(Panel(Group(grid, Text(), bar, state, legend), title="sojourn demo", width=76))


def counts(seen: Seen) -> str:
    """The statistics on one line."""
    found = seen.statistics
    left = sum(found.get("unloaded", {}).values())
    return (
        f"live {found.get('live', 0)}/{seen.max_sessions}  stored {found.get('stored', 0)}  "
        f"left memory {left}  came back {found.get('restored', 0)}"
    )


def _cell(seen: Seen, number: int) -> Text:
    share = seen.done(number) / len(script(number))
    level = _LEVELS[round(share * (len(_LEVELS) - 1))]
    if number in seen.asked:
        return Text("◆", "bold yellow")
    return Text(level, "green" if share == 1 else "cyan")
