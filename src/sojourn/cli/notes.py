"""What a command says beside its result: dimmed, on standard error. And what of a text may be shown."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Control characters, halves of characters, and what turns the direction of writing: a terminal would obey them.
_OBEYED = frozenset({"Cc", "Cs"})
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@cache
def errors() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def tell(text: str) -> None:
    """A line about what is done, not of it."""
    errors().print(visible(text), style="dim", markup=False)


def visible(text: str) -> str:
    """The text without what a terminal would obey instead of showing; lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or not (c in _TURNS or unicodedata.category(c) in _OBEYED))


def on_one_line(text: str) -> str:
    """The same with every space a plain one."""
    return " ".join(visible(text).split())
