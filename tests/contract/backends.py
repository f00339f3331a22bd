"""The backends that the contract suite runs over: how each makes several nodes on one database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from sojourn.abc import SessionStore
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore


class Backend(ABC):
    """One database; `node()` gives a store on it, as another process would have."""

    def __init__(self) -> None:
        self._stores: list[SessionStore] = []

    @abstractmethod
    def make(self) -> SessionStore:
        """A store that is not open yet."""

    async def node(self) -> SessionStore:
        store = self.make()
        await store.open()
        self._stores.append(store)
        return store

    async def kill(self, store: SessionStore) -> None:
        """End a node as SIGKILL does."""
        assert isinstance(store, MemoryStore | SqliteStore)
        await store.abandon()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class Memory(Backend):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._database = MemoryDatabase()

    def make(self) -> SessionStore:
        return MemoryStore(self._database)


class Sqlite(Backend):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "contract.db"

    def make(self) -> SessionStore:
        return SqliteStore(str(self.path), synchronous="OFF")  # what power leaves is in tests/power


BACKENDS: dict[str, Callable[[Path], Backend]] = {"memory": Memory, "sqlite": Sqlite}
