"""The memory store: the contract at its plainest, and what the other stores are compared with.

Several stores opened on one `MemoryDatabase` behave as several processes on one database do.
"""

from sojourn.stores.memory.database import MemoryDatabase
from sojourn.stores.memory.store import MemoryStore

__all__ = ["MemoryDatabase", "MemoryStore"]
