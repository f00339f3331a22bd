"""Searches in memory: every text is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sojourn.abc import MESSAGE_KINDS, SEARCHED, Entry, HitRow, Hits, SessionHitRow, SessionHits
from sojourn.records import Role
from sojourn.stores.common import MAX_COUNTED, MAX_INDEXED, decode_place, encode_place, words
from sojourn.stores.excerpts import in_message, in_title
from sojourn.stores.memory.base import MemoryNode
from sojourn.stores.memory.database import StoredSession

#: An entry that was found, its session, and its place among the entries of all.
_Found = tuple[int, StoredSession, Entry]


class MemorySearching(MemoryNode):
    """What was said in some words, and in which sessions."""

    async def search(
        self,
        user: str,
        query: str,
        *,
        id: str | None = None,
        roles: frozenset[Role] | None = None,
        limit: int = 20,
        after: str | None = None,
        offset: int = 0,
    ) -> Hits:
        top = None if after is None else decode_place(after)
        sessions = self._sessions(user) if id is None else [self._find(user, id)]
        wanted = words(query)
        found = [hit for s in sessions for hit in _found(s, wanted) if roles is None or SEARCHED[hit[2].kind] in roles]
        found.sort(key=_number, reverse=True)
        page = [hit for hit in found if top is None or hit[0] < top][offset : offset + limit + 1]
        return Hits(
            [_hit(hit, wanted) for hit in page[:limit]],
            min(len(found), MAX_COUNTED),
            exact=len(found) <= MAX_COUNTED,
            next=encode_place(page[limit - 1][0]) if len(page) > limit else None,
        )

    async def search_sessions(self, user: str, query: str, *, limit: int = 20, offset: int = 0) -> SessionHits:
        wanted = words(query)
        sessions = {s.row.key: s for s in self._sessions(user)}
        newest = sorted((hit for s in sessions.values() for hit in _found(s, wanted)), key=_number, reverse=True)
        titled = [s for s in sessions.values() if has(words(s.row.title or ""), wanted)]
        counts = dict.fromkeys((s.row.key for s in titled), 1)
        firsts: dict[int, _Found] = {}
        for hit in newest[: MAX_COUNTED + 1]:
            key = hit[1].row.key
            counts[key] = counts.get(key, 0) + 1
            firsts[key] = hit
        order: Callable[[int], tuple[int, int, int]] = lambda key: (counts[key], sessions[key].row.active, key)  # noqa: E731
        best = sorted(counts, key=order, reverse=True)
        hits = [
            SessionHitRow(
                replace(sessions[key].row),
                counts[key],
                _hit(firsts[key], wanted)
                if key in firsts
                else in_title(sessions[key].row.id, sessions[key].row.title or "", wanted),
            )
            for key in best[offset : offset + limit]
        ]
        return SessionHits(hits, len(best), exact=len(newest) <= MAX_COUNTED)

    def _sessions(self, user: str) -> list[StoredSession]:
        self._check_open()
        return [s for s in self.database.sessions.values() if s.row.user == user]


def is_found(s: StoredSession, query: str | None) -> bool:
    """Whether a page of sessions with this query has this one."""
    wanted = words(query or "")
    if not wanted:
        return query is None or not query.strip()
    return has(words(s.row.title or ""), wanted) or any(_found(s, wanted))


def has(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether these words are all that are wanted, the last of those as the beginning of one."""
    if not wanted:
        return False
    return all(word in found for word in wanted[:-1]) and any(word.startswith(wanted[-1]) for word in found)


def _found(s: StoredSession, wanted: Sequence[str]) -> Iterator[_Found]:
    return ((s.numbers[e.seq], s, e) for e in s.log if e.kind in SEARCHED and has(words(e.text), wanted))


def _number(hit: _Found) -> int:
    return hit[0]


def _hit(hit: _Found, wanted: Sequence[str]) -> HitRow:
    _, s, entry = hit
    spoken = sum(e.kind in MESSAGE_KINDS for e in s.log if e.seq < entry.seq)
    return in_message(s.row.id, entry, wanted, spoken if entry.seq - s.row.first <= MAX_INDEXED else None)
