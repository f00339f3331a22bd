"""The store machine with people who do not wait: they speak into turns and behind them, and take things back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import multiple, rule

from sojourn.abc import Acceptance, Accepted, Appended, Entry, InputRow, TurnEnd
from sojourn.errors import InboxFull
from sojourn.records import EntryKind, InputKind, TurnStatus
from tests.model.approval_machine import ApprovalMachine, askers, places
from tests.model.store_machine import Pen, StoreMachine, names, nodes, users

STEER, FOLLOW_UP, MESSAGE = InputKind.STEER, InputKind.FOLLOW_UP, InputKind.MESSAGE

kinds = st.sampled_from([STEER, STEER, FOLLOW_UP, FOLLOW_UP, MESSAGE])
spoken = st.sampled_from(["red walrus", "blue", ""])
inputs = st.lists(st.tuples(kinds, spoken), min_size=1, max_size=4)
endings = st.sampled_from([
    None, TurnStatus.COMPLETED, TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.HELD, TurnStatus.HELD,
    TurnStatus.QUEUED,
])  # fmt: skip
mostly_not = st.sampled_from([False, False, False, True])
limits = st.sampled_from([None, None, None, None, 1, 4])


class InboxMachine(ApprovalMachine):
    """Drives both stores through everything."""

    # -- saying

    @rule(
        target=StoreMachine.pens, node=nodes, user=users, id=names, kind=kinds, text=spoken, limit=limits,
        claimed=st.booleans(), create=st.booleans(),
    )  # fmt: skip
    def put(
        self, *, node: int, user: str, id: str, kind: InputKind, text: str, limit: int | None, claimed: bool,
        create: bool,
    ) -> Any:  # fmt: skip
        new = self.input(user, id, text, kind=kind, limit=limit, create=create)
        return self.accept(node, new, self.claims(node, user, id) if claimed else [None, None])

    @rule(
        node=nodes, user=askers, id=places, said=inputs, count=st.integers(0, 3), text=spoken,
        wrong=st.sampled_from([None, None, None, None, 1, 3, 70]), ending=endings,
    )  # fmt: skip
    def speak_and_tell(
        self, *, node: int, user: str, id: str, said: list[tuple[InputKind, str]], count: int, text: str,
        wrong: int | None, ending: TurnStatus | None,
    ) -> None:  # fmt: skip
        pen = self.runs(node, user, id)
        if pen is None:
            return
        for kind, words in said:
            self.speak(node, user, id, kind, words)
        steers = [item.position for item in self.line(user, id) if item.kind is STEER and not item.held]
        taken = steers[:count] + [place for place in [wrong] if place is not None and place not in steers[:count]]
        self.tell(pen, steers, taken, text, ending)

    @rule(node=nodes, user=askers, id=places, said=inputs, ending=endings)
    def speak_and_end(
        self, node: int, user: str, id: str, said: list[tuple[InputKind, str]], ending: TurnStatus | None
    ) -> None:
        pen = self.runs(node, user, id)
        if pen is None:
            return
        for kind, words in said:
            self.speak(node, user, id, kind, words)
        steers = [item.position for item in self.line(user, id) if item.kind is STEER and not item.held]
        self.tell(pen, steers, [], "", ending)

    def speak(self, node: int, user: str, id: str, kind: InputKind, text: str) -> None:
        """Say it while a turn runs."""
        before = self.line(user, id)
        new = self.input(user, id, text, kind=kind, limit=9)
        answer = self.on(node, lambda store, _: store.accept(new, None))[0]
        if isinstance(answer, InboxFull):
            assert len(before) >= 9
            return
        assert isinstance(answer, Accepted)
        assert answer.outcome is Acceptance.QUEUED
        added = self.line(user, id)[len(before) :]
        assert [(i.position, i.turn, i.kind, i.held) for i in added] == [
            (answer.position, answer.turn.turn, kind, False)
        ]
        assert (answer.turn.turn == answer.session.current) == (kind is STEER)

    # -- telling

    def tell(self, pen: Pen, steers: Sequence[int], taken: Sequence[int], text: str, ending: TurnStatus | None) -> None:
        """Take some of what is in line to be said, and perhaps what is not."""
        entries = [Entry(0, EntryKind.STEERED, pen.turn, "{}", text)] if taken else []
        if ending is not None and ending.final:
            entries.append(Entry(0, EntryKind.TURN_ENDED, pen.turn, "{}"))
        end = None if ending is None else TurnEnd(ending)
        answer = self.append(pen, entries=entries, taken=taken, end=end)
        assert isinstance(answer, Appended)
        untold = set(steers) - set(taken)
        assert answer.refused == (not set(taken) <= set(steers) or (ending is TurnStatus.COMPLETED and bool(untold)))
        if answer.refused:
            assert answer.steers == len(steers)
        elif ending in {None, TurnStatus.QUEUED}:
            assert answer.steers == len(untold)

    @rule(target=StoreMachine.pens, node=nodes, user=askers, id=places)
    def go_on(self, node: int, user: str, id: str) -> Any:
        """What is next in line runs, one way or another."""
        return self.runs(node, user, id) or multiple()

    # -- taking back

    @rule(
        node=nodes, user=askers, id=places, pick=st.integers(0, 9), wrong=st.sampled_from([False, False, False, True])
    )
    def remove(self, *, node: int, user: str, id: str, pick: int, wrong: bool) -> None:
        before = self.line(user, id)
        if not before and not wrong:
            return
        position = pick if wrong else before[pick % len(before)].position
        now = self.tick()
        answer = self.on(node, lambda store, _: store.remove(user, id, position, now))[0]
        there = [item for item in before if item.position == position]
        if not isinstance(answer, Exception):
            assert answer == (there[0].turn if there else None)
            assert self.line(user, id) == [item for item in before if item not in there]

    @rule(node=nodes, user=askers, id=places)
    def resume_all(self, node: int, user: str, id: str) -> None:
        before, now = self.line(user, id), self.tick()
        turns = self.on(node, lambda store, _: store.resume(user, id, now))[0]
        if isinstance(turns, Exception):
            return
        after = self.line(user, id)
        assert [item.position for item in after] == [item.position for item in before]
        assert not any(item.held for item in after)
        again = [item.turn for old, item in zip(before, after, strict=True) if old.held]
        assert set(again) <= set(turns)

    @rule(node=nodes, user=askers, id=places)
    def discard_all(self, node: int, user: str, id: str) -> None:
        now = self.tick()
        self.on(node, lambda store, _: store.discard(user, id, None, now))
        held = [item for item in self.line(user, id) if item.held]
        assert all(item.kind is not STEER for item in held)

    def line(self, user: str, id: str) -> Sequence[InputRow]:
        found = self.on(1, lambda store, _: store.inbox(user, id))[0]
        return [] if isinstance(found, Exception) else found


class LineMachine(InboxMachine):
    """Only what has to do with the line, so that more of it happens."""


for _other in (
    "create", "rename", "purge", "fork", "export", "remember", "say_with_an_old_copy", "acquire_with_an_old_copy",
    "search", "window", "ask", "carry_out", "decide_what_may_be_decided", "expire", "forget", "list_some",
):  # fmt: skip
    setattr(LineMachine, _other, None)
