"""What a runtime should hold, in plain dicts, moved by the transition table of `sojourn.sessions.turns`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sojourn.abc import MESSAGE_KINDS
from sojourn.records import EntryKind, OnInterrupt, SessionStatus, TurnStatus
from sojourn.sessions.titles import title_from
from sojourn.sessions.turns import MAX_ATTEMPTS, TurnEvent, after_interruption, move

#: A log line: kind, turn, text.
Line = tuple[EntryKind, int, str]

CANCELLED = "cancelled by request"
SUPERSEDED = "superseded by a later message"
DISCARDED = "discarded"
GAVE_UP = f"its process died {MAX_ATTEMPTS} times while it ran"


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

    def move(self, event: TurnEvent) -> None:
        self.status = move(self.status, event).to


@dataclass(eq=False)
class Session:
    """One session."""

    id: str
    title: str | None = None
    parent: str | None = None
    first: int = 1
    log: list[Line] = field(default_factory=list)
    turns: dict[int, Turn] = field(default_factory=dict)
    #: Inputs in line and held, in order.
    line: list[Turn] = field(default_factory=list)
    current: Turn | None = None
    #: The number of the last turn.
    count: int = 0
    #: The node that runs the current turn; None where its node is dead or nothing runs.
    owner: str | None = None
    #: Calls without a result: (log number of the response, tool).
    open_calls: list[tuple[int, str]] = field(default_factory=list)
    #: The answer's text since the last thing stored.
    written: str = ""
    said: str = ""

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
        return [(roles[kind], text) for kind, _, text in self.log if kind in roles]

    @property
    def status(self) -> SessionStatus:
        if self.current is not None:
            return SessionStatus(self.current.status.value)
        if any(turn.status is TurnStatus.QUEUED for turn in self.line):
            return SessionStatus.QUEUED
        return SessionStatus.HELD if self.line else SessionStatus.IDLE

    @property
    def busy(self) -> bool:
        return self.status in {SessionStatus.RUNNING, SessionStatus.QUEUED}

    @property
    def runs(self) -> bool:
        return self.current is not None and self.current.status is TurnStatus.RUNNING

    @property
    def interrupted(self) -> bool:
        """A turn runs in storage and nobody alive runs it."""
        return self.runs and self.owner is None

    @property
    def orphaned(self) -> bool:
        return self.busy and self.owner is None

    def known(self, key: str | None) -> Turn | None:
        return next((turn for turn in self.turns.values() if key is not None and turn.key == key), None)

    # -- accepting and opening

    def accept(self, text: str, key: str | None) -> Turn:
        if self.current is not None and self.current.status is TurnStatus.HELD:
            self._end_unowned(self.current, TurnEvent.SUPERSEDED, SUPERSEDED)
        self.title = self.title or title_from(text)
        self.count += 1
        turn = self.turns[self.count] = Turn(self.count, text, key)
        turn.status = move(None, TurnEvent.ACCEPTED).to
        self.line.append(turn)
        return turn

    def start(self, number: int, attempt: int, node: str, on_interrupt: OnInterrupt) -> None:
        """An engine began to run this turn: check that it may, and make the move."""
        if self.interrupted and self.current is not None and self.current.number != number:
            self.take_over(on_interrupt)
        assert self.owner is None, f"two turns of {self.id} at once"
        if self.current is None:
            first = next(turn for turn in self.line if turn.status is TurnStatus.QUEUED)
            self.line.remove(first)
            self.current = first
            first.move(TurnEvent.ACQUIRED)
            first.attempts = 1
            self._log(EntryKind.TURN_OPENED, first.text)
            self._close_calls()
        else:
            self._start_again(self.current, on_interrupt)
        assert (self.current.number, self.current.attempts) == (number, attempt), f"{self.id} ran out of order"
        self.owner, self.written, self.said = node, "", ""

    def _start_again(self, turn: Turn, on_interrupt: OnInterrupt) -> None:
        if turn.status is TurnStatus.RUNNING:
            turn.status = after_interruption(turn.attempts, on_interrupt)
            assert turn.status is TurnStatus.RUNNING, f"turn {turn.number} of {self.id} must not be run again"
        else:
            turn.move(TurnEvent.ACQUIRED)
        turn.attempts += 1
        self._close_calls()
        self._log(EntryKind.TURN_RESUMED, "")

    def take_over(self, on_interrupt: OnInterrupt) -> None:
        """The next owner finds a turn that it does not run again."""
        turn = self.current
        assert turn is not None
        verdict = after_interruption(turn.attempts, on_interrupt)
        assert verdict in {TurnStatus.HELD, TurnStatus.FAILED}
        if verdict is TurnStatus.FAILED:
            self._end(turn, TurnEvent.BROKE, GAVE_UP)
            return
        turn.status = TurnStatus.HELD
        for waiting in self.line:
            waiting.status = TurnStatus.HELD

    # -- steps

    def _log(self, kind: EntryKind, text: str) -> None:
        self.log.append((kind, self.current.number if self.current else 0, text))
        self.written = ""

    def respond(self, text: str, tools: Sequence[str]) -> None:
        self._log(EntryKind.MESSAGE, text)
        self.said = text
        self.open_calls += [(self.version, tool) for tool in tools]

    def result(self, index: int, text: str) -> None:
        self.open_calls.pop(index)
        self._log(EntryKind.TOOL_RESULT, text)

    def feedback(self, text: str) -> None:
        self._log(EntryKind.FEEDBACK, text)

    def answer(self, text: str) -> None:
        assert self.current is not None
        self._log(EntryKind.MESSAGE, text)
        self.current.reply = text
        self._end(self.current, TurnEvent.ANSWERED, "")

    def fail(self, reason: str) -> None:
        assert self.current is not None
        self._end(self.current, TurnEvent.BROKE, reason)

    def _close_calls(self) -> None:
        calls, self.open_calls = self.open_calls, []
        for _, tool in calls:
            self._log(EntryKind.TOOL_RESULT, f"the outcome of {tool} is unknown")

    def _end(self, turn: Turn, event: TurnEvent, reason: str, partial: str = "") -> None:
        self._close_calls()
        if partial:
            self._log(EntryKind.MESSAGE, partial)
        self._log(EntryKind.TURN_ENDED, reason)
        turn.move(event)
        self.current = self.owner = None

    def _end_unowned(self, turn: Turn, event: TurnEvent, reason: str) -> None:
        if turn is self.current:
            self._log(EntryKind.TURN_ENDED, reason)
            self.current = self.owner = None
        else:
            self.line.remove(turn)
        turn.move(event)

    # -- by anybody's hand

    def cancel(self, number: int | None, *, clear: bool) -> bool:
        """Whether anything was cancelled."""
        queued = [turn for turn in self.line if turn.status is TurnStatus.QUEUED]
        chosen = self.turns[number] if number else self.current or (queued[0] if queued else None)
        wanted = [chosen] if chosen else []
        if clear:
            wanted += [self.current] if self.current and not self.runs else []
            wanted += self.line
        found = [turn for turn in dict.fromkeys(wanted) if not turn.status.final]
        for turn in sorted(found, key=lambda turn: turn is self.current):
            if turn is self.current and self.owner is not None:
                self._end(turn, TurnEvent.CANCEL_REQUESTED, CANCELLED, self.written)
            else:
                self._end_unowned(turn, TurnEvent.CANCEL_REQUESTED, CANCELLED)
        return bool(found)

    def resume(self) -> list[int]:
        held = [turn for turn in self.turns.values() if turn.status is TurnStatus.HELD]
        for turn in held:
            turn.move(TurnEvent.RESUME_REQUESTED)
        return [turn.number for turn in held]

    def discard(self, number: int | None) -> list[int]:
        held = [t for t in self.turns.values() if t.status is TurnStatus.HELD and number in {None, t.number}]
        for turn in held:
            self._end_unowned(turn, TurnEvent.DISCARD_REQUESTED, DISCARDED)
        return [turn.number for turn in held]

    # -- what happens to its node

    def hand_over(self) -> None:
        """The node closes in order."""
        assert self.current is not None
        self.current.move(TurnEvent.HANDED_OVER)
        self.current.attempts -= 1
        self.owner = None

    def lose_owner(self) -> None:
        """The node died."""
        self.owner = None

    # -- wholes

    def vanish(self) -> None:
        for turn in self.turns.values():
            turn.gone = True

    def reset(self) -> None:
        self.vanish()
        self.first, self.log = self.version + 1, []
        self.turns, self.line, self.current, self.owner, self.open_calls = {}, [], None, None, []
        self._log(EntryKind.SESSION_RESET, "")

    def cut(self, at: int | None) -> int | None:
        """The log number up to which a fork would copy; None where `at` is no such place."""
        ends = [seq for seq, line in enumerate(self.log, self.first) if line[0] is EntryKind.TURN_ENDED]
        if at is None:
            return ends[-1] if ends else self.first - 1
        end = next((seq for seq in ends if seq >= at), None)
        if end is None or at < self.first:
            return None
        spoken = any(kind in MESSAGE_KINDS for kind, _, _ in self.log[at + 1 - self.first : end - self.first])
        return None if spoken else end

    def forked(self, id: str, cut: int) -> Session:
        log = self.log[: cut - self.first + 1]
        title = f"Fork: {(self.title or self.id).removeprefix('Fork: ')}"
        calls = [call for call in self.open_calls if call[0] <= cut]
        count = max((turn for _, turn, _ in log), default=0)
        return Session(id, title, self.id, self.first, log, count=count, open_calls=calls)

    def exported(self, id: str) -> Session:
        """What `load` makes of an export: calls that the last turn left open are told as unknown before its end."""
        cut = self.cut(None) or 0
        turns = {number: replace(turn) for number, turn in self.turns.items() if turn.status.final}
        log = self.log[: cut - self.first + 1]
        copy = Session(id, self.title, None, self.first, log, turns, count=self.count)
        calls = [tool for seq, tool in self.open_calls if seq <= cut]
        if calls:
            kind, number, reason = log.pop()
            log += [(EntryKind.TOOL_RESULT, number, f"the outcome of {tool} is unknown") for tool in calls]
            log.append((kind, number, reason))
        return copy


_ROLES = {EntryKind.TURN_OPENED: "user", EntryKind.MESSAGE: "assistant", EntryKind.TOOL_RESULT: "tool"}
