"""Markdown as it is written: which of its blocks are whole, so that they can be shown for good."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from rich.markdown import Markdown

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")


class Blocks:
    """Takes a text in pieces and gives its top-level blocks, each once no later line can change where it ends."""

    def __init__(self) -> None:
        #: The whole lines of the last block, which may still grow.
        self._open = ""
        #: The line that has no end yet.
        self._line = ""
        #: What closes the code that the open block is; such a block needs no parsing.
        self._closing: re.Pattern[str] | None = None

    @property
    def rest(self) -> str:
        """What was given and is in no whole block yet."""
        return self._open + self._line

    def feed(self, piece: str) -> list[str]:
        """The blocks that this piece completes."""
        if "\n" not in piece:
            self._line += piece
            return []
        *lines, self._line = (self._line + piece).split("\n")
        return [block for line in lines for block in self._take(line)]

    def end(self) -> list[str]:
        """The blocks that are left; the next piece begins a new text."""
        left = blocks(self.rest)
        self._open, self._line, self._closing = "", "", None
        return left

    def _take(self, line: str) -> list[str]:
        self._open += line + "\n"
        if self._closing is not None:
            if not self._closing.fullmatch(line):
                return []
            self._closing = None
        found = blocks(self._open)
        if not found:
            self._open = ""  # blank lines
            return []
        if len(found) > 1:
            self._open = self._open[-_length_of_last(self._open) :]
        self._closing = _closing_of(self._open)
        return found[:-1]


def blocks(text: str) -> list[str]:
    """The top-level blocks of a whole text, without the blank lines between them."""
    starts, lines = _starts(text), text.split("\n")
    ends = [*starts[1:], len(lines)]
    return ["\n".join(lines[start:end]).rstrip("\n") for start, end in zip(starts, ends, strict=False)]


def rendered(block: str) -> Markdown:
    """A block as it is drawn. Line ends are kept, and whatever is no Markdown is shown as it was written."""
    shown = Markdown("", hyperlinks=False)
    shown.parsed = parsed = _parser().parse(block)
    for token in parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return shown


def _starts(text: str) -> list[int]:
    """The lines on which the top-level blocks begin."""
    tokens = _splitter().parse(text)
    return [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]


def _length_of_last(text: str) -> int:
    return len("\n".join(text.split("\n")[_starts(text)[-1] :]))


def _closing_of(block: str) -> re.Pattern[str] | None:
    """What closes a block of fenced code that is still open."""
    first, _, rest = block.partition("\n")
    fence = _FENCE.match(first)
    if fence is None:
        return None
    closing = re.compile(rf" {{0,3}}{re.escape(fence[1][0])}{{{len(fence[1])},}}[ \t]*")
    return None if any(closing.fullmatch(line) for line in rest.split("\n")) else closing


@cache
def _parser() -> MarkdownIt:
    # HTML and link definitions would be dropped from what is shown
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return parser.disable(["html_block", "html_inline", "reference"])


@cache
def _splitter() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table").disable(["html_block", "reference"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
