"""Sessions as JSON Lines: export and import, which round-trip exactly."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from sojourn.abc import MESSAGE_KINDS, Entry, SessionRow, SessionStore, TurnRow
from sojourn.errors import ExportInvalid
from sojourn.records import EntryKind, SessionStatus, TurnStatus, check_session_id

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


async def load(store: SessionStore, user: str, lines: AsyncIterator[str], *, id: str | None) -> SessionRow:
    """Store an exported session, whole or not at all; raises ExportInvalid, SessionExists."""
    row: SessionRow | None = None
    entries: list[Entry] = []
    turns: list[TurnRow] = []
    number = 0
    async for line in lines:
        number += 1
        if not line.strip():
            continue
        data = _parsed(number, line)
        try:
            if row is None:
                row = _session(number, data, user, id)
            elif "turn" in data:
                turns.append(_turn(data["turn"]))
            else:
                entries.append(_entry(data["entry"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportInvalid(number, line.strip(), "a line that `export` wrote") from error
    if row is None:
        raise ExportInvalid(1, "", "a line that begins an exported session")
    _check(row, entries, number)
    row.messages = sum(entry.kind in MESSAGE_KINDS for entry in entries)
    return await store.insert(row, entries, turns)


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def _parsed(number: int, line: str) -> Mapping[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise ExportInvalid(number, line.strip(), "a JSON object") from error
    if not isinstance(data, dict):
        raise ExportInvalid(number, data, "a JSON object")
    return data


def _session(number: int, data: Mapping[str, Any], user: str, id: str | None) -> SessionRow:
    found = data.get("sojourn")
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise ExportInvalid(number, found, f'"sojourn": a format from 1 to {FORMAT}')
    numbers = {name: int(data[name]) for name in _SESSION_FIELDS if name != "title"}
    return SessionRow(
        key=0, user=user, id=check_session_id(id or data["id"]), title=data["title"], parent=None,
        status=SessionStatus.IDLE, messages=0, usage=json.dumps(data["usage"], separators=(",", ":")), owner=None,
        fence=0, current=None, queued=0, held=0, **numbers,
    )  # fmt: skip


def _turn(data: Mapping[str, Any]) -> TurnRow:
    usage = json.dumps(data["usage"], separators=(",", ":"))
    row = TurnRow(**{**data, "status": TurnStatus(data["status"]), "usage": usage})
    if not row.status.final:
        raise ValueError(row.status)
    return row


def _entry(data: Mapping[str, Any]) -> Entry:
    body = json.dumps(data["body"], ensure_ascii=False, separators=(",", ":"))
    seq, turn, created = (int(data[name]) for name in ("seq", "turn", "created"))
    return Entry(seq, EntryKind(data["kind"]), turn, body, str(data["text"]), created)


def _check(row: SessionRow, entries: list[Entry], lines: int) -> None:
    expected = list(range(row.first, row.version + 1))
    if [entry.seq for entry in entries] != expected:
        raise ExportInvalid(lines, f"{len(entries)} entries", f"the entries {row.first} to {row.version}, each once")
