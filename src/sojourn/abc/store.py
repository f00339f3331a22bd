"""What the core asks of a store: to keep sessions and to decide, in single atomic operations, who may write one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sojourn.records import Effect, EntryKind, SessionStatus, TurnStatus


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


class StaleClaim(Exception):
    """The caller's copy is of another session, or too far behind; load it and ask again."""


@dataclass(slots=True)
class NewCall:
    """A tool call to enter in the ledger as started."""

    seq: int
    index: int
    tool: str
    digest: str


@dataclass(slots=True)
class TurnEnd:
    """How a turn leaves `running`; one of completed, failed, cancelled, held, or queued (handed over)."""

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
    finished: Sequence[Effect] = ()
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
    #: After an end: the next input, opened in the same commit; None means that the session was released.
    next: Acquired | None = None


@dataclass(slots=True)
class Cancelled:
    """The answer to `request_cancel`: what was cancelled at once, and the running turn that will hear of it."""

    session: SessionRow
    turns: Sequence[int]
    running: int | None


@dataclass(slots=True)
class Runnable:
    """A session with work that no live node owns."""

    user: str
    id: str


def turn_ended_body(
    status: TurnStatus, reason: str | None = None, *, usage: str = "{}", finish: str = "", output: str | None = None
) -> str:
    """The body of a TURN_ENDED entry; `usage` and `output` are JSON already."""
    why = "null" if reason is None else json.dumps(reason)
    how = json.dumps(finish) if finish else '""'
    told = f'{{"status":"{status}","reason":{why},"finish_reason":{how},"usage":{usage}'
    return f'{told},"output":{output}}}' if output is not None else told + "}"


#: The entries that a person sees as messages.
MESSAGE_KINDS = frozenset({EntryKind.TURN_OPENED, EntryKind.MESSAGE, EntryKind.TOOL_RESULT})


class SessionStore(ABC):
    """Keeps sessions.

    Every operation is atomic: it happens whole or not at all, also when the process is killed in it, and when it has
    returned it is durable. Operations on one session are serialised. Every operation that takes `user` and `id` sees
    nothing of other users: another user's session raises SessionNotFound like a missing one.

    Ownership: an owner is a node, known by the number that `open` gave it. A session is taken by `accept` (OPENED) or
    `acquire`, each raising its fence by one, and only while its owner is nobody or a dead node. It is given back by the
    `append` that ends its work. An `append` whose fence or version is not the stored one raises OwnershipLost and
    writes nothing.

    Cost: no operation reads or writes more than its own result; none grows with the number of stored sessions or with
    the length of a history, except where it returns one.
    """

    # -- life

    @abstractmethod
    async def open(self) -> int:
        """Open the storage, bring its format up to date, join as a node; returns the node's number.

        Raises StorageUnavailable, StorageReadOnly, StorageCorrupt, StorageForeign, StorageTooNew.
        """

    @abstractmethod
    async def close(self) -> None:
        """Leave and close; what was acknowledged stays. Calling it twice is harmless."""

    @abstractmethod
    def foreign_changes(self) -> int:
        """A number that differs from the last one when another node may have written; cheap."""

    # -- sessions

    @abstractmethod
    async def create(self, user: str, id: str, *, title: str | None, now: int) -> SessionRow:
        """Store an empty session; raises SessionExists."""

    @abstractmethod
    async def get(self, user: str, id: str) -> SessionRow:
        """The session's row; raises SessionNotFound."""

    @abstractmethod
    async def page(
        self, user: str, *, query: str | None = None, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        """Sessions of a user, newest activity first, and the cursor of the next page or None.

        `query` keeps those whose title, or one of whose messages, has all its words (the last as a prefix). A cursor
        stays valid while sessions come and go; raises InvalidInput for one that no page gave.
        """

    @abstractmethod
    async def count(self) -> int:
        """How many sessions are stored, of all users."""

    @abstractmethod
    async def rename(self, user: str, id: str, title: str, now: int) -> SessionRow:
        """Set the title; raises SessionNotFound."""

    @abstractmethod
    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        """Forget history, queue, turns and keys; keep id, title, creation and usage. Raises the fence, frees the owner.

        The log goes on behind its last number with one SESSION_RESET entry. Raises SessionNotFound.
        """

    @abstractmethod
    async def delete(self, user: str, id: str) -> bool:
        """Make the session unreachable and its owner's writes fail, at once; False if there is none.

        The id can be used again at once. `purge` removes what is left behind.
        """

    @abstractmethod
    async def purge(self, limit: int = 200) -> bool:
        """Remove at most about `limit` rows of what delete and reset left behind; True while there is more.

        When it has answered False, nothing of what was deleted is left in the storage, unless another process still
        reads an older state of it; then a later call does the rest.
        """

    @abstractmethod
    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        """Copy the log up to the end of a finished turn into a new session.

        `at` is the number of that turn's last entry or last message; None means the last finished turn. Raises
        SessionNotFound, SessionExists, ForkPointInvalid. Long logs are copied in pieces; the new session shows when it
        is whole.
        """

    @abstractmethod
    async def insert(self, row: SessionRow, entries: Sequence[Entry], turns: Sequence[TurnRow]) -> SessionRow:
        """Store a whole session that was exported at rest: its turns are finished, and nothing of it is in line.

        Its key, owner, fence and status are given anew, and it has no parent. Raises SessionExists.
        """

    # -- turns

    @abstractmethod
    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        """Make an input durable and, where nothing is before it and `claim` is given, open its turn in the same commit.

        In this order: the session is found or created (SessionNotFound); a known key answers ATTACHED with its turn, or
        raises IdempotencyConflict for another digest, and puts a held turn back in line (where it waits as long as
        another one before it is held); `reject` raises SessionBusy if a turn runs or input is in line; a held current
        turn is cancelled as superseded; the input is opened or queued. A claim on a session that was deleted since does
        not hinder: the session is created, and the tail is its whole log.
        """

    @abstractmethod
    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        """Own the session and open or continue its next turn; None if nothing is runnable or a live node owns it.

        Raises SessionNotFound, and StaleClaim (nothing changed) where the claim's copy is too far behind.
        """

    @abstractmethod
    async def append(self, write: Append) -> Appended:
        """The owner's write; raises OwnershipLost if fence, owner, version or the running turn are not as it says."""

    @abstractmethod
    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        """Cancel a turn: in line or held at once, running by a mark that its owner hears of.

        `turn` None means the current one, or else the first in line. `clear` cancels everything in line and held as
        well. A turn that is cancelled at once keeps its usage. Raises SessionNotFound, TurnNotFound for a turn that
        never was; a finished one cancels nothing.
        """

    @abstractmethod
    async def resume(self, user: str, id: str) -> Sequence[int]:
        """Put held turns back in line, in their order; returns them. Raises SessionNotFound."""

    @abstractmethod
    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        """Cancel held turns, or one of them; returns those. Raises SessionNotFound, TurnNotFound."""

    @abstractmethod
    async def runnable(self, limit: int = 20) -> Sequence[Runnable]:
        """Sessions with runnable input whose owner is nobody or dead, longest waiting first."""

    @abstractmethod
    async def cancels(self) -> Sequence[tuple[int, int]]:
        """(session key, turn) of running turns of this node that somebody asked to cancel."""

    # -- reads

    @abstractmethod
    async def entries(
        self,
        user: str,
        id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        newest: bool = False,
        kinds: frozenset[EntryKind] | None = None,
    ) -> Sequence[Entry]:
        """Entries with after < seq < before in order; with `limit` the first of them, or the last where `newest`.

        Raises SessionNotFound.
        """

    @abstractmethod
    async def load(self, user: str, id: str) -> tuple[SessionRow, Sequence[Entry]] | None:
        """A session's row and whole log as of one moment; None if there is none."""

    @abstractmethod
    async def turn(self, user: str, id: str, turn: int) -> TurnRow:
        """One turn; raises SessionNotFound, TurnNotFound."""

    @abstractmethod
    async def turns(self, user: str, id: str) -> Sequence[TurnRow]:
        """All turns in order; raises SessionNotFound."""

    @abstractmethod
    async def inbox(self, user: str, id: str) -> Sequence[InputRow]:
        """Input in line and held, in order; raises SessionNotFound."""

    @abstractmethod
    async def effects(self, user: str, id: str) -> Sequence[Effect]:
        """The ledger of tool calls in order; raises SessionNotFound."""
