"""The memory store: the contract at its plainest, and what the other stores are compared with.

Several stores opened on one `MemoryDatabase` behave as several processes on one database do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sojourn.abc import (
    MAX_TAIL,
    MESSAGE_KINDS,
    Acceptance,
    Accepted,
    Acquired,
    Append,
    Appended,
    Cancelled,
    Claim,
    Entry,
    InputRow,
    NewInput,
    Runnable,
    SessionRow,
    SessionStore,
    StaleClaim,
    TurnEnd,
    TurnRow,
)
from sojourn.errors import (
    ForkPointInvalid,
    IdempotencyConflict,
    OwnershipLost,
    RuntimeClosed,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    TurnNotFound,
)
from sojourn.records import Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus
from sojourn.stores.common import (
    CANCELLED,
    DISCARDED,
    SUPERSEDED,
    decode_cursor,
    encode_cursor,
    ended_body,
    status_of,
    words,
)

_LINE = (TurnStatus.QUEUED, TurnStatus.HELD)


@dataclass(slots=True)
class _Session:
    row: SessionRow
    log: list[Entry] = field(default_factory=list)
    turns: dict[int, TurnRow] = field(default_factory=dict)
    inbox: dict[int, InputRow] = field(default_factory=dict)
    effects: dict[tuple[int, int], Effect] = field(default_factory=dict)
    position: int = 0


class MemoryDatabase:
    """What memory stores share; it dies with the process."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str], _Session] = {}
        self.live_nodes: set[int] = set()
        self.nodes = 0
        self.keys = 0
        self.changes = 0


class MemoryStore(SessionStore):
    """Sessions in a dict."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = database or MemoryDatabase()
        self._node = 0

    # -- life

    async def open(self) -> int:
        self.database.nodes += 1
        self._node = self.database.nodes
        self.database.live_nodes.add(self._node)
        return self._node

    async def close(self) -> None:
        self.database.live_nodes.discard(self._node)
        self._node = 0

    async def abandon(self) -> None:
        """Stop as a killed process does, for tests."""
        await self.close()

    def foreign_changes(self) -> int:
        return self.database.changes

    # -- sessions

    async def create(self, user: str, id: str, *, title: str | None, now: int) -> SessionRow:
        self._write()
        if (user, id) in self.database.sessions:
            raise SessionExists(id)
        return replace(self._create(user, id, title, now).row)

    async def get(self, user: str, id: str) -> SessionRow:
        return replace(self._find(user, id).row)

    async def page(
        self, user: str, *, query: str | None = None, limit: int = 20, after: str | None = None
    ) -> tuple[Sequence[SessionRow], str | None]:
        self._check_open()
        cursor = decode_cursor(after) if after is not None else None
        found = [s.row for s in self.database.sessions.values() if s.row.user == user and _matches(s, query)]
        found.sort(key=lambda row: (row.active, row.key), reverse=True)
        rest = [replace(row) for row in found if cursor is None or (row.active, row.key) < cursor]
        return rest[:limit], encode_cursor(rest[limit - 1]) if len(rest) > limit else None

    async def count(self) -> int:
        self._check_open()
        return len(self.database.sessions)

    async def rename(self, user: str, id: str, title: str, now: int) -> SessionRow:
        self._write()
        row = self._find(user, id).row
        row.title, row.active = title, max(now, row.active)
        return replace(row)

    async def reset(self, user: str, id: str, now: int) -> SessionRow:
        self._write()
        s = self._find(user, id)
        row = s.row
        s.log.clear()
        s.turns.clear()
        s.inbox.clear()
        s.effects.clear()
        row.owner, row.current, row.queued, row.held, row.messages = None, None, 0, 0, 0
        row.fence += 1
        row.first = row.version + 1
        row.active = max(now, row.active)
        row.status = SessionStatus.IDLE
        self._log(s, [Entry(0, EntryKind.SESSION_RESET, 0, "{}")], now)
        return replace(row)

    async def delete(self, user: str, id: str) -> bool:
        self._write()
        gone = self.database.sessions.pop((user, id), None)
        for other in self.database.sessions.values() if gone else ():
            if other.row.user == user and other.row.parent == id:
                other.row.parent = None
        return gone is not None

    async def purge(self, limit: int = 200) -> bool:
        self._check_open()
        return False

    async def fork(self, user: str, id: str, new_id: str, *, at: int | None, title: str | None, now: int) -> SessionRow:
        self._write()
        parent = self._find(user, id)
        if (user, new_id) in self.database.sessions:
            raise SessionExists(new_id)
        cut = _cut(parent, at)
        child = self._create(user, new_id, title, now)
        child.log = [replace(e) for e in parent.log if e.seq <= cut]
        child.effects = {
            place: e for place, e in parent.effects.items() if place[0] <= cut and e.status is EffectStatus.STARTED
        }
        row = child.row
        row.parent, row.version, row.first = id, cut, parent.row.first
        row.messages = sum(e.kind in MESSAGE_KINDS for e in child.log)
        row.turns = max((e.turn for e in child.log), default=0)
        return replace(row)

    async def insert(self, row: SessionRow, entries: Sequence[Entry], turns: Sequence[TurnRow]) -> SessionRow:
        self._write()
        if (row.user, row.id) in self.database.sessions:
            raise SessionExists(row.id)
        s = self._create(row.user, row.id, row.title, row.created)
        at_rest = SessionStatus.IDLE
        s.row = replace(
            row, key=s.row.key, owner=None, fence=0, parent=None, status=at_rest, current=None, queued=0, held=0
        )
        s.log = [replace(e) for e in entries]
        s.turns = {t.turn: replace(t) for t in turns}
        return replace(s.row)

    # -- turns

    async def accept(self, new: NewInput, claim: Claim | None) -> Accepted:
        self._write()
        s = self.database.sessions.get((new.user, new.id))
        if s is None and not new.create:
            raise SessionNotFound(new.id)
        known = s and new.key is not None and next((t for t in s.turns.values() if t.key == new.key), None)
        if s and known:
            return self._attach(s, known, new)
        if s and new.reject and (s.row.queued or s.row.status in {SessionStatus.RUNNING, SessionStatus.QUEUED}):
            raise SessionBusy(new.id)
        current = s.turns.get(s.row.current) if s and s.row.current else None
        clear = not s or (self._free(s.row) and not s.row.queued and (not current or current.status is TurnStatus.HELD))
        opens = claim is not None and clear
        if opens and s and claim and _stale(s.row, claim):
            return Accepted(Acceptance.STALE, replace(s.row), _new_turn(0, new))
        created = s is None
        s = s or self._create(new.user, new.id, new.title, new.now)
        if current and current.status is TurnStatus.HELD:
            self._end_unowned(s, current, TurnEnd(TurnStatus.CANCELLED, SUPERSEDED), new.now)
        s.row.active = max(new.now, s.row.active)
        s.row.title = new.title if s.row.title is None else s.row.title
        s.row.turns += 1
        turn = s.turns[s.row.turns] = _new_turn(s.row.turns, new)
        s.position += 1
        s.inbox[s.position] = InputRow(s.position, turn.turn, new.body, new.text, held=False)
        s.row.queued += 1
        self._settle(s)
        if not opens or claim is None:
            row = replace(s.row)
            return Accepted(Acceptance.QUEUED, row, replace(turn), created=created, orphaned=self._orphaned(s))
        got = self._open_next(s, 0 if created else claim.version, new.now)
        return Accepted(
            Acceptance.OPENED, got.session, got.turn, tail=got.tail, open_calls=got.open_calls, created=created
        )

    def _attach(self, s: _Session, turn: TurnRow, new: NewInput) -> Accepted:
        if turn.digest != new.digest:
            raise IdempotencyConflict(new.id, new.key or "")
        if turn.status is TurnStatus.HELD:
            self._unhold(s, [turn.turn])
        return Accepted(Acceptance.ATTACHED, replace(s.row), replace(turn), orphaned=self._orphaned(s))

    async def acquire(self, user: str, id: str, claim: Claim, now: int) -> Acquired | None:
        self._write()
        s = self._find(user, id)
        if not self._orphaned(s):
            return None
        if _stale(s.row, claim):
            raise StaleClaim
        turn = s.turns[s.row.current] if s.row.current else None
        if turn is None:
            return self._open_next(s, claim.version, now)
        interrupted = turn.status is TurnStatus.RUNNING
        turn.status = TurnStatus.RUNNING
        s.row.owner = self._node
        s.row.fence += 1
        s.row.active = max(now, s.row.active)
        self._settle(s)
        return self._acquired(s, turn, claim.version, continued=True, interrupted=interrupted)

    async def append(self, write: Append) -> Appended:
        self._write()
        s = next((s for s in self.database.sessions.values() if s.row.key == write.session.key), None)
        turn = s.turns.get(write.turn) if s else None
        if not s or not turn or turn.status is not TurnStatus.RUNNING or s.row.owner != self._node:
            raise OwnershipLost(write.session.id)
        if (s.row.fence, s.row.version) != (write.fence, write.version):
            raise OwnershipLost(write.session.id)
        self._log(s, write.entries, write.now)
        for call in write.started:
            s.effects[call.seq, call.index] = Effect(
                seq=call.seq, index=call.index, tool=call.tool, status=EffectStatus.STARTED
            )
        for effect in write.finished:
            if known := s.effects.get((effect.seq, effect.index)):
                s.effects[effect.seq, effect.index] = replace(known, status=effect.status)
        s.row.active = max(write.now, s.row.active)
        if write.usage is not None:
            s.row.usage = write.usage
        if write.turn_usage is not None:
            turn.usage = write.turn_usage
        if write.attempts is not None:
            turn.attempts = write.attempts
        if write.end is None:
            return Appended(s.row.version, cancel_requested=turn.cancel_requested)
        return self._end(s, turn, write)

    def _end(self, s: _Session, turn: TurnRow, write: Append) -> Appended:
        end = write.end or TurnEnd(TurnStatus.FAILED)
        version = s.row.version
        turn.status, turn.reason, turn.usage = end.status, end.reason, end.usage
        if end.status.final:
            turn.ended, turn.ended_seq = write.now, version
            s.row.current = None
        if end.status is TurnStatus.HELD:
            for item in s.inbox.values():
                item.held = True
                s.turns[item.turn].status = TurnStatus.HELD
            s.row.held, s.row.queued = s.row.held + s.row.queued, 0
        if end.status.final and s.row.queued:
            return Appended(version, next=self._open_next(s, version, write.now))
        s.row.owner = None
        self._settle(s)
        return Appended(version)

    async def request_cancel(self, user: str, id: str, turn: int | None, *, clear: bool, now: int) -> Cancelled:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        line = [item.turn for item in s.inbox.values() if not item.held]
        chosen = turn if turn is not None else s.row.current or (line[0] if line else None)
        wanted = [chosen] if chosen is not None else []
        if clear and s.row.current and s.turns[s.row.current].status in _LINE:
            wanted.append(s.row.current)  # it was in line or held before, and is in the history already
        if clear:
            wanted += [item.turn for item in s.inbox.values()]
        done, running = [], None
        for number in dict.fromkeys(wanted):
            found = s.turns[number]
            if found.status is TurnStatus.RUNNING and not self._free(s.row):
                found.cancel_requested, running = True, number
            elif not found.status.final:
                self._end_unowned(s, found, TurnEnd(TurnStatus.CANCELLED, CANCELLED), now)
                done.append(number)
        return Cancelled(replace(s.row), done, running)

    async def resume(self, user: str, id: str) -> Sequence[int]:
        self._write()
        s = self._find(user, id)
        held = [t.turn for t in s.turns.values() if t.status is TurnStatus.HELD]
        self._unhold(s, held)
        return held

    async def discard(self, user: str, id: str, turn: int | None, now: int) -> Sequence[int]:
        self._write()
        s = self._find(user, id)
        if turn is not None and turn not in s.turns:
            raise TurnNotFound(id, turn)
        held = [t for t in s.turns.values() if t.status is TurnStatus.HELD and turn in {None, t.turn}]
        for found in held:
            self._end_unowned(s, found, TurnEnd(TurnStatus.CANCELLED, DISCARDED), now)
        return [found.turn for found in held]

    async def runnable(self, limit: int = 20) -> Sequence[Runnable]:
        self._check_open()
        found = [s.row for s in self.database.sessions.values() if self._orphaned(s)]
        found.sort(key=lambda row: row.active)
        return [Runnable(row.user, row.id) for row in found[:limit]]

    async def cancels(self) -> Sequence[tuple[int, int]]:
        self._check_open()
        return [
            (s.row.key, s.row.current)
            for s in self.database.sessions.values()
            if s.row.owner == self._node and s.row.current and s.turns[s.row.current].cancel_requested
        ]

    # -- reads

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
    ) -> Sequence[Entry]:
        found = [
            replace(e)
            for e in self._find(user, id).log
            if e.seq > after and (before is None or e.seq < before) and (kinds is None or e.kind in kinds)
        ]
        if limit is None:
            return found
        return found[max(0, len(found) - limit) :] if newest else found[:limit]

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

    # -- the moves behind them

    def _check_open(self) -> None:
        if not self._node:
            raise RuntimeClosed

    def _write(self) -> None:
        self._check_open()
        self.database.changes += 1

    def _find(self, user: str, id: str) -> _Session:
        self._check_open()
        found = self.database.sessions.get((user, id))
        if found is None:
            raise SessionNotFound(id)
        return found

    def _create(self, user: str, id: str, title: str | None, now: int) -> _Session:
        self.database.keys += 1
        row = SessionRow(
            key=self.database.keys, user=user, id=id, title=title, created=now, active=now, messages=0, parent=None,
            status=SessionStatus.IDLE, usage="{}", owner=None, fence=0, version=0, first=1, turns=0, current=None,
            queued=0, held=0,
        )  # fmt: skip
        found = self.database.sessions[user, id] = _Session(row)
        return found

    def _free(self, row: SessionRow) -> bool:
        return row.owner is None or row.owner not in self.database.live_nodes

    def _orphaned(self, s: _Session) -> bool:
        return s.row.status in {SessionStatus.RUNNING, SessionStatus.QUEUED} and self._free(s.row)

    def _settle(self, s: _Session) -> None:
        current = s.turns[s.row.current].status if s.row.current else None
        s.row.status = status_of(current, s.row.queued, s.row.held)

    def _log(self, s: _Session, entries: Sequence[Entry], now: int) -> None:
        for entry in entries:
            s.row.version += 1
            s.row.messages += entry.kind in MESSAGE_KINDS
            s.log.append(replace(entry, seq=s.row.version, created=now))

    def _open_next(self, s: _Session, known: int, now: int) -> Acquired:
        position, item = next((p, i) for p, i in sorted(s.inbox.items()) if not i.held)
        del s.inbox[position]
        row, turn = s.row, s.turns[item.turn]
        row.queued -= 1
        row.owner, row.current = self._node, item.turn
        row.fence += 1
        row.active = max(now, row.active)
        self._log(s, [Entry(0, EntryKind.TURN_OPENED, item.turn, item.body, item.text)], now)
        turn.status, turn.attempts, turn.started, turn.opened_seq = TurnStatus.RUNNING, 1, now, row.version
        self._settle(s)
        return self._acquired(s, turn, known, continued=False, interrupted=False)

    def _acquired(self, s: _Session, turn: TurnRow, known: int, *, continued: bool, interrupted: bool) -> Acquired:
        return Acquired(
            replace(s.row),
            replace(turn),
            tail=[replace(e) for e in s.log if e.seq > known],
            continued=continued,
            interrupted=interrupted,
            open_calls=[e for _, e in sorted(s.effects.items()) if e.status is EffectStatus.STARTED],
        )

    def _unhold(self, s: _Session, held: Sequence[int]) -> None:
        for number in held:
            s.turns[number].status = TurnStatus.QUEUED
            for item in s.inbox.values():
                if item.turn == number and item.held:
                    item.held = False
                    s.row.held -= 1
                    s.row.queued += 1
        self._settle(s)

    def _end_unowned(self, s: _Session, turn: TurnRow, end: TurnEnd, now: int) -> None:
        """End a turn that no live node runs; one that was in the history says so there. What it used stays."""
        end = replace(end, usage=turn.usage)
        turn.status, turn.reason, turn.ended = end.status, end.reason, now
        if s.row.current == turn.turn:
            s.row.current, s.row.owner = None, None
            s.row.fence += 1
            self._log(s, [Entry(0, EntryKind.TURN_ENDED, turn.turn, ended_body(end), end.reason or "")], now)
            turn.ended_seq = s.row.version
        for position, item in list(s.inbox.items()):
            if item.turn == turn.turn:
                del s.inbox[position]
                s.row.held -= item.held
                s.row.queued -= not item.held
        s.row.active = max(now, s.row.active)
        self._settle(s)


def _new_turn(number: int, new: NewInput) -> TurnRow:
    return TurnRow(
        turn=number, status=TurnStatus.QUEUED, attempts=0, key=new.key, digest=new.digest, accepted=new.now,
        started=None, ended=None, reason=None, usage="{}", opened_seq=None, ended_seq=None, cancel_requested=False,
    )  # fmt: skip


def _stale(row: SessionRow, claim: Claim) -> bool:
    return claim.key != row.key or not 0 <= row.version - claim.version <= MAX_TAIL


def _cut(parent: _Session, at: int | None) -> int:
    """The number of the entry that ends the turn that `at` points at."""
    ends = [e.seq for e in parent.log if e.kind is EntryKind.TURN_ENDED]
    if at is None:
        return ends[-1] if ends else parent.row.first - 1
    end = next((seq for seq in ends if seq >= at), None)
    spoken: Callable[[Entry], bool] = lambda e: e.kind in MESSAGE_KINDS  # noqa: E731 - names a one-line test
    if end is None or at < parent.row.first or any(at < e.seq < end and spoken(e) for e in parent.log):
        raise ForkPointInvalid(parent.row.id, at)
    return end


def _matches(s: _Session, query: str | None) -> bool:
    wanted = words(query or "")
    if not wanted:
        return query is None or not query.strip()
    texts = [s.row.title or "", *(e.text for e in s.log if e.kind in {EntryKind.TURN_OPENED, EntryKind.MESSAGE})]
    return any(_has(words(text), wanted) for text in texts)


def _has(found: list[str], wanted: list[str]) -> bool:
    return all(word in found for word in wanted[:-1]) and any(word.startswith(wanted[-1]) for word in found)
