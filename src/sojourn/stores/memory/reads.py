"""Reads of one session in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sojourn.abc import Entry, InputRow, SessionRow, TurnRow
from sojourn.errors import TurnNotFound
from sojourn.records import Effect, EntryKind
from sojourn.stores.common import up_to
from sojourn.stores.memory.base import MemoryNode


class MemoryReads(MemoryNode):
    """What a session has, as it stands."""

    async def entries(
        self,
        user: str,
        id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        newest: bool = False,
        kinds: frozenset[EntryKind] | None = None,
        size: int | None = None,
    ) -> Sequence[Entry]:
        found = [
            replace(e)
            for e in self._find(user, id).log
            if e.seq > after and (before is None or e.seq < before) and (kinds is None or e.kind in kinds)
        ]
        if newest:
            found.reverse()
        found = list(up_to(found[:limit], size))
        return found[::-1] if newest else found

    async def load(self, user: str, id: str) -> tuple[SessionRow, Sequence[Entry]] | None:
        self._check_open()
        s = self.database.sessions.get((user, id))
        return (replace(s.row), [replace(e) for e in s.log]) if s else None

    async def turn(self, user: str, id: str, turn: int) -> TurnRow:
        found = self._find(user, id).turns.get(turn)
        if found is None:
            raise TurnNotFound(id, turn)
        return replace(found)

    async def turns(self, user: str, id: str) -> Sequence[TurnRow]:
        return [replace(t) for t in self._find(user, id).turns.values()]

    async def inbox(self, user: str, id: str) -> Sequence[InputRow]:
        return [replace(item) for item in self._find(user, id).inbox.values()]

    async def effects(self, user: str, id: str) -> Sequence[Effect]:
        return [e for _, e in sorted(self._find(user, id).effects.items())]
