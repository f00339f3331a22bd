"""From the runtime's events to Dexto's, in its order and with its names. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from sojourn.records import Approval, ApprovalStatus, Event, EventKind, Message, TurnStatus
from sojourn.server import shapes
from sojourn.server.sse import Sent

#: Dexto knows three answers to a question; what nobody decided is cancelled.
_DECIDED = {ApprovalStatus.APPROVED: "approved", ApprovalStatus.DENIED: "denied"}

#: Its words for why there was no yes; for what else there is, it has this one.
_REASONS = {ApprovalStatus.DENIED: "user_denied", ApprovalStatus.EXPIRED: "timeout"}
_NOBODY = "system_cancelled"

#: Questions that end with their turn, without a decision of their own.
_UNDECIDED = frozenset({ApprovalStatus.PENDING, ApprovalStatus.CANCELLED, ApprovalStatus.SUPERSEDED})


class Pieces(NamedTuple):
    """Text as it was sent: the last piece, and those before it, which many may share."""

    before: Pieces | None
    last: str

    def joined(self) -> str:
        """The whole of it."""
        found, piece = [self.last], self.before
        while piece is not None:
            found.append(piece.last)
            piece = piece.before
        return "".join(reversed(found))


_NONE = Pieces(None, "")


class Translator:
    """One stream's events. Several that are made of one carry its id on the last, so that none is lost in between."""

    def __init__(self, session: str, *, named: bool, written: int | None = None) -> None:
        self._session, self._named = session, named
        #: What was sent of the answer that is being written; None where the reader came back amid it.
        self._shown: Pieces | None = _NONE if written is None else None
        #: How much of it the reader has, if that is of the try that is still written: told where more of it comes.
        self._written = written or 0
        self._goes_on = False
        #: An answer whose end is not known yet, which says how it ended.
        self._answer: Event | None = None
        self._begun: datetime | None = None
        self._last: datetime | None = None
        self._steps = 0
        #: The turn's questions as they stand, by the call that each is about.
        self._asked: dict[str, Approval] = {}

    def copy(self) -> Translator:
        """One that stands where this one does."""
        made = copy(self)
        made._asked = {**self._asked}  # noqa: SLF001 - of its own kind
        return made

    def translate(self, event: Event, call_id: str = "") -> list[Sent]:
        """What is sent for an event; `call_id` is that of the call that a question is about."""
        before: list[Sent] = []
        if self._answer is not None and event.kind is not EventKind.TURN_ENDED:
            answer, self._answer = self._answer, None
            before = self._placed(answer, [*self._rest(answer), self._response(answer, "stop", {})])
        if event.message is not None:
            self._last = event.message.created
        made = self._approval(event, call_id) if event.approval is not None else self._makers[event.kind](self, event)
        return [*before, *self._placed(event, made)]

    def recall(self, messages: Sequence[Message], asked: Mapping[str, Approval]) -> None:
        """What there was of a turn before the place that a reader came back to, and which calls were asked about."""
        self._asked.update(asked)
        if messages:
            self._begun, self._last = messages[0].created, messages[-1].created
            self._steps = sum(bool(message.tool_calls) for message in messages)

    def sent(self, name: str, **data: Any) -> Sent:
        """An event of this session."""
        name_in_data = {"name": name} if self._named else {}
        return Sent(name, {**name_in_data, **data, "sessionId": self._session})

    def _placed(self, event: Event, made: list[Sent]) -> list[Sent]:
        if made:
            made[-1] = Sent(made[-1].name, made[-1].data, event.id)
        return made

    # -- a turn

    def _opened(self, event: Event) -> list[Sent]:
        self._begun, self._steps, self._shown = self._last, 0, _NONE
        said = event.message
        content = (list(said.parts) or said.text) if said is not None else event.text
        return [self.sent("llm:thinking", turn=event.turn, input=content)]

    def _text(self, event: Event) -> list[Sent]:
        if self._shown is not None:
            self._shown = Pieces(self._shown, event.text)
        self._written, self._goes_on = int(event.id.rpartition(".")[2]), True
        return [self.sent("llm:chunk", chunkType="text", content=event.text)]

    def _rest(self, event: Event) -> list[Sent]:
        """What of an answer's text was never sent as pieces: whoever puts pieces together gets the whole of it."""
        shown, self._shown = self._shown, _NONE
        text = event.message.text if event.message is not None else event.text
        if shown is None and not (self._goes_on and self._written == len(text)):
            # it may have been written anew since: what the reader has of it may be of another text
            return [*self._dropped(event), self.sent("llm:chunk", chunkType="text", content=text)]
        if shown is None or not text.startswith(before := shown.joined()) or text == before:
            return []
        return [self.sent("llm:chunk", chunkType="text", content=text[len(before) :])]

    def _message(self, event: Event) -> list[Sent]:
        message = event.message
        if message is None or not message.tool_calls:
            self._answer = event
            return []
        self._steps += 1
        made = self._rest(event)
        if message.text:
            made.append(self._response(event, "tool-calls", {}))
        for call in message.tool_calls:
            args = shapes.arguments(call.arguments)
            made.append(self.sent("llm:tool-call", toolName=call.name, args=args, callId=call.id))
        return made

    def _result(self, event: Event) -> list[Sent]:
        message = event.message
        if message is None:
            return []
        return [*self._running(message), self._told_result(message)]

    def _running(self, message: Message) -> list[Sent]:
        """Word that a call runs, where nobody was asked and so nothing was said of it yet."""
        if message.tool_call_id in self._asked:
            return []
        return [self.sent("tool:running", toolName=message.tool_name, toolCallId=message.tool_call_id)]

    def _told_result(self, message: Message) -> Sent:
        good = shapes.succeeded(message)
        told: dict[str, Any] = {"toolName": message.tool_name, "callId": message.tool_call_id, "success": good}
        content = [dict(part) for part in message.parts] or shapes.parts(message.text)
        meta = {"toolName": message.tool_name, "toolCallId": message.tool_call_id, "success": good}
        told |= {"sanitized": {"content": content, "meta": meta}, "outcome": message.outcome}
        if (asked := self._asked.get(message.tool_call_id or "")) is not None:
            yes = asked.status is ApprovalStatus.APPROVED
            told |= {"requireApproval": True, "approvalStatus": "approved" if yes else "rejected"}
        if not good:
            told["error"] = message.text
        return self.sent("llm:tool-result", **told)

    def _steered(self, event: Event) -> list[Sent]:
        said = event.message
        content = shapes.parts(list(said.parts) or said.text) if said is not None else shapes.parts(event.text)
        return [self.sent("message:dequeued", count=1, ids=[], queue="steer", coalesced=False, content=content)]

    def _approval(self, event: Event, call_id: str) -> list[Sent]:
        approval = event.approval
        if approval is None:
            return []
        self._asked[call_id] = approval
        if event.kind is EventKind.APPROVAL_ASKED:
            told = shapes.approval(approval, call_id).model_dump(by_alias=True, exclude_unset=True)
            del told["sessionId"]
            return [self.sent("approval:request", **told)]
        told = {"approvalId": approval.id, "status": _DECIDED.get(approval.status, "cancelled")}
        if approval.reason:
            told["message"] = approval.reason
        if approval.status is not ApprovalStatus.APPROVED:
            told["reason"] = _REASONS.get(approval.status, _NOBODY)
        made = [self.sent("approval:response", **told)]
        if approval.status is ApprovalStatus.APPROVED:
            made.append(self.sent("tool:running", toolName=approval.tool, toolCallId=call_id))
        return made

    def _response(self, event: Event, finish: str, more: Mapping[str, Any]) -> Sent:
        text = event.message.text if event.message is not None else event.text
        told = {**more, **(shapes.written(event.message) if event.message is not None else {})}
        return self.sent("llm:response", content=text, messageId=str(event.seq), finishReason=finish, **told)

    def _ended(self, event: Event) -> list[Sent]:
        made = [
            self.sent("approval:response", approvalId=one.id, status="cancelled", reason=_NOBODY)
            for one in self._asked.values()
            if one.status in _UNDECIDED
        ]
        answer, self._answer = self._answer, None
        finish, more = _finish(event), _used(event)
        if answer is not None:
            made += [*self._rest(answer), self._response(answer, finish, more)]
        self._asked.clear()
        return [*made, *self.ended(finish, event.status, event.text, event.turn)]

    def ended(self, finish: str, status: TurnStatus | None, reason: str, turn: int | None) -> list[Sent]:
        """A turn's end."""
        made: list[Sent] = []
        told: dict[str, Any] = {"finishReason": finish, "stepCount": self._steps, "durationMs": self._duration()}
        if status is TurnStatus.FAILED:
            error = {"name": "TurnFailed", "message": reason}
            made.append(self.sent("llm:error", error=error, context="turn", recoverable=False))
            told["error"] = {"code": "turn_failed", "message": reason, "scope": "llm", "type": "third_party"}
        elif reason and status is not TurnStatus.COMPLETED:
            told["reason"] = reason
        told |= {"turn": turn, "status": None if status is None else status.value}
        return [*made, self.sent("run:complete", **told)]

    def _duration(self) -> int:
        if self._begun is None or self._last is None:
            return 0
        return shapes.milliseconds(self._last) - shapes.milliseconds(self._begun)

    # -- what Dexto has no event for

    def _dropped(self, event: Event) -> list[Sent]:
        self._shown = _NONE
        return [self.sent("llm:chunk-dropped", turn=event.turn)]

    def _retried(self, event: Event) -> list[Sent]:
        self._shown = _NONE
        return [self.sent("llm:retrying", error=event.text, context="model request", turn=event.turn)]

    def _feedback(self, event: Event) -> list[Sent]:
        return [self.sent("llm:feedback", content=event.text, turn=event.turn)]

    def _resumed(self, event: Event) -> list[Sent]:
        return [self.sent("run:resumed", turn=event.turn)]

    def _paused(self, event: Event) -> list[Sent]:
        asked = [] if event.reply is None else [approval.id for approval in event.reply.approvals]
        return [self.sent("run:waiting", turn=event.turn, approvalIds=asked)]

    def _state(self, event: Event) -> list[Sent]:
        return [self.sent("session:state-changed", turn=event.turn)]

    def _cleared(self, _event: Event) -> list[Sent]:
        return [self.sent("context:cleared")]

    def _reset(self, _event: Event) -> list[Sent]:
        self._asked.clear()
        return [self.sent("session:reset")]

    def _deleted(self, _event: Event) -> list[Sent]:
        return [self.sent("session:deleted")]

    _makers: ClassVar[dict[EventKind, Callable[[Translator, Event], list[Sent]]]] = {
        EventKind.TURN_OPENED: _opened,
        EventKind.TEXT: _text,
        EventKind.MESSAGE: _message,
        EventKind.TOOL_RESULT: _result,
        EventKind.STEERED: _steered,
        EventKind.FEEDBACK: _feedback,
        EventKind.TURN_RESUMED: _resumed,
        EventKind.STATE_CHANGED: _state,
        EventKind.TURN_ENDED: _ended,
        EventKind.CONTEXT_CLEARED: _cleared,
        EventKind.SESSION_RESET: _reset,
        EventKind.TEXT_DROPPED: _dropped,
        EventKind.MODEL_RETRY: _retried,
        EventKind.TURN_WAITING: _paused,
        EventKind.SESSION_DELETED: _deleted,
    }


def _finish(event: Event) -> str:
    if event.status is TurnStatus.COMPLETED:
        return shapes.finish_reason(event.reply.finish_reason if event.reply is not None else "")
    return {TurnStatus.FAILED: "error", TurnStatus.CANCELLED: "cancelled"}.get(event.status, "other")  # type: ignore[arg-type]


def _used(event: Event) -> dict[str, Any]:
    if event.reply is None:
        return {}
    used = shapes.total(event.reply.usage)
    told: dict[str, Any] = {"tokenUsage": shapes.tokens(used).model_dump(by_alias=True)}
    if (model := shapes.model_of(event.reply.usage)) is not None:
        told["model"] = model
    return told | ({} if used.cost is None else {"estimatedCost": float(used.cost)})
