"""P3: what was acknowledged survives a loss of power at any instant; what was not is there whole or not at all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import apsw
import pytest

from sojourn.abc import Entry, SessionRow, TurnRow
from sojourn.errors import StorageError, StorageUnavailable
from sojourn.records import EntryKind
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import ANN, COMPLETED, NOW, call, opens, queues
from tests.power.disk import Disk

#: Sessions that write at the same time, so that commits carry several writes.
SESSIONS = 4

#: A write's entries are "write.piece/pieces": whoever finds one of them must find all.
PIECES = 3


@dataclass
class Promise:
    """What one session was promised: texts that are in its log, and inputs that are in its log or its line."""

    texts: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)


Promises = dict[str, Promise]


def copied(promises: Promises) -> Promises:
    return {name: Promise(list(given.texts), list(given.inputs)) for name, given in promises.items()}


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk("sojourn-power")
    yield disk
    disk.unregister()


@asynccontextmanager
async def opened(path: Path, **how: str) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), **how)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Load:
    """Sessions that talk, and what they were promised so far."""

    def __init__(self, disk: Disk, folder: Path, *, turns: int, seed: int) -> None:
        self.disk, self.folder, self.turns = disk, folder, turns
        self.promises: Promises = {}
        self.chance = random.Random(seed)
        self.failures: list[tuple[Path, Promises]] = []
        self._numbers = count()

    async def run(self, store: SqliteStore) -> None:
        await asyncio.gather(*(self._talk(store, f"s{number}") for number in range(SESSIONS)))

    async def _talk(self, store: SqliteStore, id: str) -> None:
        given = self.promises[id] = Promise()
        for turn in range(self.turns):
            owner = await opens(store, f"{turn} said", id)
            given.texts.append(f"{turn} said")
            self.acknowledged()
            await queues(store, f"{turn} queued", id)
            given.inputs.append(f"{turn} queued")
            self.acknowledged()
            for step in range(2):
                pieces = [f"{turn}.{step} {piece}/{PIECES}" for piece in range(PIECES)]
                await owner.write(*(piece + " x" * 400 for piece in pieces), started=[call(owner)])
                given.texts += pieces
                self.acknowledged()
            while (await owner.write(f"{turn} answer", end=COMPLETED)).next is not None:
                given.texts.append(f"{turn} answer")
                self.acknowledged()

    def acknowledged(self) -> None:
        """An acknowledgement went out: this is one of the moments when power may fail."""
        if self.chance.random() < 0.15:
            self.fail(torn=self.chance.random() < 0.5)

    def at_a_write(self) -> None:
        """SQLite is about to touch a file: so is this."""
        if self.promises and self.chance.random() < 0.01:
            self.fail(torn=self.chance.random() < 0.7)

    def fail(self, *, torn: bool) -> None:
        with self.disk.lock:
            promises = copied(self.promises)
            folder = self.folder / f"failure {next(self._numbers)}"
            self.disk.fail(folder, random.Random(self.chance.random()) if torn else None)
            self.failures.append((folder, promises))


async def broken_promises(folder: Path, promises: Promises) -> list[str]:
    """What a fresh store on what survived misses or has by halves."""
    try:
        async with opened(folder / "chat.db", synchronous="OFF") as store:
            found = [wrong for name in promises for wrong in await broken_in(store, name, promises[name])]
            if not found:
                await goes_on(store, promises)
    except StorageError as error:
        return [f"it cannot be read: {error}"]
    with closing(apsw.Connection(str(folder / "chat.db"))) as connection:
        checks = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    return found + [check for check in checks if check != "ok"]


async def broken_in(store: SqliteStore, name: str, given: Promise) -> list[str]:
    loaded = await store.load(ANN, name)
    if loaded is None:
        return [f"{name} is gone"] * bool(given.texts)
    row, log = loaded
    found = contradictions(row, log, await store.turns(ANN, name))
    line = {item.text for item in await store.inbox(ANN, name)}
    texts = {e.text.removesuffix(" x" * 400) for e in log}
    found += [f"lost {text!r}" for text in given.texts if text not in texts]
    found += [f"lost input {text!r}" for text in given.inputs if text not in texts | line]
    return [f"{name}: {wrong}" for wrong in found]


def contradictions(row: SessionRow, log: Sequence[Entry], turns: Sequence[TurnRow]) -> list[str]:
    found: list[str] = []
    if [e.seq for e in log] != list(range(1, row.version + 1)):
        found.append("the log has a gap")
    writes = Counter(e.text.split()[0] for e in log if e.kind is EntryKind.MESSAGE and "/" in e.text)
    found += [f"write {write} is there by halves" for write, pieces in writes.items() if pieces != PIECES]
    known = {turn.turn for turn in turns}
    found += [f"turn {e.turn} has entries and no row" for e in log if e.turn not in known]
    return found


async def goes_on(store: SqliteStore, promises: Promises) -> None:
    """What survived is no dead end."""
    for name in promises:
        if await store.load(ANN, name) is not None:
            await store.reset(ANN, name, NOW)
            await opens(store, "again", name)


async def losses(disk: Disk, folder: Path, *, synchronous: str, turns: int, seed: int = 1) -> list[list[str]]:
    """What broke in each of the power failures that were tried."""
    path = folder / "chat.db"
    load = Load(disk, folder, turns=turns, seed=seed)
    async with opened(path, vfs=disk.name, synchronous=synchronous) as store:
        assert store._writing is not None
        store._writing.wal_autocheckpoint(100)
        disk.before = load.at_a_write
        await load.run(store)
        disk.before = lambda: None
        load.fail(torn=False)
    assert synchronous == "OFF" or disk.files[str(path)].syncs > 3  # there were checkpoints
    return [await broken_promises(*failure) for failure in load.failures]


@pytest.mark.parametrize("seed", range(2))
async def test_what_was_acknowledged_survives_a_loss_of_power(disk: Disk, tmp_path: Path, seed: int) -> None:
    broken = await losses(disk, tmp_path, synchronous="FULL", turns=6, seed=seed)
    assert [wrong for failure in broken for wrong in failure] == []
    assert len(broken) > 20


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
async def test_a_store_that_syncs_no_commits_is_found_out(disk: Disk, tmp_path: Path, synchronous: str) -> None:
    broken = await losses(disk, tmp_path, synchronous=synchronous, turns=3)
    assert sum(bool(failure) for failure in broken) >= 3


async def test_a_disk_that_cannot_sync_acknowledges_nothing_and_loses_nothing(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    promises = {"s": Promise()}
    async with opened(path, vfs=disk.name) as store:
        owner = await opens(store, "hello")
        promises["s"].texts.append("hello")
        disk.broken = True
        answers = await asyncio.gather(
            owner.write("never acknowledged"), *(queues(store, "x", f"t{number}") for number in range(5)),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(answer) for answer in answers] == [StorageUnavailable] * 6
        assert str(path) in str(answers[0])
        assert [e.text for e in await store.entries(ANN, "s")] == ["hello"]
        assert await store.count() == 1
        disk.broken = False
        await owner.write("acknowledged")
        promises["s"].texts.append("acknowledged")
        disk.fail(tmp_path / "failure")
    assert await broken_promises(tmp_path / "failure", promises) == []


async def test_a_disk_that_cannot_sync_does_not_hinder_closing(disk: Disk, tmp_path: Path) -> None:
    async with opened(tmp_path / "chat.db", vfs=disk.name) as store:
        await opens(store, "hello")
        disk.broken = True
    disk.broken = False
    async with opened(tmp_path / "chat.db", vfs=disk.name) as store:
        assert [item.id for item in await store.runnable()] == ["s"]
