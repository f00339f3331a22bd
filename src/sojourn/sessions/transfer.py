"""Sessions as JSON Lines: export and import, which round-trip exactly."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from sojourn.abc import MESSAGE_KINDS, Entry, SessionRow, SessionStore, TurnRow
from sojourn.errors import ExportInvalid
from sojourn.records import EntryKind
from sojourn.sessions import importing
from sojourn.sessions.live import Core

#: The format that is written, and the newest that is read.
FORMAT = 1

_SESSION_FIELDS = ("title", "created", "active", "version", "first", "turns")
_PIECE = 200


async def export(store: SessionStore, user: str, id: str) -> AsyncGenerator[str]:
    """The session up to its last finished turn, line by line: what it is, its turns, its log."""
    row = await store.get(user, id)
    # from the log: the turns of a fork's parent are in there, and have no rows here
    ended = await store.entries(user, id, kinds=frozenset({EntryKind.TURN_ENDED}), limit=1, newest=True)
    row.version = ended[-1].seq if ended else row.first - 1
    turns = [t for t in await store.turns(user, id) if t.status.final and (t.ended_seq or 0) <= row.version]
    head = {name: getattr(row, name) for name in _SESSION_FIELDS}
    yield _line({"sojourn": FORMAT, "id": row.id, **head, "usage": json.loads(row.usage)})
    for turn in turns:
        yield _line({"turn": {**asdict(turn), "usage": json.loads(turn.usage)}})
    done = row.first - 1
    while done < row.version:
        entries = await store.entries(user, id, after=done, before=row.version + 1, limit=_PIECE)
        if not entries:
            return
        for entry in entries:
            yield _line({"entry": {**asdict(entry), "body": json.loads(entry.body)}})
        done = entries[-1].seq


async def load(core: Core, user: str, lines: AsyncIterator[object], *, id: str | None) -> SessionRow:
    """Store an exported session, whole or not at all; raises ExportInvalid, SessionExists."""
    row: SessionRow | None = None
    entries: list[Entry] = []
    turns: list[TurnRow] = []
    number, line = 1, object()
    try:
        async for number, line in _numbered(lines):  # noqa: B007 - for the errors below
            data = importing.parsed(line)
            if row is None:
                row = importing.session(data, user, id, FORMAT)
            elif "turn" in data:
                turns.append(importing.turn(data["turn"]))
            else:
                entries.append(importing.entry(data["entry"]))
        if row is None:
            raise ExportInvalid(1, "", "a line that begins an exported session")
        importing.check_whole(row, turns, entries, core.engine)
    except KeyError as error:
        raise ExportInvalid(number, line, f"a line that has {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ExportInvalid(number, line, str(error)[:200]) from error
    row.messages = sum(entry.kind in MESSAGE_KINDS for entry in entries)
    return await core.store.insert(row, entries, turns)


async def _numbered(lines: AsyncIterator[object]) -> AsyncIterator[tuple[int, object]]:
    """Each line that is not blank, with its number."""
    number = 0
    async for line in lines:
        number += 1
        if not isinstance(line, str) or line.strip():
            yield number, line.strip() if isinstance(line, str) else line


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"
