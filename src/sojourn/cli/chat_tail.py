"""What is drawn, as lines of text: some printed once and for good, some drawn anew above the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType

_STYLE = re.compile(r"\x1b\[[0-9;]*m")

#: Begins a line's background, as that of code; an empty line that has one is no empty line.
_BACKGROUND = "48;"


def lines(console: Console, renderables: Iterable[RenderableType]) -> Sequence[str]:
    """How they are drawn in the console, without empty lines around each."""
    return [line for renderable in renderables for line in _lines_of(console, renderable)]


def _lines_of(console: Console, renderable: RenderableType) -> Sequence[str]:
    with console.capture() as capture:
        console.print(renderable, highlight=False)
    # what rich fills up to the width would break into lines of its own in a narrower window
    found = [line.rstrip(" ") for line in capture.get().split("\n")]
    full = [number for number, line in enumerate(found) if _BACKGROUND in line or _STYLE.sub("", line).strip()]
    return found[full[0] : full[-1] + 1] if full else [""]
