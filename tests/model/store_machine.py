"""Two stores, two nodes each, the same operations: they must answer the same and look the same, keys aside."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from sojourn.abc import (
    EVERY_SESSION,
    MESSAGE_KINDS,
    Accepted,
    Acquired,
    Append,
    Claim,
    Entry,
    HitRow,
    NewCall,
    NewInput,
    SessionRow,
    SessionStore,
    StaleClaim,
    TurnEnd,
    Wanted,
)
from sojourn.errors import SojournError
from sojourn.records import Direction, Effect, EffectStatus, EntryKind, Role, SessionOrder, SessionStatus, TurnStatus
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import check_line

USERS = ("ann", "bob")
IDS = ("a", "b", "c")
NODES = (0, 1)
TEXTS = ("red walrus", "Käse und Straße", "", "walrus, red?", "日本語 ½")
QUERIES = ("walrus", "red wal", "KASE", "strasse", "日本", "1", "?", "title")

users, names, nodes = st.sampled_from(USERS), st.sampled_from(IDS), st.sampled_from(NODES)
texts, bodies = st.sampled_from(TEXTS), st.sampled_from(('{"a":1}', "{}"))
kinds = st.sampled_from([EntryKind.MESSAGE, EntryKind.TOOL_RESULT, EntryKind.FEEDBACK, EntryKind.TURN_RESUMED])
numbers = st.integers(0, 12)
endings = st.sampled_from([
    None, None, None, TurnStatus.COMPLETED, TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED,
    TurnStatus.HELD, TurnStatus.HELD, TurnStatus.QUEUED,
])  # fmt: skip


@dataclass
class Pen:
    """Somebody who owns a session, or did once: its row in either store, and what it believes."""

    node: int
    sessions: tuple[SessionRow, SessionRow]
    fence: int
    version: int
    turn: int
    responses: int = 0


@dataclass
class Copy:
    """What somebody who loaded a session remembers of it: its claim in either store."""

    claims: tuple[Claim, Claim]


Side = int
Operation = Callable[[SessionStore, Side], Awaitable[Any]]


class StoreMachine(RuleBasedStateMachine):
    """Drives a memory store and a SQLite store."""

    pens: Bundle[Pen] = Bundle("pens")
    copies: Bundle[Copy] = Bundle("copies")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="sojourn-model-"))
        self.database = MemoryDatabase()
        self.now = 1_000
        self.fences: dict[int, tuple[int, int]] = {}
        self.stores = [(self.make(0), self.make(1)) for _ in NODES]
        #: What `open` answered.
        self.numbers = [0 for _ in NODES]

    def make(self, side: Side) -> SessionStore:
        if side == 0:
            return MemoryStore(self.database)
        return SqliteStore(str(self.folder / "model.db"), synchronous="OFF", readers=1)

    @initialize()
    def begin(self) -> None:
        for node in NODES:
            self.numbers[node] = self.on(node, lambda store, _: store.open())[0]

    def teardown(self) -> None:
        for node in NODES:
            for store in self.stores[node]:
                self.loop.run_until_complete(store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    # -- the same on both

    def on(self, node: int, operation: Operation) -> tuple[Any, Any]:
        """Do it in both stores; what each answered, after they were found to be the same."""
        answers = [self.loop.run_until_complete(attempt(operation, store, side)) for side, store in self.both(node)]
        assert plain(answers[0]) == plain(answers[1])
        return answers[0], answers[1]

    def both(self, node: int) -> list[tuple[Side, SessionStore]]:
        return list(enumerate(self.stores[node]))

    def tick(self) -> int:
        self.now += 1
        return self.now

    def claims(self, node: int, user: str, id: str) -> tuple[Claim, Claim]:
        first, second = self.on(node, lambda store, _: store.load(user, id))
        return claim(first), claim(second)

    # -- sessions

    @rule(node=nodes, user=users, id=names, title=st.sampled_from([None, "", "A title", "walrus"]))
    def create(self, node: int, user: str, id: str, title: str | None) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.create(user, id, title=title, now=now))

    @rule(node=nodes, user=users, id=names, title=st.sampled_from(["", "A title", "Straße"]), behind=st.booleans())
    def rename(self, node: int, user: str, id: str, title: str, *, behind: bool) -> None:
        now = self.tick() - 50 * behind
        self.on(node, lambda store, _: store.rename(user, id, title, now))

    @rule(node=nodes, user=users, id=names)
    def reset(self, node: int, user: str, id: str) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.reset(user, id, now))

    @rule(node=nodes, user=users, id=names)
    def clear_context(self, node: int, user: str, id: str) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.clear_context(user, id, now))

    @rule(node=nodes, user=users, id=names, body=bodies)
    def change_state(self, node: int, user: str, id: str, body: str) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.change_state(user, id, body, now))

    @rule(node=nodes, user=users, id=names)
    def delete(self, node: int, user: str, id: str) -> None:
        self.on(node, lambda store, _: store.delete(user, id))

    @rule(node=nodes, limit=st.sampled_from([1, 3, 200]))
    def purge(self, node: int, limit: int) -> None:
        for _, store in self.both(node):
            self.loop.run_until_complete(store.purge(limit))

    @rule(node=nodes, user=users, id=names, new=names, at=st.none() | numbers, title=st.sampled_from([None, "walrus"]))
    def fork(self, *, node: int, user: str, id: str, new: str, at: int | None, title: str | None) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.fork(user, id, new, at=at, title=title, now=now))

    @rule(node=nodes, user=users, id=names, heir=users, new=names)
    def export(self, node: int, user: str, id: str, heir: str, new: str) -> None:
        loaded = self.on(node, lambda store, _: store.load(user, id))
        if loaded[0] is None or loaded[0][0].status != "idle":
            return
        turns = self.on(node, lambda store, _: store.turns(user, id))

        def insert(store: SessionStore, side: Side) -> Awaitable[Any]:
            row, entries = loaded[side]
            return store.insert(replace(row, user=heir, id=new), entries, turns[side])

        self.on(node, insert)

    # -- turns

    @rule(target=copies, node=nodes, user=users, id=names)
    def remember(self, node: int, user: str, id: str) -> Copy:
        return Copy(self.claims(node, user, id))

    @rule(
        target=pens, node=nodes, user=users, id=names, text=texts,
        claims=st.sampled_from(["fresh", "fresh", "none", "empty"]),
        key=st.sampled_from([None, None, None, "k", "l"]), title=st.sampled_from([None, None, "A title"]),
        reject=st.sampled_from([False, False, False, True]), create=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def say(
        self, *, node: int, user: str, id: str, text: str, claims: str, key: str | None, title: str | None,
        reject: bool, create: bool,
    ) -> Any:  # fmt: skip
        new = self.input(user, id, text, key=key, title=title, reject=reject, create=create)
        known: Sequence[Claim | None] = self.claims(node, user, id)
        if claims != "fresh":
            known = [None if claims == "none" else Claim()] * 2
        return self.accept(node, new, known)

    @rule(target=pens, node=nodes, user=users, id=names, copy=copies)
    def say_with_an_old_copy(self, node: int, user: str, id: str, copy: Copy) -> Any:
        return self.accept(node, self.input(user, id, "red walrus"), copy.claims)

    def input(self, user: str, id: str, text: str, **more: Any) -> NewInput:
        return NewInput(user=user, id=id, body="{}", text=text, now=self.tick(), digest=text, **more)

    def accept(self, node: int, new: NewInput, claims: Sequence[Claim | None]) -> Any:
        return self.pen(node, self.on(node, lambda store, side: store.accept(new, claims[side])))

    @rule(target=pens, node=nodes, user=users, id=names)
    def acquire(self, node: int, user: str, id: str) -> Any:
        now, known = self.tick(), self.claims(node, user, id)
        return self.pen(node, self.on(node, lambda store, side: store.acquire(user, id, known[side], now)))

    @rule(target=pens, node=nodes, user=users, id=names, copy=copies)
    def acquire_with_an_old_copy(self, node: int, user: str, id: str, copy: Copy) -> Any:
        now = self.tick()
        return self.pen(node, self.on(node, lambda store, side: store.acquire(user, id, copy.claims[side], now)))

    def pen(self, node: int, got: tuple[Any, Any]) -> Any:
        first = got[0]
        if isinstance(first, Acquired) or (isinstance(first, Accepted) and first.outcome == "opened"):
            rows = (got[0].session, got[1].session)
            return Pen(node, rows, rows[0].fence, rows[0].version, first.turn.turn)
        return multiple()

    @rule(
        pen=pens, said=st.lists(st.tuples(kinds, texts, bodies), max_size=3), calls=st.integers(0, 2),
        finished=st.integers(0, 2), ending=endings, wrong=st.sampled_from(["", "", "", "", "fence", "version", "node"]),
        attempts=st.sampled_from([None, None, 2]), usage=st.sampled_from([None, '{"m":{}}']),
        call_status=st.sampled_from([EffectStatus.STARTED, EffectStatus.STARTED, EffectStatus.INTENDED]),
    )  # fmt: skip
    def write(
        self, *, pen: Pen, said: list[tuple[EntryKind, str, str]], calls: int, finished: int, ending: TurnStatus | None,
        wrong: str, attempts: int | None, usage: str | None, call_status: EffectStatus,
    ) -> None:  # fmt: skip
        entries = [Entry(0, kind, pen.turn, body, text) for kind, text, body in said]
        end = None if ending is None else TurnEnd(ending, "why", '{"m":{}}')
        if end is not None and end.status.final:
            entries.append(Entry(0, EntryKind.TURN_ENDED, pen.turn, "{}", "why"))
        made = range(calls if entries else 0)
        started = [NewCall(pen.version + 1, index, "tool", "digest", call_status) for index in made]
        done = [
            Effect(seq=pen.responses, index=index, tool="tool", status=EffectStatus.FINISHED)
            for index in range(finished)
        ]
        self.append(
            pen, wrong, entries=entries, started=started, finished=done, usage=usage, turn_usage=usage,
            attempts=attempts, end=end,
        )  # fmt: skip

    def append(self, pen: Pen, wrong: str = "", *, started: Sequence[NewCall] = (), **values: Any) -> Any:
        """Write with the pen; what the memory store answered."""
        now = self.tick()

        def append(store: SessionStore, side: Side) -> Awaitable[Any]:
            return store.append(
                Append(
                    session=pen.sessions[side], fence=pen.fence + (wrong == "fence"), turn=pen.turn, now=now,
                    version=pen.version + (wrong == "version"), started=started, **values,
                )
            )  # fmt: skip

        answers = self.on(1 - pen.node if wrong == "node" else pen.node, append)
        if isinstance(answers[0], Exception) or answers[0].refused:
            return answers[0]
        pen.version = answers[0].version
        pen.responses = started[0].seq if started else pen.responses
        if answers[0].next is not None:
            pen.sessions = (answers[0].next.session, answers[1].next.session)
            pen.fence, pen.version, pen.turn = pen.sessions[0].fence, pen.sessions[0].version, answers[0].next.turn.turn
        return answers[0]

    @rule(node=nodes, user=users, id=names, turn=st.none() | numbers, clear=st.booleans())
    def cancel(self, node: int, user: str, id: str, turn: int | None, *, clear: bool) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.request_cancel(user, id, turn, clear=clear, now=now))

    @rule(node=nodes, user=users, id=names)
    def resume(self, node: int, user: str, id: str) -> None:
        self.on(node, lambda store, _: store.resume(user, id, self.now))

    @rule(node=nodes, user=users, id=names, turn=st.none() | numbers)
    def discard(self, node: int, user: str, id: str, turn: int | None) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.discard(user, id, turn, now))

    @rule(node=nodes, kill=st.booleans())
    def restart(self, node: int, *, kill: bool) -> None:
        for store in self.stores[node]:
            assert isinstance(store, MemoryStore | SqliteStore)
            self.loop.run_until_complete(store.abandon() if kill else store.close())
        self.stores[node] = (self.make(0), self.make(1))
        self.numbers[node] = self.on(node, lambda store, _: store.open())[0]

    # -- reads

    @rule(node=nodes, user=users, query=st.sampled_from(QUERIES), limit=st.integers(1, 3))
    def search(self, node: int, user: str, query: str, limit: int) -> None:
        self.on(node, lambda store, _: pages(store, user, Wanted(query=query), limit))

    @rule(
        node=nodes, user=users, query=st.none() | st.sampled_from(QUERIES), parent=st.none() | names,
        status=st.just(frozenset(SessionStatus)) | st.frozensets(st.sampled_from(SessionStatus)),
        since=st.none() | st.integers(0, 40), before=st.none() | st.integers(0, 40),
        order=st.sampled_from(SessionOrder), direction=st.sampled_from(Direction), limit=st.integers(1, 3),
    )  # fmt: skip
    def look_through(
        self, *, node: int, user: str, since: int | None, before: int | None, limit: int, **how: Any
    ) -> None:
        since, before = (None if ago is None else self.now - ago for ago in (since, before))
        wanted = Wanted(active_since=since, active_before=before, **how)
        self.on(node, lambda store, _: pages(store, user, wanted, limit))

    @rule(
        node=nodes, user=users, query=st.sampled_from(QUERIES), limit=st.integers(1, 3), id=st.none() | names,
        roles=st.none() | st.frozensets(st.sampled_from(Role)), offset=st.sampled_from([0, 0, 1, 4]),
    )  # fmt: skip
    def find(
        self, *, node: int, user: str, query: str, limit: int, id: str | None, roles: frozenset[Role] | None,
        offset: int,
    ) -> None:  # fmt: skip
        self.on(node, lambda store, _: hits(store, user, query, id=id, roles=roles, limit=limit))
        self.on(node, lambda store, _: store.search_sessions(user, query, limit=limit, offset=offset))

    @rule(
        node=nodes, user=users, id=names, after=numbers, before=st.none() | numbers, newest=st.booleans(),
        limit=st.none() | st.integers(0, 3), chosen=st.none() | st.frozensets(kinds),
        size=st.none() | st.integers(0, 400),
    )  # fmt: skip
    def window(
        self, *, node: int, user: str, id: str, after: int, before: int | None, limit: int | None,
        chosen: frozenset[EntryKind] | None, newest: bool, size: int | None,
    ) -> None:  # fmt: skip
        window: dict[str, Any] = {"after": after, "before": before, "limit": limit, "newest": newest, "kinds": chosen}
        window["size"] = size
        self.on(node, lambda store, _: store.entries(user, id, **window))

    # -- what always holds

    @invariant()
    def they_look_the_same(self) -> None:
        self.on(0, lambda store, _: store.count())
        for node in NODES:
            self.on(node, lambda store, _: store.runnable())
            found = self.on(node, lambda store, _: store.cancels())
            assert len(found[0]) == len(found[1])
        for user in USERS:
            rows = self.on(0, lambda store, _, user=user: pages(store, user, EVERY_SESSION, 2))  # type: ignore[misc]
            for row in rows[0]:
                self.session_is_sound(user, row.id)

    def session_is_sound(self, user: str, id: str) -> None:
        (row, log), _ = self.on(1, lambda store, _: store.load(user, id))
        turns, _ = self.on(0, lambda store, _: store.turns(user, id))
        inbox, _ = self.on(0, lambda store, _: store.inbox(user, id))
        self.on(0, lambda store, _: store.effects(user, id))
        assert [e.seq for e in log] == list(range(row.first, row.version + 1))
        assert row.messages == sum(e.kind in MESSAGE_KINDS for e in log)
        check_line(row, {turn.turn: turn.status for turn in turns}, inbox)
        fence, version = self.fences.get(row.key, (0, 0))
        assert (row.fence, row.version) >= (fence, version)
        self.fences[row.key] = (row.fence, row.version)


async def attempt(operation: Operation, store: SessionStore, side: Side) -> Any:
    try:
        return await operation(store, side)
    except (SojournError, StaleClaim) as refusal:
        return refusal


async def pages(store: SessionStore, user: str, wanted: Wanted, limit: int) -> list[SessionRow]:
    """All sessions, page by page."""
    found, cursor = await store.page(user, wanted, limit=limit)
    rows = list(found)
    while cursor is not None:
        found, cursor = await store.page(user, wanted, limit=limit, after=cursor)
        rows += found
    return rows


async def hits(store: SessionStore, user: str, query: str, **how: Any) -> list[list[HitRow] | int]:
    """All that a search finds, page by page, without cursors."""
    found = await store.search(user, query, **how)
    pages: list[list[HitRow] | int] = [[*found.hits], found.total]
    while found.next is not None:
        found = await store.search(user, query, after=found.next, **how)
        pages += [[*found.hits], found.total]
    return pages


def claim(loaded: tuple[SessionRow, Sequence[Entry]] | None) -> Claim:
    return Claim(loaded[0].key, loaded[0].version) if loaded else Claim()


def plain(answer: Any) -> Any:
    """An answer without what may differ between stores: a session's key."""
    if isinstance(answer, Exception):
        return type(answer), str(answer)
    if is_dataclass(answer):
        hidden = {"key"} if isinstance(answer, SessionRow) else ()
        return [plain(getattr(answer, f.name)) for f in fields(answer) if f.name not in hidden]
    if isinstance(answer, list | tuple):
        if answer and isinstance(answer[0], tuple) and len(answer[0]) == 2 and isinstance(answer[0][0], int):
            return [turn for _, turn in answer]  # `cancels`
        return [plain(item) for item in answer]
    return answer
