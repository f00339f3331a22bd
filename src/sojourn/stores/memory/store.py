"""The memory store."""

from __future__ import annotations

from sojourn.stores.memory.reads import MemoryReads
from sojourn.stores.memory.searching import MemorySearching
from sojourn.stores.memory.sessions import MemorySessions
from sojourn.stores.memory.turns import MemoryTurns


class MemoryStore(MemorySessions, MemoryTurns, MemoryReads, MemorySearching):
    """Sessions in a dict."""
