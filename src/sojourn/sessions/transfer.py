"""Sessions as JSON Lines: export and import, which round-trip exactly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sojourn.abc import CUT_KINDS, MESSAGE_KINDS, Entry, SessionRow, TurnRow
from sojourn.errors import ExportInvalid, SessionNotFound
from sojourn.records import Effect, EffectStatus, EntryKind
from sojourn.sessions import importing
from sojourn.sessions.live import Core

#: The format that is written, and the newest that is read.
FORMAT = 1

_SESSION_FIELDS = ("title", "created", "active", "version", "first", "turns")
_PIECE = 200

_ENDS = frozenset({EntryKind.TURN_ENDED})

#: Calls without a result; those that were only intended waited for people when their turn ended.
_OPEN = frozenset({EffectStatus.STARTED, EffectStatus.INTENDED})


async def export(core: Core, user: str, id: str) -> AsyncGenerator[str]:
    """The session up to its last finished turn, and where it was cleared then: what it is, its turns, its log.

    Raises SessionNotFound, also where it is deleted or reset meanwhile.
    """
    store = core.store
    seen = await store.get(user, id)
    # from the log: the turns of a fork's parent are in there, and have no rows here
    cuts = await store.entries(user, id, kinds=CUT_KINDS, limit=1, newest=True)
    cut = cuts[-1].seq if cuts else seen.first - 1
    ended = await store.entries(user, id, before=cut + 1, kinds=_ENDS, limit=1, newest=True)
    end = ended[-1].seq if ended else seen.first - 1
    # the session may go on meanwhile: a call that was open behind the cut, and is not any more, has a late result then
    effects = await store.effects(user, id)
    late = await _late_results(core, user, id, cut)
    turns = [t for t in await store.turns(user, id) if t.status.final and (t.ended_seq or 0) <= end]
    row = await _still(core, seen)  # after all that it has to know of
    last = await _last_entries(core, row, ended[-1], effects, late) if ended else []
    told = len(last) - len(ended)
    row.version = cut + told
    head = {name: getattr(row, name) for name in _SESSION_FIELDS}
    yield _line({"sojourn": FORMAT, "id": row.id, **head, "usage": json.loads(row.usage)})
    for turn in turns:
        moved = end + told if turn.ended_seq == end else turn.ended_seq
        yield _line({"turn": {**asdict(turn), "ended_seq": moved, "usage": json.loads(turn.usage)}})
    done = row.first - 1
    while done < cut:
        entries = await store.entries(user, id, after=done, before=cut + 1, limit=_PIECE)
        await _still(core, row)
        for entry in entries:
            behind = replace(entry, seq=entry.seq + told) if entry.seq > end else entry
            for found in last if entry.seq == end else [behind]:
                yield _entry_line(found)
        done = entries[-1].seq


async def _still(core: Core, seen: SessionRow) -> SessionRow:
    """The session as it is by now; raises SessionNotFound where what was seen of it is gone."""
    row = await core.store.get(seen.user, seen.id)
    if (row.key, row.first) != (seen.key, seen.first):
        raise SessionNotFound(seen.id)
    return row


async def _late_results(core: Core, user: str, id: str, cut: int) -> Sequence[Entry]:
    """The results that the last turn's calls got only in the one that runs now."""
    first = await core.store.entries(user, id, after=cut, kinds=frozenset({EntryKind.MESSAGE}), limit=1)
    before = first[0].seq if first else None
    return await core.store.entries(user, id, after=cut, before=before, kinds=frozenset({EntryKind.TOOL_RESULT}))


async def _last_entries(
    core: Core, row: SessionRow, end: Entry, effects: Sequence[Effect], late: Sequence[Entry]
) -> Sequence[Entry]:
    """The end of the last turn, behind what its owner could not write any more: results of calls that it left open.

    The ledger of calls does not travel, and a call without a result would make the session useless where it is loaded.
    """
    # those that came late were all told in one write
    results = [replace(one, turn=end.turn) for one in late or await _untold(core, row, end, effects)]
    return [replace(one, seq=seq) for seq, one in enumerate([*results, end], end.seq)]


async def _untold(core: Core, row: SessionRow, end: Entry, effects: Sequence[Effect]) -> Sequence[Entry]:
    """What the next turn would be told of calls without a result."""
    name = (row.user, row.id)
    # of an earlier turn, where the last one ended before its owner could tell it of them
    answers = await core.store.entries(
        *name, before=end.seq, kinds=frozenset({EntryKind.MESSAGE}), limit=1, newest=True
    )
    begin = answers[-1].seq if answers else end.seq
    calls = [call for call in effects if call.status in _OPEN and begin <= call.seq < end.seq]
    if not calls:
        return []
    history = core.engine.history()
    history.extend(await core.store.entries(*name, before=end.seq))
    told = [core.engine.unknown(history, call) for call in calls]
    return [Entry(0, EntryKind.TOOL_RESULT, 0, step.body, step.text, end.created) for step in told]


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
        # a long history must not hold up everybody else
        await asyncio.to_thread(importing.check_whole, row, turns, entries, core.engine)
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


def _entry_line(entry: Entry) -> str:
    return _line({"entry": {**asdict(entry), "body": json.loads(entry.body)}})


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"
