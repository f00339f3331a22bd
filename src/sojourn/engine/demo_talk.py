"""What the demo model understands of what people say: facts about them, questions for facts, three errands."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fact:
    """What "my <what> <verb> <value>" says, with the value as it was spelled."""

    what: str
    verb: str
    value: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A question for a fact, under the names by which it may have been told."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roll:
    """A die to roll."""

    sides: int


@dataclass(frozen=True, slots=True)
class Clock:
    """A question for the time."""


@dataclass(frozen=True, slots=True)
class Add:
    """Two numbers to add, as they were written."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Other:
    """Something that is not understood."""


Saying = Fact | Ask | Roll | Clock | Add | Other

_SENTENCE = re.compile(r"(?:\b(?:dr|mr|mrs|ms|prof|st|jr|sr)\.|\.(?=\w)|[^.!?;\n])+[.!?;\n]*", re.IGNORECASE)
_ADD = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)\s*(?:\+|plus)\s*(-?\d+(?:\.\d+)?)(?![\w])", re.IGNORECASE)
_ROLL = re.compile(r"\b(?:roll|throw)\b.*\b(?:dice|die|d\d+)\b|\bdice\b", re.IGNORECASE)
_SIDES = re.compile(r"\bd(\d{1,6})\b|\b(\d{1,6})[\s-]*sided", re.IGNORECASE)
_CLOCK = re.compile(r"\bwhat time\b|\bthe time\b|\bclock\b|\bwhat(?:'s| is) today|\bwhat day\b", re.IGNORECASE)
_ASKING = re.compile(
    r"(?:\W*(?:and|so|but|then|please|hey|hi|hello|ok|okay)\b)*\W*"
    r"(?:(?:what|who|where|when|which|how)(?:['’]s|['’]re|\b)|(?:do|can|could|would|did) you\b|tell me\b|remind me\b)",  # noqa: RUF001 - people type it
    re.IGNORECASE,
)
_FACT = re.compile(
    r"\bmy\s+(?P<what>[^,:]+?)\s+(?P<verb>is|are|was|were)\s+(?:called\s+)?(?P<value>.+)", re.IGNORECASE | re.DOTALL
)
_NEXT_FACT = re.compile(r"(?:,\s*(?:and\s+|but\s+)?|\s+(?:and|but)\s+)(?=my\s)", re.IGNORECASE)
_AFTERTHOUGHT = re.compile(
    r",\s*(?:thanks|thank you|please|by the way|btw|you know|ok|okay|right|actually|now)\b.*$|\s+(?:now|actually)$",
    re.IGNORECASE | re.DOTALL,
)
_MY = re.compile(r"\bmy\s+(?P<what>.+)$", re.IGNORECASE | re.DOTALL)
_OF_MY = re.compile(r"\bthe\s+(?P<part>[\w'’ -]+?)\s+of\s+my\s+(?P<what>.+)$", re.IGNORECASE | re.DOTALL)  # noqa: RUF001
_TAIL = re.compile(
    r"(?:[\s,]+(?:is|are|was|were|again|then|now|please|called|is called|today|do you know|do you remember))+$",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:(?:the|a|an|very|own)\s+)+", re.IGNORECASE)


def read(text: str) -> list[Saying]:
    """What a message says, in its order; what is not understood is left out where something else is."""
    sayings = [saying for sentence in _SENTENCE.findall(text) if sentence.strip() for saying in _read_one(sentence)]
    understood: list[Saying] = [saying for saying in sayings if not isinstance(saying, Other)]
    return understood or [Other()]


def key_of(what: str) -> str:
    """The same for names that differ in case, spacing, apostrophes, articles or in British and American spelling."""
    plain = re.sub(r"[^\w\s]", "", _ARTICLE.sub("", what.strip()).casefold())
    return " ".join(plain.replace("our", "or").replace("grey", "gray").split())


def _read_one(sentence: str) -> list[Saying]:
    bare = sentence.strip().rstrip(".!?; \n")
    if errand := _read_errand(bare):
        return [errand]
    asking = _ASKING.match(bare)
    if asking or sentence.rstrip().endswith("?"):
        return [_read_question(bare)]
    facts = [fact for clause in _NEXT_FACT.split(bare) if (fact := _read_fact(clause))]
    return list(facts) or [Other()]


def _read_errand(bare: str) -> Saying | None:
    if found := _ADD.search(bare):
        return Add(found[1], found[2])
    if _ROLL.search(bare):
        sides = _SIDES.search(bare)
        return Roll(int(sides[1] or sides[2]) if sides else 6)
    if _CLOCK.search(bare) and not re.search(r"\bmy\b", bare, re.IGNORECASE):
        return Clock()
    return None


def _read_question(bare: str) -> Saying:
    if found := _OF_MY.search(bare):
        what, part = _plain(found["what"]), _plain(found["part"])
        return Ask((f"{what}'s {part}", f"{what} {part}", what))
    if found := _MY.search(bare):
        # "do you remember that my cat is black" asks for the cat as well
        what = re.split(r"\s+(?:is|are|was|were)\s+", _plain(found["what"]), maxsplit=1)[0]
        return Ask((what,)) if what else Other()
    return Other()


def _read_fact(clause: str) -> Fact | None:
    found = _FACT.search(clause)
    if found is None:
        return None
    value = _AFTERTHOUGHT.sub("", found["value"]).strip(" ,:\"'“”‘’")  # noqa: RUF001
    # What is theirs when they say it is yours when it is said to them.
    value = re.sub(r"\bmy\b", "your", value)
    what = _plain(found["what"])
    return Fact(what, found["verb"].lower(), " ".join(value.split())) if what and value else None


def _plain(what: str) -> str:
    """A name without the words around it."""
    return " ".join(_ARTICLE.sub("", _TAIL.sub("", what.strip(' ,:"“”'))).split())
