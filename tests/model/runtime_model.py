"""What a runtime should hold, in plain dicts, moved by the transition table of `sojourn.sessions.turns`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from sojourn.abc import CUT_KINDS, MESSAGE_KINDS
from sojourn.records import ApprovalStatus, EntryKind, InputKind, OnInterrupt, TurnStatus
from sojourn.sessions.titles import title_from
from sojourn.sessions.turns import MAX_ATTEMPTS, TurnEvent, after_interruption, move
from tests.model.runtime_people import Call, People
from tests.model.runtime_rows import Input, Line, Turn

CANCELLED = "cancelled by request"
SUPERSEDED = "superseded by a later message"
DISCARDED = "discarded"
REMOVED = "removed from the line"
GAVE_UP = f"its process died {MAX_ATTEMPTS} times while it ran"

#: What ends when something else is said.
_SUPERSEDED = {TurnStatus.HELD, TurnStatus.WAITING}


class Session(People):
    """One session."""

    # -- accepting and opening

    def accept(self, text: str, key: str | None) -> Turn:
        """A message, which is a turn of its own."""
        if self.current is not None and self.current.status in _SUPERSEDED:
            self._end_unowned(self.current, TurnEvent.SUPERSEDED, SUPERSEDED)
        self.title = self.title or title_from(text)
        return self._line_up(text, key, InputKind.MESSAGE)

    def joins(self, kind: InputKind) -> bool:
        """Whether such an input belongs to what the session does already."""
        working = self.current is not None and self.current.status is not TurnStatus.HELD
        return working or (kind is InputKind.FOLLOW_UP and self.queued > 0)

    def join(self, text: str, kind: InputKind) -> Turn:
        """A steer for the current turn, or a follow-up behind everything; its turn."""
        last = next((item for item in reversed(self.line) if item.kind is not InputKind.STEER), None)
        if kind is InputKind.STEER and self.current is not None:
            turn = self.current
        elif last is not None and last.kind is InputKind.FOLLOW_UP and not last.held:
            turn = last.turn
        else:
            return self._line_up(text, None, kind)
        self.line.append(Input(turn, text, kind))
        return turn

    def _line_up(self, text: str, key: str | None, kind: InputKind) -> Turn:
        turn = self._new_turn(text, key)
        self.line.append(Input(turn, text, kind))
        return turn

    def _new_turn(self, text: str, key: str | None) -> Turn:
        self.count += 1
        turn = self.turns[self.count] = Turn(self.count, text, key)
        turn.status = move(None, TurnEvent.ACCEPTED).to
        return turn

    def start(self, number: int, attempt: int, node: str, on_interrupt: OnInterrupt) -> None:
        """An engine began to run this turn: check that it may, and make the move."""
        if self.again:
            assert (self.owner, self.current and self.current.number) == (node, number), f"{self.id} goes on elsewhere"
            self.again = False
        else:
            if self.interrupted and self.current is not None and self.current.number != number:
                self.take_over(on_interrupt)
            assert self.owner is None, f"two turns of {self.id} at once"
            if self.current is None:
                self.open_next()
            else:
                self.go_on(self.current, on_interrupt)
            self.said = ""
        assert self.current is not None
        assert (self.current.number, self.current.attempts) == (number, attempt), f"{self.id} ran out of order"
        self.owner, self.written, self.changed = node, "", None
        self.ask_model()

    def open_next(self, *, closing: bool = True) -> None:
        """The first in line is told to the model; calls that were left open are closed in a write of their own."""
        turn = next(item.turn for item in self.line if not item.held and item.kind is not InputKind.STEER)
        told = [item for item in self.line if item.turn is turn and item.kind is not InputKind.STEER]
        self.line = [item for item in self.line if item not in told]
        self.current = turn
        turn.move(TurnEvent.ACQUIRED)
        turn.attempts = 1
        self._log(EntryKind.TURN_OPENED, together([item.text for item in told]))
        turn.opened = self.version
        if closing:
            self._close_calls()

    def go_on(self, turn: Turn, on_interrupt: OnInterrupt) -> None:
        """The current turn is run again."""
        if self.unasked:  # people are asked first, and only what is remembered lets it go on then
            self.take_up_to_ask(on_interrupt)
        if turn.status is TurnStatus.RUNNING:
            turn.status = after_interruption(turn.attempts, on_interrupt)
            assert turn.status is TurnStatus.RUNNING, f"turn {turn.number} of {self.id} must not be run again"
        else:
            turn.move(TurnEvent.ACQUIRED)
        turn.attempts += 1
        self._close_calls(but=set(self.waiting_calls))
        if not self.carry_out():
            self._log(EntryKind.TURN_RESUMED, "")

    def ask_model(self) -> bool:
        """The model is about to be asked; True where something is told first, and the engine begins anew."""
        self.again = not self.open_calls and self._tell()
        return self.again

    def _tell(self) -> bool:
        """Tell what was said into the turn."""
        told = [item for item in self.line if item.kind is InputKind.STEER and not item.held]
        if told:
            self.line = [item for item in self.line if item not in told]
            self._log(EntryKind.STEERED, together([item.text for item in told]))
            self.log_state()
        return bool(told)

    def take_over(self, on_interrupt: OnInterrupt) -> None:
        """The next owner finds a turn that it does not run again."""
        turn = self.current
        assert turn is not None
        verdict = after_interruption(turn.attempts, on_interrupt)
        assert verdict in {TurnStatus.HELD, TurnStatus.FAILED}, f"{self.id} was taken over as {verdict}"
        if verdict is TurnStatus.FAILED:
            self._end(turn, TurnEvent.BROKE, GAVE_UP)
            return
        turn.status = TurnStatus.HELD
        for item in self.line:
            item.held = True
            if item.turn.status is TurnStatus.QUEUED:
                item.turn.status = TurnStatus.HELD

    # -- steps

    def respond(self, text: str, tools: Sequence[str], gated: Sequence[str] = ()) -> None:
        self.responded(text, tools, gated)
        self.step_done()

    def responded(self, text: str, tools: Sequence[str], gated: Sequence[str]) -> None:
        self._log(EntryKind.MESSAGE, text)
        seq, self.said = self.version, text
        self.open_calls += [Call(seq, index, tool, tool not in gated) for index, tool in enumerate(tools)]
        self.log_state()

    def result(self, index: int, text: str) -> None:
        self.returned(index, text)
        self.step_done()

    def returned(self, index: int, text: str) -> None:
        self.open_calls.pop(index)
        self._log(EntryKind.TOOL_RESULT, text)
        self.log_state()

    def feedback(self, text: str) -> None:
        self._log(EntryKind.FEEDBACK, text)
        self.log_state()
        self.step_done()

    def step_done(self) -> None:
        """What an engine does by itself behind a step: it asks people, or the model."""
        if self.unasked and not any(call.started for call in self.open_calls):
            self.ask()
        elif not self.open_calls:
            self.ask_model()

    def answer(self, text: str) -> None:
        assert self.current is not None
        self._log(EntryKind.MESSAGE, text)
        if self._tell():
            self.again = True  # it was not the last word
            return
        self.current.reply = text
        self._end(self.current, TurnEvent.ANSWERED, "")

    def fail(self, reason: str) -> None:
        assert self.current is not None
        self._end(self.current, TurnEvent.BROKE, reason)

    def _end(self, turn: Turn, event: TurnEvent, reason: str, partial: str = "") -> None:
        self._close_calls()
        if partial:
            self._log(EntryKind.MESSAGE, partial)
        self.log_state()
        self._log(EntryKind.TURN_ENDED, reason)
        turn.move(event)
        self.current = self.owner = None
        self.again = False
        if event is not TurnEvent.ANSWERED:
            self._hold_said()

    def _hold_said(self) -> None:
        """What was said into a turn, or to be said after it, is held when the turn comes to no good end."""
        for item in self.line:
            if item.kind is not InputKind.MESSAGE and not item.held:
                item.held = True
                if item.kind is InputKind.FOLLOW_UP:
                    item.turn.status = TurnStatus.HELD

    def _end_unowned(self, turn: Turn, event: TurnEvent, reason: str) -> None:
        if turn is self.current:
            if turn.status is TurnStatus.WAITING:
                superseded = event is TurnEvent.SUPERSEDED
                self.withdraw(ApprovalStatus.SUPERSEDED if superseded else ApprovalStatus.CANCELLED)
            self._log(EntryKind.TURN_ENDED, reason)
            self.current = self.owner = None
            self._hold_said()
        self.line = [item for item in self.line if item.turn is not turn or item.kind is InputKind.STEER]
        turn.move(event)

    # -- by anybody's hand

    def cancel(self, number: int | None, *, clear: bool) -> bool:
        """Whether anything was cancelled."""
        line = [item.turn for item in self.line if not item.held and item.kind is not InputKind.STEER]
        chosen = self.turns[number] if number else self.current or (line[0] if line else None)
        wanted = [chosen] if chosen else []
        if clear:
            in_line = self.current and self.current.status in {TurnStatus.QUEUED, TurnStatus.HELD}
            wanted += [self.current] if self.current and in_line else []
            wanted += [item.turn for item in self.line if item.kind is not InputKind.STEER]
            self.line = [item for item in self.line if item.kind is not InputKind.STEER]
        found = [turn for turn in dict.fromkeys(wanted) if not turn.status.final]
        for turn in sorted(found, key=lambda turn: turn is self.current and self.owner is not None):
            if turn is self.current and self.owner is not None:
                self._end(turn, TurnEvent.CANCEL_REQUESTED, CANCELLED, self.written)
            else:
                self._end_unowned(turn, TurnEvent.CANCEL_REQUESTED, CANCELLED)
        return bool(found)

    def resume(self) -> list[int]:
        held = [turn for turn in self.turns.values() if turn.status is TurnStatus.HELD]
        for turn in held:
            self.unhold(turn)
        left = [item for item in self.line if item.kind is InputKind.STEER and item.held]
        if left:
            text = together([item.text for item in left])
            turn = self._new_turn(text, None)
            for item in left:
                item.kind, item.turn, item.held = InputKind.FOLLOW_UP, turn, False
            held.append(turn)
        return [turn.number for turn in held]

    def unhold(self, turn: Turn) -> None:
        """Put a held turn back in line, and what was to be said into it, if it is the one to go on."""
        turn.move(TurnEvent.RESUME_REQUESTED)
        for item in self.line:
            if item.turn is turn:
                item.held = False

    def discard(self, number: int | None) -> list[int]:
        held = [t for t in self.turns.values() if t.status is TurnStatus.HELD and number in {None, t.number}]
        for turn in held:
            self._end_unowned(turn, TurnEvent.DISCARD_REQUESTED, DISCARDED)
        if number is None:
            self.line = [item for item in self.line if not (item.held and item.kind is InputKind.STEER)]
        return [turn.number for turn in held]

    def remove(self, item: Input) -> None:
        self.line.remove(item)
        alone = all(other.turn is not item.turn or other.kind is InputKind.STEER for other in self.line)
        if item.kind is not InputKind.STEER and alone:
            item.turn.status = TurnStatus.CANCELLED

    # -- what happens to its node

    def hand_over(self) -> None:
        """The node closes in order."""
        assert self.current is not None
        self.log_state()
        self.current.move(TurnEvent.HANDED_OVER)
        self.current.attempts -= 1
        self.lose_owner()

    def lose_owner(self) -> None:
        """The node died."""
        self.owner, self.again, self.changed = None, False, None

    # -- wholes

    def vanish(self) -> None:
        for turn in self.turns.values():
            turn.gone = True

    def reset(self) -> None:
        self.vanish()
        self.first, self.log = self.version + 1, []
        self.turns, self.line, self.current, self.owner, self.open_calls = {}, [], None, None, []
        self.questions, self.again, self.changed = {}, False, None
        self._log(EntryKind.SESSION_RESET, "")

    def _like(self, id: str, title: str | None, parent: str | None, log: list[Line], **rest: Any) -> Session:
        return Session(id, title, parent, self.first, log, is_remembered=self.is_remembered, **rest)

    def cut(self, at: int | None) -> int | None:
        """The log number up to which a fork would copy; None where `at` is no such place."""
        ends = [seq for seq, line in enumerate(self.log, self.first) if line[0] in CUT_KINDS]
        if at is None:
            return ends[-1] if ends else self.first - 1
        end = next((seq for seq in ends if seq >= at), None)
        if end is None or at < self.first:
            return None
        spoken = any(kind in MESSAGE_KINDS for kind, _, _ in self.log[at + 1 - self.first : end - self.first])
        return None if spoken else end

    def _copied(self, cut: int, *told: str) -> list[Line]:
        """The log up to there, with results that came behind it, or that are told only now, before the turn's end."""
        log, behind = self.log[: cut - self.first + 1], self.log[cut - self.first + 1 :]
        before = takewhile(lambda line: line[0] is not EntryKind.MESSAGE, behind)
        results = [text for kind, _, text in before if kind is EntryKind.TOOL_RESULT] or told
        ends = [place for place, line in enumerate(log) if line[0] is EntryKind.TURN_ENDED]
        for end in ends[-1:]:
            log[end:end] = [(EntryKind.TOOL_RESULT, log[end][1], text) for text in results]
        return log

    def forked(self, id: str, cut: int) -> Session:
        log = self._copied(cut)
        title = f"Fork: {(self.title or self.id).removeprefix('Fork: ')}"
        calls = [call for call in self.open_calls if call.seq <= cut]
        count = max((turn for _, turn, _ in log), default=0)
        return self._like(id, title, self.id, log, count=count, open_calls=calls)

    def exported(self, id: str) -> Session:
        """What `load` makes of an export: calls that the last turn left open are told of before its end."""
        cut = self.cut(None) or 0
        turns = {number: replace(turn) for number, turn in self.turns.items() if turn.status.final}
        log = self._copied(cut, *(call.outcome for call in self.open_calls if call.seq <= cut))
        return self._like(id, self.title, None, log, turns=turns, count=self.count)


def together(texts: Sequence[str]) -> str:
    """Several inputs as the one that they are told as."""
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(["Additional user input received:", *(f"- {text}" for text in texts)])
