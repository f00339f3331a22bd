"""Stores whose searches break one promise each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sojourn.abc import Hits, SessionHits
from sojourn.stores.memory import MemoryStore
from sojourn.stores.memory.database import StoredSession


class FindsWhatOthersSaid(MemoryStore):
    def _sessions(self, user: str) -> list[StoredSession]:
        return list(self.database.sessions.values())


class FindsTheOldestFirst(MemoryStore):
    async def search(self, user: str, query: str, **how: Any) -> Hits:
        found = await super().search(user, query, **how)
        return replace(found, hits=found.hits[::-1])


class CountsOnlyThePage(MemoryStore):
    async def search(self, user: str, query: str, **how: Any) -> Hits:
        found = await super().search(user, query, **how)
        return replace(found, total=len(found.hits))


class CursorsRepeatTheLast(MemoryStore):
    async def search(self, user: str, query: str, **how: Any) -> Hits:
        limit = how.pop("limit", 20)
        found = await super().search(user, query, limit=limit, **how)
        wider = await super().search(user, query, limit=max(1, limit - 1), **how)
        return replace(found, next=wider.next if found.next else None)


class IgnoresTheRoles(MemoryStore):
    async def search(self, user: str, query: str, **how: Any) -> Hits:
        return await super().search(user, query, **{**how, "roles": None})


class TitlesAreNotFound(MemoryStore):
    async def search_sessions(self, user: str, query: str, **how: Any) -> SessionHits:
        found = await super().search_sessions(user, query, **how)
        hits = [hit for hit in found.hits if hit.first.entry is not None]
        return replace(found, hits=hits, total=len(hits))


class SessionsComeByActivity(MemoryStore):
    async def search_sessions(self, user: str, query: str, **how: Any) -> SessionHits:
        found = await super().search_sessions(user, query, **how)
        return replace(found, hits=sorted(found.hits, key=lambda hit: hit.session.active, reverse=True))
