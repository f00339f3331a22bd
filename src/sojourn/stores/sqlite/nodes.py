"""Which processes are alive, by kernel file locks: a lock is free the moment its process is gone, however it went."""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path


class NodeLocks:
    """The lock files beside a database: one a node, held by its process for as long as it lives."""

    def __init__(self, database: str) -> None:
        self._folder = Path(f"{database}-nodes")
        self._held: int | None = None
        self._node = 0
        self._dead: set[int] = set()
        # a forked child shares the open file, and with it the lock: it must not keep its dead parent alive
        held = weakref.WeakMethod(self._forget_after_fork)
        os.register_at_fork(after_in_child=lambda: forget() if (forget := held()) else None)

    def hold(self, node: int) -> None:
        """Show that `node` is alive, from now until `release` or the end of the process."""
        while self._held is None:
            self._held = self._locked(node)
        self._node = node

    def _locked(self, node: int) -> int | None:
        """The node's open and locked file, or None if others tidied it away meanwhile."""
        with suppress(FileExistsError):
            self._folder.mkdir()
        try:
            found = os.open(self._path(node), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the folder was empty, and the last one to leave removed it
            return None
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(found), self._path(node).stat()):
                return found
        os.close(found)
        return None

    def release(self, *, tidy: bool = True) -> None:
        """Give the lock up; without `tidy` the file stays, as after a crash."""
        if self._held is None:
            return
        if tidy:
            self._path(self._node).unlink(missing_ok=True)
        os.close(self._held)
        self._held = None
        if tidy:
            self._remove_empty_folder()

    def is_dead(self, node: int) -> bool:
        """Whether the process of another node is gone; its file is cleared away then."""
        if node in self._dead:
            return True
        if node == self._node and self._held is not None:
            return False
        try:
            found = os.open(self._path(node), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._dead.add(node)
            return True
        try:
            # shared, so that two who look at the same moment do not take each other for the owner
            fcntl.flock(found, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            self._path(node).unlink(missing_ok=True)
            self._dead.add(node)
            return True
        finally:
            os.close(found)

    def _path(self, node: int) -> Path:
        return self._folder / f"{node}.lock"

    def _remove_empty_folder(self) -> None:
        with suppress(OSError):  # other nodes are there
            self._folder.rmdir()

    def _forget_after_fork(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None
