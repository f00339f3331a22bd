"""Whatever is done to a session, by whichever node: what its row says of its line is true, and nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest

from sojourn.abc import Acceptance, Claim, SessionStore, TurnEnd
from sojourn.records import EntryKind, InputKind, TurnStatus
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    NOW,
    Owner,
    asks,
    claim_of,
    entry,
    follows,
    is_sound,
    opens,
    queues,
    said,
    steers,
    yes,
)

ENDS = [
    TurnStatus.COMPLETED, TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED, TurnStatus.HELD,
    TurnStatus.QUEUED,
]  # fmt: skip


class Wanderer:
    """Does one thing after another with a session, and keeps account of every input."""

    def __init__(self, backend: Backend, seed: int) -> None:
        self._backend, self._random = backend, Random(seed)
        self.stores: list[SessionStore] = []
        self.owner: Owner | None = None
        self.said = 0
        #: Inputs that were acknowledged, and those that people have taken back.
        self.accepted: set[str] = set()
        self.withdrawn: set[str] = set()

    async def begin(self) -> None:
        self.stores = [await self._backend.node(), await self._backend.node()]

    @property
    def store(self) -> SessionStore:
        return self._random.choice(self.stores)

    async def step(self) -> None:
        moves: list[Callable[[], Awaitable[None]]] = [
            self.say, self.say, self.say, self.say_again, self.write, self.write, self.end, self.acquire, self.resume,
            self.discard, self.remove, self.cancel, self.ask, self.decide, self.die,
        ]  # fmt: skip
        await self._random.choice(moves)()

    async def say(self) -> None:
        self.said += 1
        text, store = f"<{self.said}>", self.store
        kind = self._random.choice([InputKind.MESSAGE, InputKind.STEER, InputKind.STEER, InputKind.FOLLOW_UP])
        claim = await claim_of(store) if self._random.random() < 0.5 else None
        got = await store.accept(said(text, kind=kind, key=text if kind is InputKind.MESSAGE else None), claim)
        self.accepted.add(text)
        if got.outcome is Acceptance.OPENED:
            self.owner = Owner(store, got.session, got.turn.turn)

    async def say_again(self) -> None:
        """The same message, with its key: a held turn is in line again, and nothing is said twice."""
        text = f"<{self._random.randint(1, self.said + 1)}>"
        messages = {turn.key for turn in await self.store.turns(ANN, "s")} if self.said else set()
        if text in messages:
            got = await self.store.accept(said(text, key=text), None)
            assert got.outcome is Acceptance.ATTACHED

    async def write(self) -> None:
        if self.owner is None:
            return
        steers = [item for item in await self.owner.store.inbox(ANN, "s") if item.kind is InputKind.STEER]
        taken = [item for item in steers if not item.held and item.turn == self.owner.turn]
        told = entry(" ".join(item.text for item in taken), EntryKind.STEERED)
        await self.owner.write(*([told] if taken else ["step"]), taken=[item.position for item in taken])

    async def end(self) -> None:
        if self.owner is None:
            return
        owner, left = self.owner, (await self.owner.store.get(ANN, "s")).steers
        status = self._random.choice(ENDS)
        answer = await owner.write("last", end=TurnEnd(status))
        assert answer.refused == (status is TurnStatus.COMPLETED and left > 0)
        if not answer.refused and answer.next is None:
            self.owner = None

    async def acquire(self) -> None:
        store = self.store
        loaded = await store.load(ANN, "s")
        if loaded is None:
            return
        got = await store.acquire(ANN, "s", Claim(loaded[0].key, loaded[0].version), NOW)
        if got is not None:
            self.owner = Owner(store, got.session, got.turn.turn)

    async def ask(self) -> None:
        if self.owner is None:
            return
        await asks(self.owner, "rm")
        self.owner = None

    async def decide(self) -> None:
        for asked in await self.store.approvals(ANN):
            await self.store.decide(ANN, "s", asked.id, yes())

    async def resume(self) -> None:
        if self.said:
            await self.store.resume(ANN, "s", NOW)

    async def discard(self) -> None:
        if self.said:
            turn = self._random.choice([None, (await self.store.get(ANN, "s")).turns])
            await self.lose(lambda: self.store.discard(ANN, "s", turn, NOW))

    async def cancel(self) -> None:
        if self.said:
            clear = self._random.random() < 0.3
            await self.lose(lambda: self.store.request_cancel(ANN, "s", None, clear=clear, now=NOW))

    async def remove(self) -> None:
        line = await self.store.inbox(ANN, "s") if self.said else []
        if line:
            item = self._random.choice(line)
            removed = await self.lose(lambda: self.store.remove(ANN, "s", item.position, NOW))
            assert removed == {item.text}

    async def lose(self, move: Callable[[], Awaitable[object]]) -> set[str]:
        """Do what may take inputs out of the line; gives those."""
        before = {item.text for item in await self.store.inbox(ANN, "s")}
        await move()
        gone = before - {item.text for item in await self.store.inbox(ANN, "s")}
        self.withdrawn |= gone
        return gone

    async def die(self) -> None:
        number = self._random.randrange(2)
        store = self.stores[number]
        await self._backend.kill(store)
        self.stores[number] = await self._backend.node()
        if self.owner is not None and self.owner.store is store:
            self.owner = None

    async def check(self) -> None:
        if not self.said:
            return
        store = self.store
        await is_sound(store)
        told = " ".join(e.text for e in await store.entries(ANN, "s"))
        line = " ".join(item.text for item in await store.inbox(ANN, "s"))
        for text in self.accepted:
            places = (told.count(text), line.count(text), int(text in self.withdrawn))
            assert sum(places) == 1, f"{text}: {places}"


@pytest.mark.parametrize("seed", range(8))
async def test_the_line_is_as_the_row_says_and_every_input_is_in_one_place(backend: Backend, seed: int) -> None:
    wanderer = Wanderer(backend, seed)
    await wanderer.begin()
    for _ in range(80):
        await wanderer.step()
        await wanderer.check()


async def test_an_input_in_line_says_since_when(backend: Backend) -> None:
    store, other = await backend.node(), await backend.node()
    owner = await opens(store)
    put = [
        await queues(store, "a", now=NOW + 1),
        await steers(store, "b", now=NOW + 2),
        await follows(other, "c", now=NOW + 3),
        await follows(other, "d", now=NOW + 4),
    ]
    assert [accepted.since for accepted in put] == [NOW + 1, NOW + 2, NOW + 3, NOW + 4]
    since = {item.text: item.accepted for item in await other.inbox(ANN, "s")}
    assert since == {"a": NOW + 1, "b": NOW + 2, "c": NOW + 3, "d": NOW + 4}
    await owner.write(end=TurnEnd(TurnStatus.CANCELLED), now=NOW + 9)
    await store.resume(ANN, "s", NOW + 10)
    left = {item.text: item.accepted for item in await other.inbox(ANN, "s")}
    assert left == {text: since[text] for text in left} != {}
