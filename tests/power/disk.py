"""A disk that can lose its power: an SQLite VFS that knows of every file what was synced and what was only written."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

#: What a disk writes at once; a longer write may be torn between sectors.
SECTOR = 512


@dataclass
class File:
    """One file: as it survives for certain, and what was done to it since the last sync."""

    durable: bytearray | None = None  # None: its name is not on the disk yet
    syncs: int = 0
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (place, content), or (size, None): cut off

    def sync(self) -> None:
        content = self.durable or bytearray()
        for place, written in self.pending:
            apply(content, place, written)
        self.durable, self.pending = content, []
        self.syncs += 1

    def survivors(self, chance: random.Random | None) -> bytes | None:
        """What is read after power comes back: nothing that was not synced, or some of its sectors."""
        if chance is None or not self.pending:
            return None if self.durable is None else bytes(self.durable)
        content = bytearray(self.durable or b"")
        for place, written in self.pending:
            if written is None:
                if chance.random() < 0.5:
                    apply(content, place, None)
                continue
            for start in range(0, len(written), SECTOR):
                if chance.random() < 0.5:
                    apply(content, place + start, written[start : start + SECTOR])
        return bytes(content)


def apply(content: bytearray, place: int, written: bytes | None) -> None:
    if written is None:
        del content[place:]
        return
    if len(content) < place:
        content.extend(bytes(place - len(content)))
    content[place : place + len(written)] = written


class Disk(apsw.VFS):
    """Keeps books of what is synced while everything goes to real files as ever."""

    def __init__(self, name: str) -> None:
        self.files: dict[str, File] = {}
        self.lock = threading.RLock()
        #: Whether nothing can be synced.
        self.broken = False
        #: Called before anything is written or synced: power may fail here too.
        self.before: Callable[[], None] = lambda: None
        super().__init__(name, "")
        self.name = name

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return super().xOpen(name, flags)
        with self.lock:
            known = self.files.setdefault(path, File())
        return DiskFile(self, known, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's name
        super().xDelete(filename, syncdir)
        with self.lock:
            self.files.pop(filename, None)

    def fail(self, folder: Path, chance: random.Random | None = None) -> None:
        """Power fails now: put what survives into another folder."""
        folder.mkdir()
        with self.lock:
            for path, file in self.files.items():
                content = file.survivors(chance)
                if content is not None:
                    (folder / Path(path).name).write_bytes(content)


class DiskFile(apsw.VFSFile):
    """A file on the disk."""

    def __init__(self, disk: Disk, file: File, name: Any, flags: list[int]) -> None:
        self._disk, self._file = disk, file
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.before()
        super().xWrite(data, offset)
        with self._disk.lock:
            self._file.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.before()
        super().xTruncate(newsize)
        with self._disk.lock:
            self._file.pending.append((newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.before()
        if self._disk.broken:
            raise apsw.IOError("the disk is broken")
        super().xSync(flags)
        with self._disk.lock:
            self._file.sync()
