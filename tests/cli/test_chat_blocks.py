"""Markdown as it is written: whatever the pieces, the same blocks are shown for good, each once."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sojourn.cli.chat_blocks import Blocks, blocks, rendered
from sojourn.cli.chat_tail import Tail

LINES = st.sampled_from(
    [
        "", "text", "more *text*", "# head", "---", "===", "- a", "  - b", "1. x", "2. y", "    code", "```", "```py",
        "````", "~~~", "> q", "| a | b |", "|---|---|", "| 1 | 2 |", "[foo]: /url", '"t', "<div>", "</div>", "* * *",
        "\ttab", "#", "-", "  lazy", "\\", "漢字 🎉", "a|b", "-|-",
    ]
)  # fmt: skip
TEXTS = st.lists(LINES, max_size=14).map("\n".join)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


@given(TEXTS, st.lists(st.integers(0, 120), max_size=6))
def test_the_blocks_are_those_of_the_whole_text_whatever_the_pieces(text: str, cuts: list[int]) -> None:
    splitter, found = Blocks(), list[str]()
    for piece in pieces(text, cuts):
        found += splitter.feed(piece)
    assert found + splitter.end() == blocks(text)
    assert splitter.rest == ""


@given(TEXTS)
def test_no_line_is_lost_between_blocks(text: str) -> None:
    kept = [line for block in blocks(text) for line in block.split("\n") if line.strip()]
    assert kept == [line for line in text.split("\n") if line.strip()]


def test_a_block_is_whole_when_the_next_one_has_begun_and_not_before() -> None:
    splitter = Blocks()
    assert splitter.feed("one\n") == []
    assert splitter.feed("\n") == []
    assert splitter.feed("two") == []
    assert splitter.feed("\n") == ["one"]
    assert splitter.rest == "two\n"


def test_code_stays_one_block_until_its_fence_closes() -> None:
    splitter = Blocks()
    assert splitter.feed("````\n# no heading\n\n```\n- no list\n") == []
    assert splitter.feed("````\nafter\n") == ["````\n# no heading\n\n```\n- no list\n````"]


def drawn(text: str, width: int = 30) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(rendered(text))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n")


def test_what_is_no_markdown_is_shown_as_it_was_written() -> None:
    assert drawn("a List<int> and <b>bold</b>") == "a List<int> and <b>bold</b>"
    assert drawn("[1]: http://x.y") == "[1]: http://x.y"


def test_line_ends_and_addresses_of_links_are_kept() -> None:
    assert drawn("one\ntwo [here](http://x.y)") == "one\ntwo here (http://x.y)"


def test_wide_characters_and_long_words_are_broken_at_the_width() -> None:
    assert drawn("漢字" * 6, width=20).splitlines() == ["漢字漢字漢字漢字漢字", "漢字"]
    assert drawn("w" * 45, width=20).splitlines() == ["w" * 20, "w" * 20, "w" * 5]


class Screen:
    """What a terminal that knows only what a tail writes would show."""

    def __init__(self, width: int, height: int) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
        )
        self.tail = Tail(self.console)

    def lines(self) -> list[str]:
        lines, row, text = [""], 0, self.file.getvalue()
        while text:
            if text[0] == "\r":
                text = text[1:]
            elif text[0] == "\n":
                row, text = row + 1, text[1:]
                lines += [""] * (row + 1 - len(lines))
            elif text.startswith("\x1b["):
                number, kind = "", text[2]
                text = text[2:]
                while text[0].isdigit():
                    number, text = number + text[0], text[1:]
                kind, text = text[0], text[1:]
                if kind == "A":
                    row -= int(number)
                else:
                    assert kind == "J"
                    lines = [*lines[:row], ""]
            else:
                lines[row] += text[0]
                text = text[1:]
        return lines


def test_what_stays_is_printed_once_and_the_tail_is_replaced() -> None:
    screen = Screen(width=20, height=10)
    screen.tail.change([], ["one", "two"])
    screen.tail.change(["kept"], ["three"])
    screen.tail.change(["kept too"], [])
    assert screen.lines() == ["kept", "kept too", ""]


def test_a_tail_is_never_taller_than_the_terminal() -> None:
    screen = Screen(width=20, height=5)
    screen.tail.change([], [str(number) for number in range(40)])
    assert screen.lines() == ["36", "37", "38", "39"]


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(["a", "b" * 30, "漢" * 12]), max_size=6)), max_size=8)
)
def test_whatever_is_drawn_below_only_what_stays_is_left(changes: list[tuple[bool, list[str]]]) -> None:
    screen = Screen(width=20, height=5)
    kept: list[str] = []
    for stays, shown in changes:
        screen.tail.change(shown if stays else [], [] if stays else shown)
        kept += shown if stays else []
    screen.tail.change([], [])
    assert "".join(screen.lines()) == "".join(kept)
