"""The end of what a terminal shows: everything above is printed once and for good, only the tail is drawn anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType

_STYLE = re.compile(r"\x1b\[[0-9;]*m")

#: Begins a line's background, as that of code; an empty line that has one is no empty line.
_BACKGROUND = "48;"

#: A tail keeps this many rows free: its beginning would be lost above the screen's top, and with it the way back.
_FREE = 1


class Tail:
    """Draws below the last line that stays; the cursor waits at the tail's end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        #: How wide the drawn lines are, in cells.
        self._widths: list[int] = []

    def change(self, above: Iterable[RenderableType], below: Iterable[RenderableType]) -> None:
        """Print what is `above` for good, and `below` under it instead of what was there; in one write."""
        stays = "".join(f"{line}\n" for line in self._lines(above))
        lines = self._lines(below)[-max(1, self._console.height - _FREE) :]
        erased = self._erased()
        self._widths = [cell_len(_STYLE.sub("", line)) for line in lines]
        written = erased + stays + "\n".join(lines)
        if written:
            self._console.file.write(written)
            self._console.file.flush()

    def _erased(self) -> str:
        if not self._widths:
            return ""
        # a terminal that became narrower has broken the lines
        width = max(1, self._console.width)
        rows = sum(max(1, -(-wide // width)) for wide in self._widths)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"

    def _lines(self, renderables: Iterable[RenderableType]) -> Sequence[str]:
        return [line for renderable in renderables for line in self._lines_of(renderable)]

    def _lines_of(self, renderable: RenderableType) -> Sequence[str]:
        with self._console.capture() as capture:
            self._console.print(renderable, highlight=False)
        # what rich fills up to the width would break into lines of its own in a narrower window
        lines = [line.rstrip(" ") for line in capture.get().split("\n")]
        full = [number for number, line in enumerate(lines) if _BACKGROUND in line or _STYLE.sub("", line).strip()]
        return lines[full[0] : full[-1] + 1] if full else [""]
