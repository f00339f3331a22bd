"""What the model of a runtime is made of: turns, inputs, and a session's log with what can be read off it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sojourn.records import EntryKind, InputKind, SessionStatus, TurnStatus
from sojourn.sessions.turns import TurnEvent, move

#: A log line: kind, turn, text. Of an approval what `told_of` says, of a change of state its JSON.
Line = tuple[EntryKind, int, str]


@dataclass(eq=False)
class Turn:
    """One input and what became of it."""

    number: int
    text: str
    key: str | None
    status: TurnStatus = TurnStatus.QUEUED
    attempts: int = 0
    reply: str = ""
    #: Its session was reset or deleted.
    gone: bool = False
    #: The log number of its opening.
    opened: int = 0
    #: How often it stopped for people.
    asked: int = 0

    def move(self, event: TurnEvent) -> None:
        self.status = move(self.status, event).to


@dataclass(eq=False)
class Input:
    """One input in line or held."""

    turn: Turn
    text: str
    kind: InputKind = InputKind.MESSAGE
    held: bool = False


@dataclass(frozen=True)
class Call:
    """A tool call without a result."""

    seq: int
    index: int
    tool: str
    started: bool = True

    @property
    def outcome(self) -> str:
        """What is told of it where nobody knows more."""
        return f"the outcome of {self.tool} is unknown" if self.started else f"{self.tool} was not decided"


@dataclass(eq=False)
class Rows:
    """A session's rows."""

    id: str
    title: str | None = None
    parent: str | None = None
    first: int = 1
    log: list[Line] = field(default_factory=list)
    turns: dict[int, Turn] = field(default_factory=dict)
    #: Inputs in line and held, in order.
    line: list[Input] = field(default_factory=list)
    current: Turn | None = None
    #: The number of the last turn.
    count: int = 0
    #: The node that runs the current turn; None where its node is dead or nothing runs.
    owner: str | None = None
    #: Calls without a result, in order.
    open_calls: list[Call] = field(default_factory=list)
    #: The answer's text since the last thing stored.
    written: str = ""
    said: str = ""
    #: The state as a tool has changed it since the last thing stored.
    changed: str | None = None
    #: The engine begins anew in the same attempt, because something was said into the turn.
    again: bool = False

    @property
    def version(self) -> int:
        return self.first + len(self.log) - 1

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(_ROLES[kind], text) for kind, _, text in self.log if kind in _ROLES]

    @property
    def told(self) -> list[tuple[str, str]]:
        """What the scripted engine's history should be."""
        roles = {**_ROLES, EntryKind.FEEDBACK: "feedback"}
        told: list[tuple[str, str]] = []
        late = False  # a result that comes now belongs to a call that was cleared away
        for kind, _, text in self.log:
            if kind is EntryKind.CONTEXT_CLEARED:
                told, late = [], True
            late = late and kind is not EntryKind.MESSAGE
            if kind in roles and not (late and kind is EntryKind.TOOL_RESULT):
                told.append((roles[kind], text))
        return told

    @property
    def state(self) -> str:
        """The state as it is stored."""
        return next((text for kind, _, text in reversed(self.log) if kind is EntryKind.STATE_CHANGED), "{}")

    @property
    def queued(self) -> int:
        return sum(not item.held and item.kind is not InputKind.STEER for item in self.line)

    @property
    def steers(self) -> int:
        return sum(not item.held and item.kind is InputKind.STEER for item in self.line)

    @property
    def held(self) -> int:
        return sum(item.held for item in self.line)

    @property
    def status(self) -> SessionStatus:
        if self.current is not None:
            return SessionStatus(self.current.status.value)
        if self.queued:
            return SessionStatus.QUEUED
        return SessionStatus.HELD if self.line else SessionStatus.IDLE

    @property
    def busy(self) -> bool:
        return self.status in {SessionStatus.RUNNING, SessionStatus.QUEUED} or self.queued > 0

    @property
    def runs(self) -> bool:
        return self.current is not None and self.current.status is TurnStatus.RUNNING

    @property
    def interrupted(self) -> bool:
        """A turn runs in storage and nobody alive runs it."""
        return self.runs and self.owner is None

    @property
    def orphaned(self) -> bool:
        return self.status in {SessionStatus.RUNNING, SessionStatus.QUEUED} and self.owner is None

    def known(self, key: str | None) -> Turn | None:
        return next((turn for turn in self.turns.values() if key is not None and turn.key == key), None)

    # -- writing

    def _log(self, kind: EntryKind, text: str) -> None:
        self.log.append((kind, self.current.number if self.current else 0, text))
        self.written = ""

    def log_state(self) -> None:
        """A change of state is stored behind what it came with."""
        if self.changed is not None and self.changed != self.state:
            self._log(EntryKind.STATE_CHANGED, self.changed)
        self.changed = None

    def set_state(self, state: str) -> None:
        """From outside, between turns."""
        self.log.append((EntryKind.STATE_CHANGED, 0, state))

    def clear_context(self) -> bool:
        """Whether anything was said since the last time."""
        if not self.messages or self.log[-1][0] is EntryKind.CONTEXT_CLEARED:
            return False
        self.log.append((EntryKind.CONTEXT_CLEARED, 0, ""))
        return True

    def _close_calls(self, but: frozenset[Call] | set[Call] = frozenset()) -> None:
        calls, self.open_calls = self.open_calls, [call for call in self.open_calls if call in but]
        for call in calls:
            if call not in but:
                self._log(EntryKind.TOOL_RESULT, call.outcome)


_ROLES = {
    EntryKind.TURN_OPENED: "user",
    EntryKind.STEERED: "user",
    EntryKind.MESSAGE: "assistant",
    EntryKind.TOOL_RESULT: "tool",
}
