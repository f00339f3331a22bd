"""A title from what was said first. Pure."""

from __future__ import annotations

#: A title is cut behind this many words and characters.
MAX_WORDS = 10
MAX_CHARACTERS = 70

#: No more of a message is looked at.
_LOOK = 1000


def title_from(text: str) -> str | None:
    """The first words of a message on one line; None where it has none."""
    words = text[:_LOOK].split()
    if not words:
        return None
    title = " ".join(words[:MAX_WORDS])
    cut = len(words) > MAX_WORDS or len(text) > _LOOK
    if len(title) > MAX_CHARACTERS:
        title, cut = title[: MAX_CHARACTERS - 1].rsplit(" ", 1)[0], True
    return title.rstrip(".,;:!") + "…" if cut else title
