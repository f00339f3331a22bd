"""What the demo's conversations say, and what must come of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_COLOURS = ("teal", "amber", "indigo", "olive", "coral", "crimson", "ivory", "violet", "salmon", "navy")
_TOWNS = ("Lisbon", "Oslo", "Quito", "Kyoto", "Accra", "Turin", "Perth", "Bergen", "Split", "Cork", "Riga")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a person says, and what the answer must contain."""

    say: str
    expect: str


def script(number: int) -> list[Line]:
    """The lines of one conversation: facts that no other conversation has together, then questions about them."""
    colour = _COLOURS[number % len(_COLOURS)]
    town = _TOWNS[number % len(_TOWNS)]
    return [
        Line(f"My favourite colour is {colour}.", colour),
        Line(f"My town is {town} and my number is {1000 + number}.", ""),
        Line(f"What is {number} + 7?", str(number + 7)),
        Line("What is my favourite colour?", colour),
        Line("What is my number?", str(1000 + number)),
        Line("What is my town?", town),
    ]


def name(number: int) -> str:
    """The id of a conversation's session."""
    return f"demo-{number:03d}"
