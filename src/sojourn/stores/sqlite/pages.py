"""Pages of sessions: from what is wanted to the statement that walks along the index that has least beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sojourn.abc import Wanted
from sojourn.records import Direction, SessionOrder, SessionStatus
from sojourn.stores.common import COLUMNS, Place, words
from sojourn.stores.sqlite.searching import match
from sojourn.stores.statements import statements

_SQL = statements(__package__, "pages.sql")

_IN_WORK = frozenset({SessionStatus.QUEUED, SessionStatus.RUNNING})


def statement(user: str, wanted: Wanted, after: Place | None, limit: int) -> tuple[str, Mapping[str, Any]] | None:
    """The statement that reads the page behind a place, and its bindings; None where there is nothing to find."""
    searched = wanted.query if wanted.query is not None and wanted.query.strip() else None
    found = words(searched) if searched is not None else []
    if not wanted.status or (searched is not None and not found):
        return None
    bindings: dict[str, Any] = {"user": user, "limit": limit}
    if found:
        bindings["match"] = match(user, found)
    conditions = _conditions(wanted, after, bindings)
    ways = [" ".join((_SQL["columns"], _SQL[way], *conditions)) for way in _ways(wanted, searched=bool(found))]
    order = ", ".join(f"s.{column} {wanted.direction}" for column in COLUMNS[wanted.order])
    return f"{' UNION ALL '.join(ways)} ORDER BY {order} LIMIT :limit", bindings


def _conditions(wanted: Wanted, after: Place | None, bindings: dict[str, Any]) -> Sequence[str]:
    """What has to be true of the sessions, wherever they are looked for; its values are put into `bindings`."""
    conditions: list[str] = []
    if wanted.status != frozenset(SessionStatus):
        named = ", ".join(f"'{status}'" for status in sorted(wanted.status))
        conditions.append(f"AND s.status IN ({named})")
    by_activity = wanted.order is SessionOrder.ACTIVITY
    for name in ("parent",) if by_activity else ("parent", "active_since", "active_before"):
        if (value := getattr(wanted, name)) is not None:
            bindings[name] = value
            conditions.append(_SQL[name])
    for end, sign, place in zip(("lower", "upper"), "><", _bounds(wanted, after), strict=True):
        if place is not None:
            marks = {f"{end}_{column}": value for column, value in zip(COLUMNS[wanted.order], place, strict=True)}
            bindings |= marks
            columns = ", ".join(f"s.{column}" for column in COLUMNS[wanted.order])
            conditions.append(f"AND ({columns}) {sign} ({', '.join(f':{mark}' for mark in marks)})")
    return conditions


def _ways(wanted: Wanted, *, searched: bool) -> Sequence[str]:
    """Where to look, so that little is looked at in vain; what is found in several places is merged, not sorted."""
    if searched:
        return ["found"]
    if wanted.parent is not None:
        return ["forks"]
    if SessionStatus.IDLE not in wanted.status:
        return [*sorted(wanted.status - _IN_WORK), *(["in_work"] if wanted.status & _IN_WORK else [])]
    if wanted.active_since is not None or wanted.active_before is not None:
        return ["activity"]
    return [wanted.order]


def _bounds(wanted: Wanted, after: Place | None) -> tuple[Place | None, Place | None]:
    """The places between which the page lies, one at either end: a walk along an index keeps to no more than that."""
    lower = upper = None
    if wanted.order is SessionOrder.ACTIVITY:
        # keys begin at 1: all sessions of that moment come behind such a place
        lower = None if wanted.active_since is None else (wanted.active_since, 0)
        upper = None if wanted.active_before is None else (wanted.active_before, 0)
    if after is not None and wanted.direction is Direction.DESCENDING:
        upper = after if upper is None else min(upper, after)
    elif after is not None:
        lower = after if lower is None else max(lower, after)
    return lower, upper
