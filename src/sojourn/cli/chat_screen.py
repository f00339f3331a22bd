"""What a conversation looks like, whatever it is shown on: from its events to text, notes and calls of tools."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest

from sojourn.cli.chat_questions import HINT, Question, decided_line, pending_line
from sojourn.cli.chat_words import MAX_FAILURE, Status, attached, call_line, cut, ended_line
from sojourn.cli.notes import visible
from sojourn.records import Event, EventKind, Message, QueuedInput, Role, ToolCall, TurnStatus

_NEWS = {
    EventKind.MODEL_RETRY: "↻ {}",
    EventKind.FEEDBACK: "↻ the model was told: {}",
    EventKind.TURN_RESUMED: "↻ the turn was interrupted and goes on",
    EventKind.CONTEXT_CLEARED: "the context was cleared: the agent sees only what comes from here on",
    EventKind.SESSION_RESET: "the session's history was forgotten",
    EventKind.SESSION_DELETED: "the session was deleted",
}

#: Questions are put when the person can answer; the state is the tools' own.
_SILENT = frozenset({EventKind.APPROVAL_ASKED, EventKind.STATE_CHANGED})


class Screen(ABC):
    """Shows a conversation and reads what is said in it. What comes from elsewhere may come at any time."""

    #: Whether what is typed while an answer is written is read at once.
    steers = False
    #: Whether somebody is there who can be asked back.
    interactive = True

    def __init__(self) -> None:
        self.status = Status()
        #: What of the answer that is being written has come.
        self._text = ""
        #: Calls that have no result yet.
        self._calls: list[ToolCall] = []
        #: Whether the turn has said something.
        self._spoken = False
        #: The positions of what was told to be in line.
        self._pending: set[int] = set()

    # -- reading

    @abstractmethod
    async def read(self) -> str:
        """What is said next. Raises EOFError at the end of the input, or when the person wants to leave."""

    @abstractmethod
    async def ask(self, question: str) -> str:
        """A short answer to a question; empty for none."""

    async def edit(self, text: str) -> str | None:
        """The text as the person changed it; None where it is left as it is, or cannot be edited."""
        del text
        return None

    async def close(self) -> None:  # noqa: B027 - most need nothing
        """Nothing more is read."""

    @abstractmethod
    def answering(self, interrupt: Callable[[], None]) -> AbstractContextManager[None]:
        """Inside it an answer is awaited, and Ctrl-C calls `interrupt`."""

    @abstractmethod
    def interrupt(self) -> None:
        """Ctrl-C."""

    @abstractmethod
    def remember(self, said: Sequence[str]) -> None:
        """What was said in the session before, for the person to say again."""

    # -- showing

    def tell_status(self, status: Status) -> None:
        """How things stand, for a status line."""
        self.status = status

    def greet(self, text: str) -> None:
        """What the agent says before anybody has spoken."""
        self._piece(visible(text))
        self._settle()

    @abstractmethod
    def note(self, text: str) -> None:
        """A line about the conversation, not of it."""

    @abstractmethod
    def fault(self, text: str) -> None:
        """A sentence about what went wrong."""

    @abstractmethod
    def lines(self, lines: Sequence[str]) -> None:
        """What a command was asked to show."""

    @abstractmethod
    def said(self, text: str) -> None:
        """What a person said, other than by typing it here just now."""

    def question(self, question: Question) -> None:
        """A question to the person, which the next line may answer."""
        self.lines([*question.card(), f"  {HINT}"])

    def no_question(self) -> None:  # noqa: B027 - where questions stay in sight
        """Nothing is asked any more."""

    def pending(self, inbox: Sequence[QueuedInput]) -> None:
        """What was said and is not told to the model yet."""
        for item in inbox:
            if item.position not in self._pending:
                self.note(pending_line(item))
        self._pending = {item.position for item in inbox}

    def past(self, messages: Sequence[Message], earlier: int, ends: Mapping[int, str]) -> None:
        """The last messages of what was said before, how many came before them, and the ends of their turns."""
        if earlier:
            self.note(f"{earlier} earlier messages; /history shows them")
        for message, following in zip_longest(messages, messages[1:]):
            self.message(message)
            if message.turn in ends and (following is None or following.turn != message.turn):
                self.note(ends[message.turn])

    def show(self, event: Event, *, own: bool = False) -> None:
        """An event of the session; `own` is what was typed here."""
        text = visible(event.text)
        match event.kind:
            case EventKind.TURN_OPENED | EventKind.MESSAGE | EventKind.TOOL_RESULT | EventKind.STEERED:
                if event.message is not None:
                    self.message(event.message, own=own)
            case EventKind.APPROVAL_DECIDED:
                if event.approval is not None:
                    self.note(decided_line(event.approval, own=own))
            case EventKind.TEXT:
                self._add(text)
            case EventKind.TEXT_DROPPED:
                self._drop()
            case EventKind.TURN_ENDED:
                self._ended(event)
            case _ if event.kind not in _SILENT:
                self.note(_NEWS.get(event.kind, event.kind.value).format(cut(text, MAX_FAILURE)))

    def message(self, message: Message, *, own: bool = False) -> None:
        """A whole message."""
        if message.role is Role.USER:
            self._begin()
            if not own:
                self.said("\n".join([visible(message.text), *attached(message)]).strip("\n"))
        elif message.role is Role.TOOL:
            self._called(ended_line(self._call_of(message), message))
            self._running([call_line(call) for call in self._calls])
        else:
            self._answered(message)

    def _answered(self, message: Message) -> None:
        text = visible(message.text)
        if not text.startswith(self._text):
            self._drop()
        self._add(text[len(self._text) :])
        self._text = ""
        self._settle()
        for thing in attached(message):
            self.note(thing)
        self._calls += message.tool_calls
        self._running([call_line(call) for call in self._calls])

    def _call_of(self, result: Message) -> ToolCall | None:
        """The open call that a result answers; providers give an id twice, so its name counts as well."""
        named = [call for call in self._calls if call.name == result.tool_name]
        found = next((call for call in named if call.id == result.tool_call_id), named[0] if named else None)
        if found is not None:
            self._calls.remove(found)
        return found

    def _add(self, text: str) -> None:
        if text:
            self._text += text
            self._spoken = True
            self._piece(text)

    def _drop(self) -> None:
        if self._text:
            self._text = ""
            self._void()

    def _begin(self) -> None:
        self._calls.clear()
        self._running([])
        self._spoken = False

    def _ended(self, event: Event) -> None:
        for call in self._calls:
            self._called(f"? {call_line(call)}: no result")
        spoken = self._spoken
        self._begin()
        if event.status is TurnStatus.FAILED:
            self.fault(f"the turn failed: {cut(visible(event.text), MAX_FAILURE)}")
        elif event.status is TurnStatus.CANCELLED:
            self.note("cancelled")
        elif event.reply is not None and not spoken and event.reply.output != event.reply.text:
            self._piece(json.dumps(event.reply.output, ensure_ascii=False, indent=2, default=str))
            self._settle()

    # -- what the kinds of screen do differently

    @abstractmethod
    def _piece(self, text: str) -> None:
        """A piece of the answer."""

    @abstractmethod
    def _settle(self) -> None:
        """The answer's text is whole."""

    @abstractmethod
    def _void(self) -> None:
        """The pieces since the last whole text are void."""

    @abstractmethod
    def _called(self, line: str) -> None:
        """A call of a tool ended."""

    @abstractmethod
    def _running(self, lines: Sequence[str]) -> None:
        """The calls that run now."""
