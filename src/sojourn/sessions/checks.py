"""Checks of what callers pass. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from sojourn.errors import InvalidInput

E = TypeVar("E", bound=StrEnum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def whole_number(what: str, value: object, low: int, high: int | None = None) -> int:
    """The value if it is a whole number in the range; raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
        raise InvalidInput(what, value, allowed)
    return value


def one_of(what: str, value: object, members: type[E]) -> E:
    """The member that the value is, or says; raises InvalidInput."""
    if not isinstance(value, str) or value not in tuple(members):
        raise InvalidInput(what, value, members_of(members))
    return members(value)


def members_of(members: type[StrEnum]) -> str:
    """What is allowed where one of them is expected."""
    return " or ".join(repr(member.value) for member in members)


def printable(what: str, value: object, longest: int) -> str:
    """The value if it is a text on one line and not too long; raises InvalidInput."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise InvalidInput(what, value, f"1 to {longest} printable characters")
    return value


def interval(what: str, value: object, *, positive: bool) -> timedelta:
    """The value if it is a timedelta that is not negative (or is positive); raises InvalidInput."""
    if not isinstance(value, timedelta) or value < timedelta(0) or (positive and not value):
        raise InvalidInput(what, value, "a timedelta longer than 0" if positive else "a timedelta of at least 0")
    return value


def moment(what: str, value: object) -> int:
    """The first whole millisecond since 1970 that is not before the time; raises InvalidInput."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidInput(what, value, "a datetime with a time zone")
    return -((_EPOCH - value) // timedelta(milliseconds=1))
