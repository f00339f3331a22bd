"""Markdown as it is written: whatever the pieces, the same blocks are shown for good, each once."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sojourn.cli.chat_blocks import Blocks, blocks, rendered
from sojourn.cli.chat_tail import lines

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


@given(st.lists(st.text(alphabet="a \n漢", max_size=60), max_size=4))
def test_lines_fit_the_terminal_and_none_is_empty_at_the_end(texts: list[str]) -> None:
    console = Console(file=io.StringIO(), width=20, force_terminal=True, color_system=None, legacy_windows=False)
    for line in lines(console, [Text(text) for text in texts]):
        assert cell_len(line) <= 20
        assert line == line.rstrip(" ")
