"""The fold from a session's log to the messages that a model is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallPart,
    UserPromptPart,
)

from sojourn.abc import Entry, History
from sojourn.engine import codec
from sojourn.engine.tokens import parts_tokens
from sojourn.engine.view import TurnMark, first_turn, from_prompt
from sojourn.records import EntryKind


class PydanticAIHistory(History):
    """A session's messages, each parsed once.

    Between two responses there is one request: the results of the first response's calls in the order of the calls,
    whatever order they landed in, and then everything else in the order of the log. Messages that were handed out are
    never changed: a run holds them while the history grows.

    One request may hold the end of a turn that was not completed and the beginning of the next; `turns` knows where.
    Where the context was cleared, the messages begin behind that, and so do `turns`, `tokens` and `requests`.
    """

    def __init__(self) -> None:
        self._messages: list[ModelMessage] = []
        #: Where each turn begins.
        self.turns: list[TurnMark] = []
        #: Estimated, of everything; kept up to date so that nothing is ever counted twice.
        self.tokens = 0
        #: Responses of the newest turn.
        self.requests = 0
        #: Every call id of the session: providers repeat theirs, and a new one must not.
        self._call_ids: set[str] = set()
        #: The last response's calls, their results by place, and what else was said since.
        self._calls: list[ToolCallPart] = []
        #: Whether that response is not sent any more, and so neither are results that are still to come.
        self._is_hidden = False
        #: The places of those of them that may be run again after a crash.
        self.repeatable: Sequence[int] = ()
        self._results: dict[int, ModelRequestPart] = {}
        self._others: list[ModelRequestPart] = []

    def extend(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._take(entry)

    def messages(self, limit: int | None = None) -> list[ModelMessage]:
        """The messages so far, or the turns from the end that fit so many tokens.

        The list is the caller's, its members are shared and not to be changed.
        """
        first = 0 if limit is None else first_turn(self.turns, self.tokens, limit)
        if first == 0:
            return list(self._messages)
        mark = self.turns[first]
        return from_prompt(self._messages[mark.place :], mark.prompt)

    @property
    def last(self) -> ModelMessage | None:
        """The last message."""
        return self._messages[-1] if self._messages else None

    @property
    def response(self) -> ModelResponse | None:
        """The last response."""
        # There is one request at most behind it.
        return next((one for one in reversed(self._messages[-2:]) if isinstance(one, ModelResponse)), None)

    def has_call(self, call_id: str) -> bool:
        """Whether a response of this session used this call id."""
        return call_id in self._call_ids

    @property
    def calls(self) -> Sequence[ToolCallPart]:
        """The calls of the last response, in order."""
        return self._calls

    @property
    def unanswered(self) -> Sequence[int]:
        """The places of the last response's calls that have no result; none where it is not sent any more."""
        if self._is_hidden:
            return []
        return [index for index in range(len(self._calls)) if index not in self._results]

    def _take(self, entry: Entry) -> None:
        kind = entry.kind
        if kind is EntryKind.TURN_OPENED:
            self._open_turn(codec.load_prompt(entry))
        elif kind is EntryKind.STEERED:
            self._add(codec.load_prompt(entry))
        elif kind is EntryKind.MESSAGE:
            self._add_response(codec.load_response(entry))
            self.repeatable = codec.load_repeatable(entry)
        elif kind is EntryKind.TOOL_RESULT:
            self._add_result(entry)
        elif kind is EntryKind.FEEDBACK:
            self._add(*codec.load_feedback(entry))
        elif kind is EntryKind.CONTEXT_CLEARED:
            self._begin_anew()
        elif kind is EntryKind.SESSION_RESET:
            self._begin_anew()
            self._call_ids = set()
            self._forget_response()

    def _begin_anew(self) -> None:
        """Nothing so far is sent any more; what is shown of it stays, so its call ids stay taken."""
        self._messages, self.turns = [], []
        self.tokens = self.requests = 0
        self._others = []
        self._is_hidden = True

    def _open_turn(self, prompt: UserPromptPart) -> None:
        in_last = self._messages and isinstance(self._messages[-1], ModelRequest)
        self.turns.append(TurnMark(len(self._messages) - (1 if in_last else 0), prompt, self.tokens))
        self.requests = 0
        self._add(prompt)

    def _add_response(self, response: ModelResponse) -> None:
        self._forget_response()
        self.requests += 1
        self.tokens += parts_tokens(response.parts)
        self._calls = calls_of(response)
        self._call_ids.update(call.tool_call_id for call in self._calls)
        self._messages.append(response)

    def _add_result(self, entry: Entry) -> None:
        # A result belongs to the last response also where a later turn is open already: none is asked for an answer
        # while calls are without results.
        index, part = codec.load_result(entry)
        if index >= len(self._calls):
            raise ValueError(f"entry {entry.seq}: the last response has no call {index}")
        self._results[index] = part
        if not self._is_hidden:
            self.tokens += parts_tokens([part])
            self._write_request()

    def _add(self, *parts: ModelRequestPart) -> None:
        self._others.extend(parts)
        self.tokens += parts_tokens(parts)
        self._write_request()

    def _write_request(self) -> None:
        """Put what follows the last response at the end, as a new object."""
        results = [] if self._is_hidden else [self._results[index] for index in sorted(self._results)]
        parts = [*results, *self._others]
        if self._messages and isinstance(last := self._messages[-1], ModelRequest):
            self._messages[-1] = replace(last, parts=parts)
        else:
            self._messages.append(ModelRequest(parts=parts))

    def _forget_response(self) -> None:
        self._calls, self._results, self._others = [], {}, []
        self._is_hidden, self.repeatable = False, ()


def calls_of(response: ModelResponse) -> list[ToolCallPart]:
    """The calls of a response that are ours to answer, in order; their places here are their indexes."""
    return [part for part in response.parts if isinstance(part, ToolCallPart)]
