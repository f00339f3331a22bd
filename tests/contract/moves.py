"""What the suite's tests do again and again: say something, be the owner of a session, write as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sojourn.abc import (
    MESSAGE_KINDS,
    Acceptance,
    Accepted,
    Acquired,
    Append,
    Appended,
    ApprovalRow,
    Claim,
    Entry,
    InputRow,
    NewApproval,
    NewCall,
    NewInput,
    SessionRow,
    SessionStore,
    TurnEnd,
    Verdict,
    Wanted,
)
from sojourn.records import ApprovalStatus, EffectStatus, EntryKind, InputKind, TurnStatus
from sojourn.stores.common import status_of

ANN, BOB = "ann", "bob"
NOW = 1_000

COMPLETED = TurnEnd(TurnStatus.COMPLETED)
HANDED_OVER = TurnEnd(TurnStatus.QUEUED)
HELD = TurnEnd(TurnStatus.HELD)
WAITING = TurnEnd(TurnStatus.WAITING)


def said(text: str, id: str = "s", *, user: str = ANN, now: int = NOW, key: str | None = None, **more: Any) -> NewInput:
    """An input; with a key, its digest stands for its text."""
    digest = None if key is None else f"digest of {text}"
    return NewInput(user=user, id=id, body=f'{{"said":"{text}"}}', text=text, now=now, key=key, digest=digest, **more)


def entry(text: str = "", kind: EntryKind = EntryKind.MESSAGE, *, turn: int = 0) -> Entry:
    return Entry(0, kind, turn, f'{{"body":"{text}"}}', text)


def call(owner: Owner, index: int = 0, *, tool: str = "tool") -> NewCall:
    """A call of the response that the owner writes next."""
    return NewCall(owner.version + 1, index, tool, "digest")


@dataclass
class Owner:
    """The node that owns a session, and what it knows of it."""

    store: SessionStore
    session: SessionRow
    turn: int
    fence: int = field(init=False)
    version: int = field(init=False)

    def __post_init__(self) -> None:
        self.fence, self.version = self.session.fence, self.session.version

    def draft(self, *entries: Entry | str, end: TurnEnd | None = None, now: int = NOW, **more: Any) -> Append:
        """The write as it would be sent; strings are messages, and an end brings its own entry."""
        written = [entry(e, turn=self.turn) if isinstance(e, str) else e for e in entries]
        if end is not None and end.status.final:
            written.append(entry(end.reason or "", EntryKind.TURN_ENDED, turn=self.turn))
        for e in written:
            e.turn = self.turn
        values = {"session": self.session, "fence": self.fence, "version": self.version, "turn": self.turn, **more}
        return Append(**values, now=now, entries=written, end=end)

    async def write(self, *entries: Entry | str, end: TurnEnd | None = None, now: int = NOW, **more: Any) -> Appended:
        answer = await self.store.append(self.draft(*entries, end=end, now=now, **more))
        self.version = answer.version
        if answer.next is not None:
            self.session, self.turn = answer.next.session, answer.next.turn.turn
            self.fence, self.version = self.session.fence, self.session.version
        return answer

    @property
    def claim(self) -> Claim:
        return Claim(self.session.key, self.version)


async def claim_of(store: SessionStore, id: str = "s", user: str = ANN) -> Claim:
    """The claim of somebody who has just loaded the session."""
    loaded = await store.load(user, id)
    return Claim(loaded[0].key, loaded[0].version) if loaded else Claim()


async def opens(store: SessionStore, text: str = "hello", id: str = "s", *, user: str = ANN, **more: Any) -> Owner:
    """Say something in a session where nothing is before it."""
    accepted = await store.accept(said(text, id, user=user, **more), await claim_of(store, id, user))
    assert accepted.outcome is Acceptance.OPENED
    return Owner(store, accepted.session, accepted.turn.turn)


async def queues(store: SessionStore, text: str, id: str = "s", *, user: str = ANN, **more: Any) -> Accepted:
    accepted = await store.accept(said(text, id, user=user, **more), None)
    assert accepted.outcome is Acceptance.QUEUED
    return accepted


async def takes(store: SessionStore, id: str = "s", *, user: str = ANN, now: int = NOW) -> tuple[Owner, Acquired]:
    """Acquire a session that can be."""
    got = await store.acquire(user, id, await claim_of(store, id, user), now)
    assert got is not None
    return Owner(store, got.session, got.turn.turn), got


async def talks(store: SessionStore, *texts: str, id: str = "s", user: str = ANN, now: int = NOW) -> SessionRow:
    """Turns that end well: each text is said and answered with "re: text"."""
    for text in texts:
        owner = await opens(store, text, id, user=user, now=now)
        await owner.write(f"re: {text}", end=COMPLETED, now=now)
    return await store.get(user, id)


async def holds(store: SessionStore, text: str = "hello", *line: str, id: str = "s", **more: Any) -> Owner:
    """A session whose turn was interrupted and is held, with `line` held behind it."""
    owner = await opens(store, text, id, **more)
    for waiting in line:
        await queues(store, waiting, id, key=f"key of {waiting}")
    await owner.write(end=HELD)
    return owner


async def asks(
    owner: Owner,
    *tools: str,
    now: int = NOW,
    expires: int | None = None,
    arguments: str | Sequence[str] = "{}",
    **more: Any,
) -> Appended:
    """The model calls tools that a person is asked about, one index after the other; the turn stops for it."""
    given = [arguments] * len(tools) if isinstance(arguments, str) else arguments
    seq, name = owner.version + 1, f"{owner.session.user}.{owner.session.id}"
    asked = [
        NewApproval(f"{name}.{seq}.{index}", seq, index, tool, given[index], f"digest of {given[index]}", expires)
        for index, tool in enumerate(tools)
    ]
    calls = [NewCall(seq, a.index, a.tool, a.digest, EffectStatus.INTENDED) for a in asked]
    await owner.write("calls", started=calls, now=now)
    entries = [entry(kind=EntryKind.APPROVAL_ASKED) for _ in asked]
    return await owner.write(*entries, asked=asked, now=now, **{"end": WAITING, **more})


async def waits(
    store: SessionStore, *tools: str, id: str = "s", user: str = ANN, now: int = NOW, **more: Any
) -> list[ApprovalRow]:
    """A session whose first answer in a new turn calls tools that a person is asked about."""
    return list((await asks(await opens(store, id=id, user=user, now=now), *tools, now=now, **more)).asked)


def yes(now: int = NOW + 10, **more: Any) -> Verdict:
    return Verdict(**{"status": ApprovalStatus.APPROVED, "by": "mia", "now": now, **more})


def no(now: int = NOW + 10, **more: Any) -> Verdict:
    return yes(now, status=ApprovalStatus.DENIED, **more)


async def answers(store: SessionStore, id: str | None = "s", user: str = ANN) -> list[str]:
    """How each question of a session stands, or of all of the user."""
    return [asked.status.value for asked in await store.approvals(user, id, pending=False)]


async def texts(store: SessionStore, id: str = "s", user: str = ANN) -> list[str]:
    return [e.text for e in await store.entries(user, id)]


async def seen(store: SessionStore, id: str = "s", user: str = ANN) -> tuple[object, ...]:
    """Everything of a session that can be seen."""
    reads = (store.turns, store.inbox, store.effects, store.load, store.remembered)
    return (*[await read(user, id) for read in reads], await store.approvals(user, id, pending=False))


async def statuses(store: SessionStore, id: str = "s", user: str = ANN) -> list[str]:
    return [turn.status.value for turn in await store.turns(user, id)]


async def listed(
    store: SessionStore, user: str = ANN, *, limit: int = 20, after: str | None = None, **wanted: Any
) -> list[str]:
    """The ids of a page."""
    return [row.id for row in (await store.page(user, Wanted(**wanted), limit=limit, after=after))[0]]


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [e.seq for e in entries]


async def purge(store: SessionStore) -> int:
    """Purge to the end; how many calls it took."""
    for calls in range(1, 1000):
        if not await store.purge():
            return calls
    raise AssertionError("the purge never ends")


async def steers(store: SessionStore, text: str, id: str = "s", *, user: str = ANN, **more: Any) -> Accepted:
    """Say something into the current turn."""
    return await queues(store, text, id, user=user, kind=InputKind.STEER, **more)


async def follows(store: SessionStore, text: str, id: str = "s", *, user: str = ANN, **more: Any) -> Accepted:
    """Say something behind everything."""
    return await queues(store, text, id, user=user, kind=InputKind.FOLLOW_UP, **more)


async def line(store: SessionStore, id: str = "s", user: str = ANN) -> list[tuple[str, str, int]]:
    """What is in line or held, in order: text, kind (in brackets where it is held), turn."""
    inputs = await store.inbox(user, id)
    return [(item.text, f"({item.kind.value})" if item.held else item.kind.value, item.turn) for item in inputs]


async def counts(store: SessionStore, id: str = "s", user: str = ANN) -> tuple[int, int, int]:
    """What the session's row says of its line, (queued, held, steers), found to be so."""
    await is_sound(store, id, user)
    row = await store.get(user, id)
    return row.queued, row.held, row.steers


async def is_sound(store: SessionStore, id: str = "s", user: str = ANN) -> None:
    """The session's row, its turns, its line and its log tell the same story."""
    loaded = await store.load(user, id)
    assert loaded is not None
    (row, log), inputs = loaded, await store.inbox(user, id)
    turns = {turn.turn: turn.status for turn in await store.turns(user, id)}
    check_line(row, turns, inputs)
    assert numbers(log) == list(range(row.first, row.version + 1))
    assert row.messages == sum(e.kind in MESSAGE_KINDS for e in log)
    ended = {e.turn for e in log if e.kind is EntryKind.TURN_ENDED}
    opened = {e.turn for e in log if e.kind is EntryKind.TURN_OPENED}
    assert not opened & {item.turn for item in inputs if item.kind is not InputKind.STEER}
    assert ended == {number for number in opened if number not in turns or turns[number].final}


def check_line(row: SessionRow, turns: Mapping[int, TurnStatus], inputs: Sequence[InputRow]) -> None:
    """Recompute from the line and the turns what the session's row says of them, and what they say of each other."""
    said = [item for item in inputs if item.kind is InputKind.STEER]
    waiting = [item for item in inputs if item.kind is not InputKind.STEER]
    queued, to_say = [i for i in waiting if not i.held], [i for i in said if not i.held]
    held = [item for item in inputs if item.held]
    assert (row.queued, row.held, row.steers) == (len(queued), len(held), len(to_say))
    current = turns[row.current] if row.current is not None else None
    assert row.status is status_of(current, row.queued, row.held)
    assert [item.position for item in inputs] == sorted({item.position for item in inputs})
    for item in waiting:
        assert turns[item.turn] is (TurnStatus.HELD if item.held else TurnStatus.QUEUED)
    assert {item.turn for item in to_say} <= {row.current}
    assert not to_say or current is not TurnStatus.HELD
    assert all(turns[i.turn].final or (i.turn, current) == (row.current, TurnStatus.HELD) for i in said if i.held)
    open_turns = {number for number, status in turns.items() if not status.final}
    assert open_turns == {item.turn for item in waiting} | ({row.current} if row.current is not None else set())
    assert {number for number in open_turns if turns[number] is TurnStatus.RUNNING} <= {row.current}
    assert row.owner is None or current is TurnStatus.RUNNING
