"""Titles: what can be one, and one from what was said first. Pure."""

from __future__ import annotations

import unicodedata

#: The longest title, characters.
MAX_TITLE = 200

#: One that is made of a message is cut behind this many words and characters.
MAX_WORDS = 10
MAX_CHARACTERS = 70

#: No more of a message is looked at.
_LOOK = 1000


#: Control characters, halves of characters, ends of lines; what joins an emoji or keeps words together is fine.
_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def can_be_title(text: str) -> bool:
    """Whether it can be shown on one line."""
    return text.isprintable() or not any(unicodedata.category(c) in _UNSHOWN for c in text)


def title_from(text: str) -> str | None:
    """The first words of a message on one line; None where it has none."""
    start = text[:_LOOK]
    if not can_be_title(start):
        start = "".join(" " if unicodedata.category(c) in _UNSHOWN else c for c in start)
    words = start.split()
    if not words:
        return None
    title = " ".join(words[:MAX_WORDS])
    cut = len(words) > MAX_WORDS or len(text) > _LOOK
    if len(title) > MAX_CHARACTERS:
        title, cut = title[: MAX_CHARACTERS - 1].rsplit(" ", 1)[0], True
    return title.rstrip(".,;:!") + "…" if cut else title
