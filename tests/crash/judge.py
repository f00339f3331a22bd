"""What must be true of every session once all processes that died have been followed by one that lived."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sojourn.abc import ApprovalRow, Entry, InputRow, SessionRow, SessionStore, TurnRow
from sojourn.records import LOCAL_USER, Effect, EffectStatus, EntryKind, SessionStatus, TurnStatus


@dataclass
class Stored:
    """A session as it lies in storage."""

    row: SessionRow
    log: Sequence[Entry]
    turns: Mapping[int, TurnRow]
    inbox: Sequence[InputRow]
    effects: Sequence[Effect]
    approvals: Sequence[ApprovalRow]

    @property
    def inputs(self) -> list[str]:
        """In the order in which they run."""
        return [entry.text for entry in self.log if entry.kind is EntryKind.TURN_OPENED]

    @property
    def all_inputs(self) -> list[str]:
        """With those in line."""
        return self.inputs + [item.text for item in self.inbox]

    @property
    def told(self) -> str:
        """All that the model was told by people."""
        return "\n".join(e.text for e in self.log if e.kind in {EntryKind.TURN_OPENED, EntryKind.STEERED})

    def turn_of(self, text: str) -> int:
        return next(entry.turn for entry in self.log if entry.kind is EntryKind.TURN_OPENED and entry.text == text)

    def answer_to(self, text: str) -> str:
        """The last thing that the model said in the turn that `text` began."""
        turn = self.turn_of(text)
        return [e.text for e in self.log if e.turn == turn and e.kind is EntryKind.MESSAGE][-1]

    def steps(self) -> list[tuple[int, EntryKind, str, str]]:
        return [(entry.seq, entry.kind, entry.text, entry.body) for entry in self.log]


async def read(store: SessionStore, ids: Sequence[str] | None = None) -> dict[str, Stored]:
    """Every session of the local user, newest activity first."""
    if ids is None:
        rows, _ = await store.page(LOCAL_USER, limit=1000)
        ids = [row.id for row in rows]
    found = {}
    for name in ids:
        loaded = await store.load(LOCAL_USER, name)
        assert loaded is not None
        turns = {turn.turn: turn for turn in await store.turns(LOCAL_USER, name)}
        inbox, effects = await store.inbox(LOCAL_USER, name), await store.effects(LOCAL_USER, name)
        approvals = await store.approvals(LOCAL_USER, name, pending=False)
        found[name] = Stored(*loaded, turns, inbox, effects, approvals)
    return found


def judge_shape(name: str, found: Stored) -> None:
    """At any moment: the log has no gap, no step twice, nothing of another session, no result without its call."""
    row = found.row
    assert [entry.seq for entry in found.log] == list(range(row.first, row.version + 1)), f"gap in the log of {name}"
    assert row.messages == sum(entry.kind in _SHOWN for entry in found.log)
    steps = Counter(
        (entry.turn, entry.kind, entry.text)
        for entry in found.log
        if entry.kind in _SHOWN and "unknown" not in entry.text
    )
    twice = [step for step, times in steps.items() if times > 1]
    assert not twice, f"{name} has steps twice: {twice}"
    home = name.split("+", 1)[0]
    strange = [entry.text for entry in found.log if entry.kind is EntryKind.TURN_OPENED and home not in entry.text]
    assert not strange or row.parent is not None, f"{name} has inputs of others: {strange}"
    opened = [entry.turn for entry in found.log if entry.kind is EntryKind.TURN_OPENED]
    assert opened == sorted(set(opened)), f"{name} opened turns twice or out of order"


def judge_rest(name: str, found: Stored) -> None:
    """At the end: nothing is stuck, every turn has ended, every call has one result."""
    assert found.row.status is SessionStatus.IDLE, f"{name} is {found.row.status}"
    assert (found.row.owner, found.row.current) == (None, None)
    assert (found.row.queued, found.row.held, found.row.steers) == (0, 0, 0)
    assert not found.inbox
    assert all(turn.status.final for turn in found.turns.values())
    assert not [effect for effect in found.effects if effect.status in _OPEN]
    ended = Counter(entry.turn for entry in found.log if entry.kind is EntryKind.TURN_ENDED)
    assert set(ended) == {entry.turn for entry in found.log if entry.turn}
    assert set(ended.values()) <= {1}
    calls, results = Counter[int](), Counter[int]()
    for entry in found.log:
        if entry.kind is EntryKind.MESSAGE:
            calls[entry.turn] += len(json.loads(entry.body).get("calls", ()))
        results[entry.turn] += entry.kind is EntryKind.TOOL_RESULT
    assert +calls == +results, f"{name} has calls without one result each"


def describe(found: Mapping[str, Stored]) -> str:
    """The end states of every session's turns, on one line."""
    ends = {name: "".join(_LETTER[turn.status] for turn in one.turns.values()) for name, one in found.items()}
    return "  ".join(f"{name} {letters}" for name, letters in sorted(ends.items()))


_SHOWN = frozenset({EntryKind.TURN_OPENED, EntryKind.MESSAGE, EntryKind.TOOL_RESULT, EntryKind.STEERED})
_OPEN = frozenset({EffectStatus.STARTED, EffectStatus.INTENDED})
_LETTER = {TurnStatus.COMPLETED: "C", TurnStatus.CANCELLED: "X", TurnStatus.FAILED: "F"}
