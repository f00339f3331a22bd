"""The life of a turn as one table: state x event, under a guard, to state.

Pure: no storage, no clock, no tasks. The stores make the same moves by compare-and-set, the runtime asks here what to
do, and the Hypothesis machines take their model from here.

Rows beyond DESIGN.md section 6, because the table there had a hole:
  held + a later message -> cancelled    a held turn is the end of the history; what is said next would cut into it
  running + handed over  -> queued       an orderly shutdown is no crash: the attempt does not count
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sojourn.records import OnInterrupt, TurnStatus

#: How often a turn is started before it is given up; guards against input that kills its process.
MAX_ATTEMPTS = 3


class TurnEvent(StrEnum):
    """What can happen to a turn."""

    ACCEPTED = "accepted"
    ACQUIRED = "acquired"
    STEP_STORED = "step_stored"
    APPROVAL_ASKED = "approval_asked"
    APPROVALS_DECIDED = "approvals_decided"
    SUPERSEDED = "superseded"
    ANSWERED = "answered"
    BROKE = "broke"
    CANCEL_REQUESTED = "cancel_requested"
    OWNER_DIED = "owner_died"
    HANDED_OVER = "handed_over"
    RESUME_REQUESTED = "resume_requested"
    DISCARD_REQUESTED = "discard_requested"


class Writer(StrEnum):
    """Who may write a move."""

    OWNER = "owner"  # under fence and version
    ANY = "any"  # by compare-and-set on the turn's status


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table."""

    to: TurnStatus
    writer: Writer
    #: Whether nobody owns the session after it, unless other input is runnable.
    releases: bool = False


class IllegalMove(Exception):
    """The table has no such row; the caller acted on a state that is no longer true."""

    def __init__(self, status: TurnStatus | None, event: TurnEvent) -> None:
        self.status, self.event = status, event
        super().__init__(f"a turn that is {status or 'not there'} cannot be {event.value}")


_S, _E = TurnStatus, TurnEvent

#: Owner died is not here: it depends on the attempts, see `after_interruption`.
TABLE: dict[tuple[TurnStatus | None, TurnEvent], Move] = {
    (None, _E.ACCEPTED): Move(_S.QUEUED, Writer.ANY),
    (_S.QUEUED, _E.ACQUIRED): Move(_S.RUNNING, Writer.OWNER),
    (_S.RUNNING, _E.STEP_STORED): Move(_S.RUNNING, Writer.OWNER),
    (_S.RUNNING, _E.APPROVAL_ASKED): Move(_S.WAITING, Writer.OWNER, releases=True),
    (_S.WAITING, _E.APPROVALS_DECIDED): Move(_S.QUEUED, Writer.ANY),
    (_S.WAITING, _E.SUPERSEDED): Move(_S.CANCELLED, Writer.ANY),
    (_S.HELD, _E.SUPERSEDED): Move(_S.CANCELLED, Writer.ANY),
    (_S.RUNNING, _E.ANSWERED): Move(_S.COMPLETED, Writer.OWNER, releases=True),
    (_S.RUNNING, _E.BROKE): Move(_S.FAILED, Writer.OWNER, releases=True),
    (_S.RUNNING, _E.CANCEL_REQUESTED): Move(_S.CANCELLED, Writer.OWNER, releases=True),
    (_S.RUNNING, _E.HANDED_OVER): Move(_S.QUEUED, Writer.OWNER, releases=True),
    (_S.QUEUED, _E.CANCEL_REQUESTED): Move(_S.CANCELLED, Writer.ANY),
    (_S.WAITING, _E.CANCEL_REQUESTED): Move(_S.CANCELLED, Writer.ANY),
    (_S.HELD, _E.CANCEL_REQUESTED): Move(_S.CANCELLED, Writer.ANY),
    (_S.HELD, _E.DISCARD_REQUESTED): Move(_S.CANCELLED, Writer.ANY),
    (_S.HELD, _E.RESUME_REQUESTED): Move(_S.QUEUED, Writer.ANY),
}


def move(status: TurnStatus | None, event: TurnEvent) -> Move:
    """The row for `event` in `status`; raises IllegalMove where there is none."""
    found = TABLE.get((status, event))
    if found is None:
        raise IllegalMove(status, event)
    return found


def after_interruption(attempts: int, on_interrupt: OnInterrupt) -> TurnStatus:
    """What becomes of a running turn whose owner died during the attempt number `attempts`.

    RUNNING means: go on with the next attempt at once.
    """
    if attempts >= MAX_ATTEMPTS:
        return TurnStatus.FAILED
    return TurnStatus.HELD if on_interrupt is OnInterrupt.HOLD else TurnStatus.RUNNING
