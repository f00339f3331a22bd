"""The frozen records that Sojourn hands out and the enums of their states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from sojourn.errors import InvalidSessionId

#: What a caller says: text, or parts such as {"type": "text", "text": …} and {"type": "image", "image": base64, …}.
Content: TypeAlias = "str | Sequence[Mapping[str, Any]]"

#: The largest message that is accepted, in bytes of its JSON form.
MAX_CONTENT_BYTES = 8 * 1024 * 1024

#: The user of a runtime that knows only one.
LOCAL_USER = "local"

_SESSION_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


def check_session_id(value: object) -> str:
    """The id itself, or InvalidSessionId."""
    if not isinstance(value, str) or not _SESSION_ID.fullmatch(value):
        raise InvalidSessionId(value)
    return value


class SessionStatus(StrEnum):
    """What a session is doing; everything but queued and running is at rest."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"


class SessionOrder(StrEnum):
    """What a list of sessions goes by."""

    ACTIVITY = "activity"  # the time of what happened last in them
    CREATED = "created"
    ID = "id"


class Direction(StrEnum):
    """Which way a list goes."""

    ASCENDING = "asc"  # the oldest or smallest first
    DESCENDING = "desc"


class TurnStatus(StrEnum):
    """Where a turn stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in _FINAL


_FINAL = frozenset({TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED})


class Role(StrEnum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class EntryKind(StrEnum):
    """What an entry of a session's log says."""

    TURN_OPENED = "turn_opened"  # with the user's message
    MESSAGE = "message"  # a response of the model
    TOOL_RESULT = "tool_result"
    STEERED = "steered"  # what a user said into the running turn
    FEEDBACK = "feedback"  # what the engine told the model of its own accord, such as "try again"
    TURN_RESUMED = "turn_resumed"  # a new attempt after an interruption
    APPROVAL_ASKED = "approval_asked"
    APPROVAL_DECIDED = "approval_decided"
    STATE_CHANGED = "state_changed"  # the session's state from here on
    TURN_ENDED = "turn_ended"
    CONTEXT_CLEARED = "context_cleared"  # the model is sent nothing of what stands before
    SESSION_RESET = "session_reset"


class EventKind(StrEnum):
    """What an event tells; all but the last five are entries of the log and durable."""

    TURN_OPENED = "turn_opened"
    MESSAGE = "message"
    TOOL_RESULT = "tool_result"
    STEERED = "steered"
    FEEDBACK = "feedback"
    TURN_RESUMED = "turn_resumed"
    APPROVAL_ASKED = "approval_asked"
    APPROVAL_DECIDED = "approval_decided"
    STATE_CHANGED = "state_changed"
    TURN_ENDED = "turn_ended"
    CONTEXT_CLEARED = "context_cleared"
    SESSION_RESET = "session_reset"
    TEXT = "text"  # a piece of the answer while it is written
    TEXT_DROPPED = "text_dropped"  # the partial text shown so far is void
    MODEL_RETRY = "model_retry"  # a request to the model failed in passing and is made again after a wait
    TURN_WAITING = "turn_waiting"  # the turn stopped for people; it goes on when they have decided
    SESSION_DELETED = "session_deleted"


class EffectStatus(StrEnum):
    """The life of a tool call."""

    INTENDED = "intended"
    STARTED = "started"
    FINISHED = "finished"
    UNKNOWN = "unknown"  # started, and no result ever came


class ApprovalStatus(StrEnum):
    """Where a question stands; everything but pending is final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"  # nobody decided in time, which counts as a denial
    SUPERSEDED = "superseded"  # a later message came instead of a decision
    CANCELLED = "cancelled"  # its turn was


class Remember(StrEnum):
    """For what else a person's yes holds; it is looked at whenever a call would be asked about."""

    SESSION = "session"  # the tool, in this session
    SESSION_EXACT = "session_exact"  # the tool with the same arguments, in this session
    USER = "user"  # the tool, in all sessions of this user
    USER_EXACT = "user_exact"


class InputKind(StrEnum):
    """What an input is to the turn that runs when it comes; to a session at rest each is a message."""

    MESSAGE = "message"  # a turn of its own, after everything that is in line
    STEER = "steer"  # said into the running turn, before the model is asked next
    FOLLOW_UP = "follow_up"  # said after it; several that wait become one turn


class BusyPolicy(StrEnum):
    """What to do with a message for a session that is busy."""

    QUEUE = "queue"
    REJECT = "reject"
    STEER = "steer"  # say it into the running turn, and wait for that
    INTERRUPT = "interrupt"  # cancel the running turn first


class OnInterrupt(StrEnum):
    """What to do with a turn whose process died."""

    RESUME = "resume"
    HOLD = "hold"


class UnloadReason(StrEnum):
    """Why a session left memory."""

    IDLE = "idle"  # its time to live ran out
    ROOM = "room"  # another session needed the place
    REQUESTED = "requested"
    GONE = "gone"  # deleted or reset
    LOST = "lost"  # another process writes it now, or its copy could not be trusted
    CLOSED = "closed"  # the runtime closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and money of some model requests; `cost` is in US dollars, None where no price is known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None

    def __add__(self, other: Usage) -> Usage:
        cost = self.cost if other.cost is None else other.cost if self.cost is None else self.cost + other.cost
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost=cost,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object without the zeros."""
        found = {name: value for name in _COUNTS if (value := getattr(self, name))}
        return found if self.cost is None else {**found, "cost": str(self.cost)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Usage:
        """The inverse of `to_json`."""
        cost = data.get("cost")
        counts = {name: int(data.get(name, 0)) for name in _COUNTS}
        return cls(**counts, cost=None if cost is None else Decimal(cost))


_COUNTS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation as it stands in storage."""

    id: str
    user: str
    title: str | None
    created: datetime
    last_activity: datetime
    #: Messages by users, the assistant and tools, as `history` shows them.
    message_count: int
    #: The id of the session that this one was forked from, while that exists.
    parent: str | None
    status: SessionStatus
    #: What the session has used so far, by model.
    usage: Mapping[str, Usage] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to run a tool; `arguments` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a session's history."""

    #: The place in the session's log: grows, with gaps, never changes.
    seq: int
    turn: int
    role: Role
    text: str
    #: Everything that was said or returned, part by part, where it is more than text.
    parts: Sequence[Mapping[str, Any]] = ()
    tool_calls: Sequence[ToolCall] = ()
    #: Of a tool's message: which call it answers, and how it went.
    tool_call_id: str | None = None
    tool_name: str | None = None
    outcome: str | None = None
    #: Of the assistant: which model wrote it and what that took, where it is known.
    model: str | None = None
    provider: str | None = None
    usage: Usage | None = None
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One user input and all that the agent did for it."""

    turn: int
    status: TurnStatus
    attempts: int
    key: str | None
    accepted: datetime
    started: datetime | None
    ended: datetime | None
    reason: str | None
    usage: Mapping[str, Usage]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedInput:
    """An input that is stored and not yet in the history."""

    #: Its place in line, by which it can be removed.
    position: int
    #: The turn that it will be, or that it is said into.
    turn: int
    kind: InputKind
    content: Content
    held: bool
    accepted: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A tool call's life, keyed by its place in the log."""

    seq: int
    index: int
    tool: str
    status: EffectStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to a person, whether a call may be run."""

    id: str
    session: str
    turn: int
    #: The call's place: the response's `seq` and the call's index in it.
    seq: int
    index: int
    tool: str
    #: JSON text, as the model wrote it.
    arguments: str
    status: ApprovalStatus
    asked: datetime
    #: When it counts as denied; None: never.
    expires: datetime | None
    decided: datetime | None = None
    decided_by: str | None = None
    #: Why it was denied.
    reason: str | None = None
    #: JSON text: what the person changed the arguments to.
    changed_arguments: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """A piece of the system prompt that belongs to one session; pieces go by priority, the lowest first."""

    id: str
    content: str
    priority: int = 45
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A yes that holds for more than one call."""

    id: str
    #: None: in all sessions of the user.
    session: str | None
    tool: str
    #: JSON text; None: whatever the arguments are.
    arguments: str | None
    since: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a turn ended: the text, and the agent's output where it is more than text."""

    text: str
    output: Any
    turn: int
    usage: Mapping[str, Usage]
    finish_reason: str
    #: Approvals that the turn waits for; empty when it is completed.
    approvals: Sequence[Approval] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a session, in order."""

    kind: EventKind
    #: `seq` of a durable event, `seq.attempt.offset` of a piece of text; give it to `watch(after=…)` to go on there.
    id: str
    #: The log number of this event, or of the durable event that it comes after.
    seq: int
    turn: int | None = None
    #: A piece of text, a message's whole text, why a turn ended as it did, or why the model is asked again and when.
    text: str = ""
    message: Message | None = None
    #: Of approval_asked and approval_decided.
    approval: Approval | None = None
    #: Of turn_ended and turn_waiting.
    status: TurnStatus | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some sessions, in the order that was asked for, and where the next page begins."""

    sessions: Sequence[Session]
    #: Pass as `after` to go on in the same order; None at the end.
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """Where a search found its words."""

    #: The session's id.
    session: str
    #: The message, its text cut around what matched where it is long; None: it is the session's title.
    message: Message | None
    #: The words that matched first, as they stand in the text; "" if they come too late in a very long one.
    matched: str
    #: What stands around them, with … where it was cut.
    context: str
    #: The message's place in `history`, from 0; None where too much is before it to be counted.
    index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some messages that a search found, the last stored first."""

    hits: Sequence[SearchHit]
    #: How many there are in all; at least so many where it is not `exact`.
    total: int
    exact: bool
    #: Pass as `after` to go on; None at the end.
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHit:
    """A session that a search found."""

    session: Session
    #: In how many messages; its title counts as one.
    count: int
    #: The first of those messages, or else the title.
    first: SearchHit


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSessions:
    """Some sessions that a search found, those with most matches first, then by last activity."""

    hits: Sequence[SessionHit]
    #: How many there are in all; at least so many where it is not `exact`, because only the newest matches count.
    total: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """How many sessions are where."""

    live: int
    busy: int
    at_rest: int
    #: Callers that wait for a place in memory.
    waiting: int
    stored: int
    #: Sessions brought back from storage since the runtime opened.
    restored: int
    #: Sessions that left memory since the runtime opened, by reason.
    unloaded: Mapping[UnloadReason, int]
    max_sessions: int
    #: Seconds.
    session_ttl: float
