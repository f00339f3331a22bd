"""Which session the code that runs belongs to: how tools reach their session, and how a wait in a circle is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any

from sojourn.errors import SessionReentrant
from sojourn.records import Session
from sojourn.sessions.residency import Name
from sojourn.sessions.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSession(Session):
    """The session as it stood when the turn began, and its state as it stands now."""

    held: State = field(repr=False, compare=False)

    @property
    def state(self) -> dict[str, Any]:
        """What the agent keeps of this session; a change is stored with the tool's result. JSON values only."""
        return self.held.open()


_current: ContextVar[CurrentSession | None] = ContextVar("sojourn_current_session", default=None)


def current_session() -> CurrentSession:
    """The session whose turn the calling tool runs in; raises LookupError outside a turn."""
    session = _current.get()
    if session is None:
        raise LookupError("current_session() was called outside a turn; it works in tools, validators and deps")
    return session


def running_in() -> Name | None:
    """The session that the calling code runs in, if any."""
    session = _current.get()
    return (session.user, session.id) if session else None


def enter(session: Session, state: State) -> None:
    """All that this task does from here on belongs to `session`."""
    known = {name.name: getattr(session, name.name) for name in fields(Session)}
    _current.set(CurrentSession(**known, held=state))


def waiting_for(waits: dict[Name, list[Name]], target: Name) -> AbstractContextManager[None]:
    """Note that the session this runs in waits for `target`; raises SessionReentrant where that closes a circle."""
    here = running_in()
    return _OUTSIDE if here is None else _waiting(waits, here, target)


_OUTSIDE = nullcontext()


@contextmanager
def _waiting(waits: dict[Name, list[Name]], here: Name, target: Name) -> Iterator[None]:
    if here == target or _leads(waits, target, here):
        raise SessionReentrant(target[1])
    waits.setdefault(here, []).append(target)
    try:
        yield
    finally:
        waits[here].remove(target)
        if not waits[here]:
            del waits[here]


def _leads(waits: Mapping[Name, list[Name]], start: Name, goal: Name) -> bool:
    seen, line = set(), [start]
    while line:
        name = line.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            line.extend(waits.get(name, ()))
    return False
