"""What the core asks of a store: to keep sessions and to decide, in single atomic operations, who may write one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sojourn.abc.rows import (
    EVERY_SESSION,
    Accepted,
    Acquired,
    Append,
    Appended,
    ApprovalRow,
    Cancelled,
    Claim,
    Decided,
    Entry,
    Hits,
    InputRow,
    NewInput,
    RememberedRow,
    Runnable,
    SessionHits,
    SessionRow,
    TurnRow,
    Verdict,
    Wanted,
)
from sojourn.records import Effect, EntryKind, Role


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
        self, user: str, wanted: Wanted = EVERY_SESSION, *, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        """Sessions of a user in the order that is wanted, and the cursor of the next page or None.

        Of one moment, the session that was stored last is the newest. A cursor stays valid while sessions come and go:
        pages put together have each session once, unless what they are ordered by has changed meanwhile. Raises
        InvalidInput for a cursor that no page of this order and direction gave.

        A page costs what it returns, and besides: whatever a query finds, the forks of a parent, the sessions in line
        and running of all users are looked through; so are the waiting and held ones of the user, and those within
        limits of activity, in an order other than of activity; and idle ones alone are found among all others.
        """

    @abstractmethod
    async def search(
        self,
        user: str,
        query: str,
        *,
        id: str | None = None,
        roles: frozenset[Role] | None = None,
        limit: int = 20,
        after: str | None = None,
        offset: int = 0,
    ) -> Hits:
        """What users and the assistant said in all words of the query (as in `page`), the last stored first.

        Of one session (SessionNotFound), and of some roles only: nothing of tools is found. `offset` are passed over,
        behind the cursor if there is one. Nothing is found of what was reset or deleted. A cursor stays valid while
        messages come and go; raises InvalidInput for one that no search gave.
        """

    @abstractmethod
    async def search_sessions(self, user: str, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        """Sessions that say all words of the query in a message or the title: most matches first, then last activity.

        Where very many messages match only the newest of them are counted.
        """

    @abstractmethod
    async def count(self) -> int:
        """How many sessions are stored, of all users."""

    @abstractmethod
    async def rename(
        self, user: str, id: str, title: str, now: int, *, unless_changed: SessionRow | None = None
    ) -> SessionRow:
        """Set the title; raises SessionNotFound, and SessionChanged where the row is not the one that is given."""

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

        `at` is the number of that turn's last entry or last message; None means the last finished turn. A
        CONTEXT_CLEARED entry behind a turn is an end as well, so what was cleared is so in the copy. Results that calls
        of the last copied turn got only in a later one (those behind its end, up to the next response) come before its
        end in the copy. Raises
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
        another one before it is held); `reject` raises SessionBusy if a turn runs or input is in line; a current turn
        that is held or waits for a person is cancelled as superseded, and its open questions with it; the input is
        opened or queued. A claim on a session that was deleted since does not hinder: the session is created, and the
        tail is its whole log.

        A steer to a session whose current turn is not held is QUEUED for that turn, without a turn of its own, and a
        follow-up to one that is busy or waits is queued behind everything, supersedes nothing, and joins the turn of a
        follow-up that is last in line; to any other session both are messages. Only messages have keys. Raises
        InboxFull.
        """

    @abstractmethod
    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        """Own the session and open or continue its next turn; None if nothing is runnable or a live node owns it.

        Raises SessionNotFound, and StaleClaim (nothing changed) where the claim's copy is too far behind.
        """

    @abstractmethod
    async def append(self, write: Append) -> Appended:
        """The owner's write; raises OwnershipLost if fence, owner, version or the running turn are not as it says.

        A turn does not complete while something is in line to be said into it, and nothing is taken that has been
        removed since (`refused`). Where it ends as failed, cancelled or held, what is to be said into it is held, and
        so are follow-ups.
        """

    @abstractmethod
    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        """Cancel a turn: in line or held at once, running by a mark that its owner hears of.

        `turn` None means the current one, or else the first in line. `clear` cancels everything in line and held as
        well. A turn that is cancelled at once keeps its usage. Raises SessionNotFound, TurnNotFound for a turn that
        never was; a finished one cancels nothing.
        """

    @abstractmethod
    async def resume(self, user: str, id: str, now: int) -> Sequence[int]:
        """Put held turns back in line, in their order; returns them. Raises SessionNotFound.

        What was to be said into a turn that has ended becomes a follow-up, in line before what is queued already only
        by its place.
        """

    @abstractmethod
    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        """Cancel held turns, or one of them; returns those. Raises SessionNotFound, TurnNotFound.

        Without a `turn`, what was to be said into turns that have ended is removed as well.
        """

    @abstractmethod
    async def remove(self, user: str, id: str, position: int, now: int) -> int | None:
        """Remove an input that is in line or held; returns its turn, or None if there is none at this place.

        A turn of which nothing is left is cancelled. Raises SessionNotFound.
        """

    @abstractmethod
    async def change_state(self, user: str, id: str, body: str, now: int) -> SessionRow:
        """Log a STATE_CHANGED entry with this body where no turn runs; raises SessionNotFound, SessionBusy."""

    @abstractmethod
    async def clear_context(self, user: str, id: str, now: int) -> bool:
        """Log a CONTEXT_CLEARED entry between two turns; False where there are no messages, or the last entry is one.

        It is activity either way. Raises SessionNotFound, and SessionBusy where a turn runs, waits for people, is held
        in its middle or goes on next, or anything is in line: those need what stands before. Input that is held and was
        never begun stays held.
        """

    @abstractmethod
    async def settings(self, user: str, id: str) -> tuple[int, str]:
        """The session's own settings: their revision (0: never set) and their JSON. Raises SessionNotFound."""

    @abstractmethod
    async def change_settings(self, user: str, id: str, body: str, revision: int, now: int) -> SessionRow | None:
        """Replace the settings where they are of this revision, which rises; None where they are of another.

        They do not disturb a running turn, are copied by `fork` and kept by `reset`. Raises SessionNotFound.
        """

    # -- questions to people

    @abstractmethod
    async def decide(self, user: str, id: str, approval: str, verdict: Verdict) -> Decided:
        """Answer a question; whoever is first decides it, and calls that wait and match what is remembered with it.

        The last open question of a turn puts that turn in line again, before everything else in its session. One whose
        time has run out is expired instead. The same verdict again changes nothing. `id` is the session's. Raises
        SessionNotFound, ApprovalNotFound, ApprovalDecided.
        """

    @abstractmethod
    async def expire(self, now: int, limit: int = 100) -> Sequence[Runnable]:
        """Expire questions whose time has run out; returns the sessions whose turns are in line again because of it."""

    @abstractmethod
    async def approvals(
        self, user: str, id: str | None = None, *, pending: bool = True, limit: int = 100
    ) -> Sequence[ApprovalRow]:
        """Questions, oldest first: of one session (SessionNotFound) or of all; the open ones, or all of them."""

    @abstractmethod
    async def approval(self, user: str, approval: str) -> ApprovalRow:
        """One question, whatever its session; raises ApprovalNotFound."""

    @abstractmethod
    async def remembered(self, user: str, id: str | None = None) -> Sequence[RememberedRow]:
        """What is remembered for the user, oldest first: of one session (SessionNotFound), or everything."""

    @abstractmethod
    async def forget(self, user: str, remembered: str) -> bool:
        """Stop remembering; False if there is no such thing."""

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
        size: int | None = None,
    ) -> Sequence[Entry]:
        """Entries with after < seq < before in order; with `limit` the first of them, or the last where `newest`.

        With `size` no more are read behind the one with which bodies and texts have so many characters together.

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
