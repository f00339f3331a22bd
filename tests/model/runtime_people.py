"""The model of what people decide: questions of a session, and what is remembered of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sojourn.records import ApprovalStatus, EntryKind, OnInterrupt, Remember, TurnStatus
from sojourn.sessions.turns import TurnEvent, after_interruption
from tests.model.runtime_rows import Call, Rows

__all__ = ["GATED", "Call", "Kept", "People", "Question", "arguments_of", "told_of"]

PENDING, APPROVED = ApprovalStatus.PENDING, ApprovalStatus.APPROVED

#: Tools that a person has to allow.
GATED = ("pay", "send")

_EXACT = {Remember.SESSION_EXACT, Remember.USER_EXACT}
_FOR_USER = {Remember.USER, Remember.USER_EXACT}


def arguments_of(index: int) -> str:
    """What the call at this place has as arguments, so that an engine that comes later knows them too."""
    return f'{{"to":{index % 2}}}'


def told_of(seq: int, index: int, tool: str, status: str) -> str:
    """What the model keeps of an entry about a question."""
    return f"{seq}.{index} {tool} {status}"


@dataclass(eq=False)
class Question:
    """A call that a person was asked about."""

    session: str
    turn: int
    seq: int
    index: int
    tool: str
    status: ApprovalStatus = PENDING
    changed: str | None = None
    by: str | None = None
    #: As the store has them.
    id: str = ""
    expires: int | None = None
    #: How often the call was given to an engine to be run.
    runs: int = 0

    @property
    def place(self) -> tuple[int, int]:
        return self.seq, self.index

    @property
    def line(self) -> str:
        return told_of(self.seq, self.index, self.tool, self.status.value)


@dataclass(eq=False)
class Kept:
    """A yes that holds for more than one call."""

    user: str
    session: str | None
    tool: str
    arguments: str | None
    #: The node that it is forgotten with; None: it outlives all.
    node: str | None

    def holds_for(self, user: str, question: Question) -> bool:
        same = self.user == user and self.session in {None, question.session} and self.tool == question.tool
        return same and self.arguments in {None, arguments_of(question.index)}


@dataclass(eq=False)
class People(Rows):
    """A session's questions."""

    #: Every question since the last reset, by the place of its call.
    questions: dict[tuple[int, int], Question] = field(default_factory=dict)
    #: Whether a yes is remembered for a question of this session; the world knows.
    is_remembered: Callable[[Question], bool] = lambda _: False

    @property
    def waiting_calls(self) -> list[Call]:
        """Calls of the current turn that were not started because people decide."""
        opened = self.current.opened if self.current else 0
        return [call for call in self.open_calls if not call.started and call.seq > opened]

    @property
    def unasked(self) -> list[Call]:
        return [call for call in self.waiting_calls if (call.seq, call.index) not in self.questions]

    @property
    def pending(self) -> list[Question]:
        return [question for _, question in sorted(self.questions.items()) if question.status is PENDING]

    def ask(self) -> None:
        """The turn stops for people, unless everything is decided already."""
        turn = self.current
        assert turn is not None
        asked = [Question(self.id, turn.number, call.seq, call.index, call.tool) for call in self.unasked]
        for question in asked:
            self.questions[question.place] = question
            self._log(EntryKind.APPROVAL_ASKED, question.line)
        self.log_state()
        for question in asked:
            if self.is_remembered(question):
                self.decided(question, APPROVED, "remembered")
        turn.attempts -= 1
        turn.asked += 1
        turn.status = TurnStatus.WAITING if self.pending else TurnStatus.QUEUED
        self.owner, self.again = None, False

    def take_up_to_ask(self, on_interrupt: OnInterrupt) -> None:
        """The next owner finds calls that nobody was asked about yet."""
        turn = self.current
        assert turn is not None
        if turn.status is TurnStatus.RUNNING:
            verdict = after_interruption(turn.attempts, on_interrupt)
            assert verdict is TurnStatus.RUNNING, f"turn {turn.number} of {self.id} must not ask again"
        turn.attempts += 1
        self._close_calls(but=set(self.waiting_calls))
        self._log(EntryKind.TURN_RESUMED, "")
        self.ask()

    def carry_out(self) -> bool:
        """Calls that were allowed are durable as started; False where nothing was decided."""
        assert self.current is not None
        waiting = {(call.seq, call.index) for call in self.waiting_calls}
        found = [question for place, question in self.questions.items() if place in waiting]
        for question in found:
            assert question.status is not PENDING, f"{question} is acted upon before it is decided"
            if question.status is APPROVED:
                old = Call(question.seq, question.index, question.tool, started=False)
                self.open_calls[self.open_calls.index(old)] = Call(question.seq, question.index, question.tool)
                question.runs += 1
                assert question.runs == 1, f"{question} is run twice"
        return bool(found)

    def decided(self, question: Question, status: ApprovalStatus, by: str | None, changed: str | None = None) -> None:
        """One decision, which the log tells."""
        assert question.status is PENDING
        question.status, question.by, question.changed = status, by, changed
        self._log(EntryKind.APPROVAL_DECIDED, question.line)

    def go_on_if_decided(self) -> None:
        """The last decision puts the turn in line again."""
        if self.current is not None and self.current.status is TurnStatus.WAITING and not self.pending:
            self.current.move(TurnEvent.APPROVALS_DECIDED)

    def expire(self, overdue: Sequence[Question]) -> None:
        for question in overdue:
            self.decided(question, ApprovalStatus.EXPIRED, None)
        self.go_on_if_decided()

    def withdraw(self, status: ApprovalStatus) -> None:
        """Nobody is asked any more; the turn's end says so."""
        for question in self.pending:
            question.status = status


def is_alike(remember: Remember, question: Question, other: Question) -> bool:
    """Whether a yes to `question` that is remembered so is one to `other` too, of the same user."""
    same = other.tool == question.tool and (remember in _FOR_USER or other.session == question.session)
    return same and (remember not in _EXACT or arguments_of(other.index) == arguments_of(question.index))


def kept_of(user: str, remember: Remember, question: Question, node: str | None) -> Kept:
    """What is remembered."""
    arguments = arguments_of(question.index) if remember in _EXACT else None
    return Kept(user, None if remember in _FOR_USER else question.session, question.tool, arguments, node)
