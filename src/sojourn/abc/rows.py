"""The words that cross the seam between the core and a store: rows, what is asked, what is answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sojourn.records import (
    ApprovalStatus,
    Direction,
    Effect,
    EffectStatus,
    EntryKind,
    InputKind,
    Remember,
    Role,
    SessionOrder,
    SessionStatus,
    TurnStatus,
)


@dataclass(slots=True)
class Entry:
    """One line of a session's log; never changed once written."""

    seq: int
    kind: EntryKind
    turn: int
    #: JSON; its shape belongs to whoever wrote it: the core, or an engine's format that it names.
    body: str
    #: What was said, kept beside the body so that it is stored once, read cheaply and found by search; "" if nothing.
    text: str = ""
    created: int = 0

    @property
    def size(self) -> int:
        """How many characters it holds."""
        return len(self.body) + len(self.text)


@dataclass(slots=True)
class HitRow:
    """Where a search found its words: in a message, or in a session's title."""

    #: The session's id.
    session: str
    #: The message without its body, its text cut around what matched where it is long; None: it is the title.
    entry: Entry | None
    #: The words that matched first, as they stand in the text; "" if they come too late in a very long one.
    matched: str
    #: A piece of the text around them.
    context: str
    #: The message's place among those of its session; None where it would have to be counted for long.
    index: int | None = None


@dataclass(slots=True)
class Hits:
    """Some messages that a search found, newest first."""

    hits: Sequence[HitRow]
    #: How many there are in all, counted up to a bound.
    total: int
    exact: bool
    #: The cursor of what follows, None at the end.
    next: str | None


@dataclass(slots=True)
class SessionHitRow:
    """A session that a search found, in how many messages (and its title), and where first."""

    session: SessionRow
    count: int
    first: HitRow


@dataclass(slots=True)
class SessionHits:
    """Some sessions that a search found, those with most matches first."""

    hits: Sequence[SessionHitRow]
    #: How many there are in all, where not too many messages were found to look at all of them.
    total: int
    exact: bool


@dataclass(slots=True)
class SessionRow:
    """A session's row. `key` is internal and never shown; times are milliseconds since 1970."""

    key: int
    user: str
    id: str
    title: str | None
    created: int
    active: int
    messages: int
    parent: str | None
    status: SessionStatus
    #: JSON: model -> usage.
    usage: str
    owner: int | None
    fence: int
    #: The last number in the log; the log is gapless from `first` to here.
    version: int
    first: int
    #: The last turn's number.
    turns: int
    #: The turn that runs, waits, is held, or goes on next; None where there is none.
    current: int | None
    #: Inputs in line.
    queued: int
    #: Inputs held back.
    held: int
    #: Inputs in line that are said into the current turn.
    steers: int = 0
    #: How often its settings were changed.
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of a user's sessions are listed, and in which order: those that all of it is true of."""

    #: The title, or one of the messages, has all its words, the last one as a prefix; None or blank: whatever they say.
    query: str | None = None
    #: They do one of these.
    status: frozenset[SessionStatus] = frozenset(SessionStatus)
    #: The id of the session that they were forked from.
    parent: str | None = None
    #: Milliseconds since 1970: since <= last activity < before.
    active_since: int | None = None
    active_before: int | None = None
    order: SessionOrder = SessionOrder.ACTIVITY
    direction: Direction = Direction.DESCENDING


#: All of them, newest activity first.
EVERY_SESSION = Wanted()


@dataclass(slots=True)
class TurnRow:
    """A turn's row."""

    turn: int
    status: TurnStatus
    attempts: int
    key: str | None
    digest: str | None
    accepted: int
    started: int | None
    ended: int | None
    reason: str | None
    #: JSON: model -> usage.
    usage: str
    #: Log numbers of the entries that opened and ended it.
    opened_seq: int | None
    ended_seq: int | None
    cancel_requested: bool


@dataclass(slots=True)
class InputRow:
    """An input in line: the body and text that its log entry will have."""

    position: int
    turn: int
    body: str
    text: str
    held: bool
    kind: InputKind = InputKind.MESSAGE
    accepted: int = 0


@dataclass(slots=True)
class Runnable:
    """A session with work that no live node owns."""

    user: str
    id: str


@dataclass(slots=True)
class ApprovalRow:
    """A question's row; times are milliseconds since 1970."""

    id: str
    user: str
    #: The session's id.
    session: str
    turn: int
    #: The call's place in the log: the response's number, and the call's index in it.
    seq: int
    index: int
    tool: str
    #: JSON, as the model wrote it.
    arguments: str
    #: A digest of the arguments that does not depend on how they are written.
    digest: str
    status: ApprovalStatus
    asked: int
    expires: int | None = None
    decided: int | None = None
    by: str | None = None
    reason: str | None = None
    #: JSON: what the person changed the arguments to.
    changed: str | None = None


@dataclass(slots=True)
class RememberedRow:
    """A yes that holds for more than one call."""

    id: str
    user: str
    #: The session's id; None: in all sessions of the user.
    session: str | None
    tool: str
    #: JSON and its digest; None: whatever the arguments are.
    arguments: str | None
    digest: str | None
    since: int
    by: str


@dataclass(slots=True)
class NewApproval:
    """A question that a turn stops for."""

    id: str
    seq: int
    index: int
    tool: str
    arguments: str
    digest: str
    expires: int | None = None


@dataclass(slots=True)
class Verdict:
    """What a person decided."""

    status: ApprovalStatus  # approved or denied
    by: str
    now: int
    reason: str | None = None
    changed: str | None = None
    remember: Remember | None = None
    #: The id of what is remembered.
    remembered: str = ""
    #: Whether it is remembered only for as long as this node lives.
    fleeting: bool = False


@dataclass(slots=True)
class Decided:
    """The answer to `decide`: every question that was decided by it, the one that was asked about first."""

    approvals: Sequence[ApprovalRow]
    #: Sessions whose last open question that was; their turns are in line again.
    runnable: Sequence[Runnable]
    #: Whether it had been decided in the same way before: then nothing was changed.
    again: bool = False


@dataclass(slots=True)
class NewInput:
    """Input to accept."""

    user: str
    id: str
    body: str
    text: str
    now: int
    #: Idempotency key, and a digest of the content to know it again by.
    key: str | None = None
    digest: str | None = None
    #: For a session that has none yet.
    title: str | None = None
    #: Create the session if there is none.
    create: bool = True
    #: Raise SessionBusy instead of queueing.
    reject: bool = False
    kind: InputKind = InputKind.MESSAGE
    #: Raise InboxFull where so many inputs are in line or held already.
    limit: int | None = None


@dataclass(slots=True)
class Claim:
    """Says that the caller holds a place in memory for the session and knows the log of `key` up to `version`."""

    #: The key of the row that was loaded; None where there was none.
    key: int | None = None
    version: int = 0


class Acceptance(StrEnum):
    """What became of an input."""

    OPENED = "opened"  # it runs, and the caller owns the session
    QUEUED = "queued"  # it is in line
    ATTACHED = "attached"  # its key is known: this is the turn it began
    STALE = "stale"  # nothing is stored: the caller's copy is too far behind; load and ask again


#: A copy that lacks more entries than this is loaded anew rather than brought up to date inside a write.
MAX_TAIL = 256


@dataclass(slots=True)
class Accepted:
    """The answer to `accept`."""

    outcome: Acceptance
    session: SessionRow
    turn: TurnRow
    #: Of OPENED: the entries after the claim's version, the one that opened the turn last.
    tail: Sequence[Entry] = ()
    #: Of OPENED: calls of earlier turns that have no result; the owner closes them before the model is asked.
    open_calls: Sequence[Effect] = ()
    #: Whether the session was created by this.
    created: bool = False
    #: Whether runnable input waits and no live node owns the session.
    orphaned: bool = False
    #: Of QUEUED: its place in line, and since when.
    position: int = 0
    since: int = 0


@dataclass(slots=True)
class Acquired:
    """A session that the caller owns now, and the turn that it has to run."""

    session: SessionRow
    turn: TurnRow
    #: The entries after the version that the caller said it knows.
    tail: Sequence[Entry]
    #: Whether the turn ran before: its input is in the history already.
    continued: bool
    #: Whether its last owner died while it ran (an orderly hand-over or a resume is no interruption).
    interrupted: bool
    #: Calls without a result, of this turn or earlier ones.
    open_calls: Sequence[Effect] = ()
    #: How the questions were decided that this turn stopped for, in the order of their calls.
    decided: Sequence[ApprovalRow] = ()


class StaleClaim(Exception):
    """The caller's copy is of another session, or too far behind; load it and ask again."""


@dataclass(slots=True)
class NewCall:
    """A tool call to enter in the ledger: as started, or as intended where a person is asked first."""

    seq: int
    index: int
    tool: str
    digest: str
    status: EffectStatus = EffectStatus.STARTED


@dataclass(slots=True)
class TurnEnd:
    """How a turn leaves `running`; one of completed, failed, cancelled, held, queued (handed over) or waiting.

    A turn that would wait, and whose questions are all decided already by what is remembered, goes on instead.
    """

    status: TurnStatus
    reason: str | None = None
    #: JSON: model -> usage of the whole turn.
    usage: str = "{}"


@dataclass(slots=True)
class Append:
    """What the owner of a session writes in one piece."""

    session: SessionRow
    fence: int
    #: The version that the writer knows; entries are numbered from the next.
    version: int
    turn: int
    now: int
    entries: Sequence[Entry]
    started: Sequence[NewCall] = ()
    #: Calls in the ledger with their new status.
    finished: Sequence[Effect] = ()
    #: Questions that the turn waits for; with an end that is waiting, in the order of their entries.
    asked: Sequence[NewApproval] = ()
    #: Places in line of what was said into the turn and is in the entries now.
    taken: Sequence[int] = ()
    #: JSON: the session's usage from now on; None leaves it.
    usage: str | None = None
    #: JSON: the turn's usage from now on (an end has its own); None leaves it.
    turn_usage: str | None = None
    #: Set the turn's attempts.
    attempts: int | None = None
    end: TurnEnd | None = None


@dataclass(slots=True)
class Appended:
    """The answer to `append`."""

    version: int
    #: Whether somebody asked to cancel the turn.
    cancel_requested: bool = False
    #: How many inputs are in line that are to be said into the turn.
    steers: int = 0
    #: The turn would have completed, but something is still to be said into it; or what was taken is not in line any
    #: more; or people would be asked for a turn that is to be cancelled. Nothing of the write is stored.
    refused: bool = False
    #: After an end: what the owner runs next, opened in the same commit; None means that the session was released.
    next: Acquired | None = None
    #: After an end that is waiting: the questions as they stand.
    asked: Sequence[ApprovalRow] = ()
    #: Entries that the store wrote behind those of the write; where there is a `next`, it has them.
    tail: Sequence[Entry] = ()


@dataclass(slots=True)
class Cancelled:
    """The answer to `request_cancel`: what was cancelled at once, and the running turn that will hear of it."""

    session: SessionRow
    turns: Sequence[int]
    running: int | None


def turn_ended_body(
    status: TurnStatus, reason: str | None = None, *, usage: str = "{}", finish: str = "", output: str | None = None
) -> str:
    """The body of a TURN_ENDED entry; `usage` and `output` are JSON already."""
    why = "null" if reason is None else json.dumps(reason)
    how = json.dumps(finish) if finish else '""'
    told = f'{{"status":"{status}","reason":{why},"finish_reason":{how},"usage":{usage}'
    return f'{told},"output":{output}}}' if output is not None else told + "}"


def coalesced(inputs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Several inputs as one, each a (body, text); one alone stays as it is."""
    if len(inputs) == 1:
        return inputs[0]
    text = "\n\n".join([_SEVERAL, *(f"- {text}" for _, text in inputs)])
    if all(body == "{}" for body, _ in inputs):
        return "{}", text
    others = [part for body, _ in inputs for part in json.loads(body).get("content", ()) if part.get("type") != "text"]
    return json.dumps({"content": [{"type": "text", "text": text}, *others]}), text


_SEVERAL = "Additional user input received:"


def approval_asked_body(new: NewApproval, now: int) -> str:
    """The body of an APPROVAL_ASKED entry."""
    return _approval_body(
        ApprovalRow(
            new.id, "", "", 0, new.seq, new.index, new.tool, new.arguments, new.digest, ApprovalStatus.PENDING, now,
            new.expires,
        )
    )  # fmt: skip


def approval_decided_body(approval: ApprovalRow) -> str:
    """The body of an APPROVAL_DECIDED entry."""
    return _approval_body(approval)


def _approval_body(row: ApprovalRow) -> str:
    kept = ("id", "seq", "index", "tool", "arguments", "digest", "status", "asked", "expires")
    body = {name: getattr(row, name) for name in kept}
    if row.status is not ApprovalStatus.PENDING:
        body |= {name: getattr(row, name) for name in ("decided", "by", "reason", "changed")}
    return json.dumps(body, separators=(",", ":"))


#: The entries whose text is found by search, and who said it.
SEARCHED = MappingProxyType(
    {EntryKind.TURN_OPENED: Role.USER, EntryKind.STEERED: Role.USER, EntryKind.MESSAGE: Role.ASSISTANT}
)

#: The entries behind which a session can be cut off: no turn is open there.
CUT_KINDS = frozenset({EntryKind.TURN_ENDED, EntryKind.CONTEXT_CLEARED})

#: The entries that a person sees as messages.
MESSAGE_KINDS = frozenset({EntryKind.TURN_OPENED, EntryKind.MESSAGE, EntryKind.TOOL_RESULT, EntryKind.STEERED})
