"""What a search shows of a text: the words as they were said, what stands around them, never too much."""

from __future__ import annotations

import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sojourn.stores.common import plain_of, words
from sojourn.stores.excerpts import _GAP, AROUND, LOOKED_THROUGH, MAX_MATCHED, MAX_READ, MAX_SHOWN, excerpt

#: Letters with and without accents, of several at once, that part words, that are none.
LETTERS = st.sampled_from([*"abÄß½㎒日ि😀", "\u0301", "\u200d", "\0", "_", "-", "\n", " ", " ", "\uff0c", "…"])
TEXTS = st.text(LETTERS, max_size=300) | st.lists(st.sampled_from(["so", "the", "walrus"]), max_size=900).map(" ".join)


@given(text=TEXTS, data=st.data())
@example(text="½㎒", data=None)
def test_a_word_of_a_text_is_found_where_it_first_stands(text: str, data: st.DataObject | None) -> None:
    said = words(text)
    assume(said)
    wanted = said[-1] if data is None else data.draw(st.sampled_from(said))
    beginning = wanted[: 1 if data is None else data.draw(st.integers(1, len(wanted)))]
    shown = excerpt(text, [beginning])
    start = text.index(shown.matched)
    assert any(word.startswith(beginning) for word in words(shown.matched))
    assert not any(word.startswith(beginning) for word in words(text[:start]))
    assert shown.matched.strip() == shown.matched
    assert shown.matched in shown.context


@given(text=TEXTS, wanted=st.lists(st.sampled_from(["a", "b", "so", "walrus", "z"]), min_size=1, max_size=3))
def test_what_is_shown_is_of_the_text_and_not_too_much(text: str, wanted: list[str]) -> None:
    shown = excerpt(text, wanted)
    assert len(shown.matched) <= MAX_MATCHED
    assert len(shown.context) <= MAX_MATCHED + 2 * AROUND + 2
    assert len(shown.text) <= MAX_SHOWN + 2
    for piece in (shown.context, shown.text):
        assert (
            piece in text or piece.removeprefix("…") in text or piece.removesuffix("…") in text or piece[1:-1] in text
        )
    assert shown.text == text or len(text) > MAX_SHOWN


@pytest.mark.parametrize("filling", ["so ", "so, ", "é", "日", "。", "\n"])
@pytest.mark.parametrize("behind", [0, 5, 990, 1_000, 1_010, 5_000, LOOKED_THROUGH - 20])
def test_the_words_are_found_however_far_down_and_whatever_is_before_them(filling: str, behind: int) -> None:
    before = (filling * behind)[:behind]
    text = f"{before} the walrus" + filling * 2_000
    shown = excerpt(text, ["walrus"])
    assert shown == excerpt(text[:MAX_READ], ["walrus"])
    assert shown.matched.startswith("walrus")
    assert f"{before[-40:]} the walrus" in shown.context
    assert f"{before[-850:]} the walrus" in shown.text


def test_a_piece_ends_in_no_word() -> None:
    ends = [chr(code) for code in range(sys.maxunicode + 1) if _GAP.fullmatch(chr(code))]
    assert len(ends) > 30
    assert [end for end in ends if plain_of(end).strip()] == []
