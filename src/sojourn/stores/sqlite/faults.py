"""What SQLite's errors mean to a user."""

from __future__ import annotations

import apsw

from sojourn.errors import StorageCorrupt, StorageError, StorageFull, StorageReadOnly, StorageUnavailable


def translated(error: apsw.Error, where: str) -> StorageError:
    """The StorageError for an error of SQLite in the database at `where`."""
    why = str(error).split(": ", 1)[-1] or type(error).__name__
    if isinstance(error, apsw.FullError):
        return StorageFull(where)
    if isinstance(error, apsw.ReadOnlyError):
        return StorageReadOnly(where)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return StorageCorrupt(where, why)
    if isinstance(error, apsw.CantOpenError):
        return StorageUnavailable(where, "it cannot be opened")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StorageUnavailable(where, "another process holds its lock for too long")
    return StorageUnavailable(where, f"{type(error).__name__}: {why}")
