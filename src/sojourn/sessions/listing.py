"""Which sessions a caller wants listed, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sojourn.abc import Wanted
from sojourn.errors import InvalidInput
from sojourn.records import Direction, SessionOrder, SessionStatus, check_session_id
from sojourn.sessions.checks import members_of, moment, one_of


def wanted_of(
    *,
    query: str | None,
    status: SessionStatus | str | Iterable[SessionStatus | str] | None,
    parent: str | None,
    active_since: datetime | None,
    active_before: datetime | None,
    order: SessionOrder | str,
    direction: Direction | str | None,
) -> Wanted:
    """What a store is asked for; raises InvalidInput."""
    by = one_of("order", order, SessionOrder)
    usual = Direction.ASCENDING if by is SessionOrder.ID else Direction.DESCENDING
    return Wanted(
        query=query,
        status=_statuses(status),
        parent=None if parent is None else check_session_id(parent),
        active_since=None if active_since is None else moment("active_since", active_since),
        active_before=None if active_before is None else moment("active_before", active_before),
        order=by,
        direction=usual if direction is None else one_of("direction", direction, Direction),
    )


def _statuses(status: SessionStatus | str | Iterable[SessionStatus | str] | None) -> frozenset[SessionStatus]:
    if status is None:
        return frozenset(SessionStatus)
    several = [status] if isinstance(status, str) or not isinstance(status, Iterable) else list(status)
    found = frozenset(one_of("status", one, SessionStatus) for one in several)
    if not found:
        raise InvalidInput("status", several, f"at least one of {members_of(SessionStatus)}")
    return found
