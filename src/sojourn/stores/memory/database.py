"""What memory stores keep, and share where they are opened on the same database."""

from __future__ import annotations

from dataclasses import dataclass, field

from sojourn.abc import ApprovalRow, Entry, InputRow, RememberedRow, SessionRow, TurnRow
from sojourn.records import Effect, EffectStatus

#: Calls that have no result.
OPEN_CALLS = frozenset({EffectStatus.STARTED, EffectStatus.INTENDED})


@dataclass(slots=True)
class StoredSession:
    """A session and all that is its own."""

    row: SessionRow
    log: list[Entry] = field(default_factory=list)
    #: By `seq`: which place among the entries of all sessions each has.
    numbers: dict[int, int] = field(default_factory=dict)
    turns: dict[int, TurnRow] = field(default_factory=dict)
    #: By position.
    inbox: dict[int, InputRow] = field(default_factory=dict)
    #: By place: the response's number, and the call's index in it.
    effects: dict[tuple[int, int], Effect] = field(default_factory=dict)
    #: By place, as effects are.
    approvals: dict[tuple[int, int], ApprovalRow] = field(default_factory=dict)
    #: The last position that was given.
    position: int = 0
    #: JSON.
    settings: str = "{}"

    @property
    def current(self) -> TurnRow | None:
        """The turn that runs, waits, is held, or goes on next."""
        return self.turns.get(self.row.current) if self.row.current else None


@dataclass(slots=True)
class Remembered:
    """A yes, and the node that it ends with; None: it ends with nobody."""

    row: RememberedRow
    node: int | None


class MemoryDatabase:
    """What memory stores share; it dies with the process."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str], StoredSession] = {}
        #: In the order in which it was said.
        self.remembered: list[Remembered] = []
        self.live_nodes: set[int] = set()
        self.nodes = 0
        #: How many entries have been written, of all sessions.
        self.entries = 0
        self.keys = 0
        self.changes = 0
