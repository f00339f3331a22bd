"""`sojourn sessions export` and `import`: sessions as files of JSON Lines."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from sojourn.cli.exits import FAILED, OK, USAGE, Refusal, explain
from sojourn.cli.finding import every, find
from sojourn.cli.notes import errors, tell
from sojourn.cli.place import Place, opened
from sojourn.cli.shapes import session_shape
from sojourn.errors import ExportInvalid, SessionExists, SessionNotFound, SojournError
from sojourn.records import Session, SessionOrder
from sojourn.sessions.scope import Scope

#: What is shorter than this needs no progress bar: sessions, messages of one, bytes of a file.
LONG_LIST, LONG_SESSION, LONG_FILE = 20, 2000, 1 << 20

SUFFIX = ".jsonl"


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, done: int = 1) -> None: ...


# -- export


async def export_one(place: Place, id: str, target: Path | None, *, force: bool) -> int:
    """One session to a file, or to standard output."""
    async with opened(place) as open_:
        session = await find(open_.scope, id)
        long = session.message_count >= LONG_SESSION
        with _progress(f"export {session.id}", None, show=long and target is not None) as advance:
            if target is None:
                await _copy(open_.scope, session.id, sys.stdout.write, advance)
                return OK
            await _write(open_.scope, session.id, target, advance, force=force)
    tell(f"{session.id}: {session.message_count} messages in {target}")
    return OK


async def export_all(place: Place, folder: Path, *, force: bool) -> int:
    """Every session to a file of its own in a folder, which is made."""
    async with opened(place) as open_:
        total, written = 0, 0
        async for _ in every(open_.scope):
            total += 1
        _make(folder)
        with _progress(f"export to {folder}", total, show=total >= LONG_LIST) as advance:
            # by what does not change: one that is spoken in meanwhile would move out of a list by activity
            async for session in every(open_.scope, order=SessionOrder.ID):
                try:
                    await _write(open_.scope, session.id, folder / f"{session.id}{SUFFIX}", _still, force=force)
                except SessionNotFound:
                    continue  # deleted since the page was read
                written += 1
                advance()
    tell(f"{written} sessions in {folder}")
    return OK


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


async def _write(scope: Scope, id: str, target: Path, advance: Advance, *, force: bool) -> None:
    """A whole file or none."""
    with whole_file(target, force=force) as file:
        await _copy(scope, id, lambda line: file.write(line.encode()), advance)


async def _copy(scope: Scope, id: str, write: Callable[[str], object], advance: Advance) -> None:
    async with aclosing(scope.export(id)) as lines:
        async for line in lines:
            write(line)
            advance()


@contextmanager
def whole_file(target: Path, *, force: bool, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that stands under its name only when it is complete; raises Refusal if there is one, unless `force`."""
    taken = f"{target} is already there; give --force to replace it, or another name"
    if target.is_dir():
        raise Refusal(f"{target} is a folder; name a file")
    if not force and target.exists():
        raise Refusal(taken)
    if not target.parent.is_dir():
        raise Refusal(f"{target}: there is no folder {target.parent}; make it first")
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:64]}-", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if force:
            part.replace(target)
        else:
            os.link(part, target)  # unlike a rename it replaces nothing that came meanwhile
    except FileExistsError as error:
        raise Refusal(taken) from error
    finally:
        part.unlink(missing_ok=True)


# -- import


async def import_files(place: Place, sources: Sequence[Path], *, id: str | None) -> int:
    """Each file's session, whole or not at all; one that cannot be imported stops no other."""
    files = [file for source in sources for file in _files(source)]
    if id is not None and len(files) != 1:
        raise Refusal(f"--id names one session, and there are {len(files)} files", USAGE)
    code, made = OK, []
    async with opened(place, making=True) as open_:
        with _progress("import", len(files), show=len(files) >= LONG_LIST) as advance:
            for file in files:
                try:
                    made.append(await _import(open_.scope, file, id, alone=len(files) == 1))
                except SessionExists as error:
                    hint = "give --id to import it beside that one" if id is None else "choose another --id"
                    code = _explain(file, Refusal(f"session {error.session!r} is already there; {hint}"))
                except (SojournError, OSError) as error:
                    code = _explain(file, error)
                advance()
    if place.json:
        json.dump({"sessions": [session_shape(session) for session in made]}, sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    for session in [] if place.json else made:
        tell(f"{session.id}: {session.message_count} messages")
    return code


async def _import(scope: Scope, file: Path, id: str | None, *, alone: bool) -> Session:
    if str(file) == "-":
        return await scope.load(_lines(sys.stdin.buffer, _still), id=id)
    with _reading(file, alone=alone) as (source, advance):
        return await scope.load(_lines(source, advance), id=id)


@contextmanager
def _reading(file: Path, *, alone: bool) -> Iterator[tuple[BinaryIO, Advance]]:
    size = file.stat().st_size
    with file.open("rb") as source, _progress(f"import {file}", size, show=alone and size >= LONG_FILE) as advance:
        yield source, advance


def _explain(file: Path, error: Exception) -> int:
    if isinstance(error, OSError):
        return explain(error)
    explain(Refusal(f"{'standard input' if str(file) == '-' else file}: {error}"))
    return FAILED


def _files(source: Path) -> list[Path]:
    """The file itself, or every exported session in a folder."""
    if not source.is_dir():
        return [source]
    found = sorted(source.glob(f"*{SUFFIX}"))
    if not found:
        raise Refusal(f"{source}: found no file that ends in {SUFFIX}")
    return found


async def _lines(source: BinaryIO, advance: Advance) -> AsyncIterator[str]:
    for number, line in enumerate(source, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ExportInvalid(number, line[error.start : error.end], "text in UTF-8") from error
        yield text
        advance(len(line))


# -- how far it is


def _still(done: int = 1) -> None:
    """No bar to move on."""


@contextmanager
def _progress(what: str, total: int | None, *, show: bool) -> Iterator[Advance]:
    """A bar on standard error while something long goes on in front of a person."""
    if not (show and errors().is_terminal):
        yield _still
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done=1: progress.advance(task, done)
