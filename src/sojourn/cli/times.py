"""Times as people write them on a command line: how long ago, or a date of this machine's time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d+) ?(min|m|h|d|w)")
_UNITS = {"min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, *, now: datetime | None = None) -> datetime:
    """The time that is meant; raises BadParameter."""
    try:
        if found := _AGO.fullmatch(text):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[found[2]]: int(found[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        allowed = "how long ago as 90m, 12h, 7d or 2w, or a date as 2026-05-01 or 2026-05-01T18:30"
        raise typer.BadParameter(f"found {text!r}, expected {allowed}") from error
