"""The store machine with people: turns ask, somebody decides or nobody in time, some of it is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, rule

from sojourn.abc import (
    Appended,
    ApprovalRow,
    Decided,
    Entry,
    NewApproval,
    NewCall,
    RememberedRow,
    TurnEnd,
    Verdict,
    approval_decided_body,
)
from sojourn.records import ApprovalStatus, EffectStatus, EntryKind, Remember, TurnStatus
from tests.model.store_machine import NODES, USERS, Pen, StoreMachine, claim, names, nodes, users

PENDING, APPROVED, DENIED = ApprovalStatus.PENDING, ApprovalStatus.APPROVED, ApprovalStatus.DENIED
ANSWERED = {APPROVED, DENIED, ApprovalStatus.EXPIRED}


@dataclass(frozen=True)
class Question:
    """What a call that needs a yes is drawn from."""

    tool: str
    arguments: str
    #: Moments from now.
    expires: int | None
    status: EffectStatus


#: Few sessions, so that much happens in each.
askers, places = st.sampled_from(["ann", "ann", "bob"]), st.sampled_from(["a", "b"])
questions = st.lists(
    st.builds(
        Question,
        tool=st.sampled_from(["rm", "rm", "mv"]),
        arguments=st.sampled_from(["x", "y"]),
        expires=st.sampled_from([None, None, None, None, 0, 5, 20]),
        status=st.sampled_from([EffectStatus.INTENDED, EffectStatus.STARTED]),
    ),
    min_size=1,
    max_size=3,
)

verdicts = st.builds(
    Verdict,
    status=st.sampled_from([APPROVED, APPROVED, APPROVED, DENIED]),
    by=st.sampled_from(["mia", "eve"]),
    now=st.just(0),
    reason=st.sampled_from([None, "why"]),
    changed=st.sampled_from([None, None, None, '{"x":1}']),
    remember=st.sampled_from([None, *Remember]),
    fleeting=st.booleans(),
)


class ApprovalMachine(StoreMachine):
    """Drives both stores through questions too."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made}"

    # -- asking

    @rule(
        pen=StoreMachine.pens, asked=questions, usage=st.sampled_from([None, '{"m":{}}']),
        wrong=st.sampled_from(["", "", "", "", "", "fence", "version", "node"]), attempts=st.sampled_from([None, 2]),
    )  # fmt: skip
    def ask(self, *, pen: Pen, asked: list[Question], usage: str | None, wrong: str, attempts: int | None) -> None:
        self.stop_for(pen, asked, wrong, usage=usage, attempts=attempts)

    @rule(target=StoreMachine.pens, node=nodes, user=askers, id=places, asked=questions)
    def run_and_ask(self, node: int, user: str, id: str, asked: list[Question]) -> Any:
        return self.asks(self.runs(node, user, id), asked)

    @rule(target=StoreMachine.pens, node=nodes, user=askers, id=places, pick=st.integers(0, 5), more=questions)
    def ask_what_is_remembered(self, node: int, user: str, id: str, pick: int, more: list[Question]) -> Any:
        known = self.remembered(user)
        if not known:
            return multiple()
        row = known[pick % len(known)]
        same = Question(row.tool, row.arguments or "x", None, EffectStatus.INTENDED)
        return self.asks(self.runs(node, user, row.session or id), [same, *more[: pick % 2]])

    @rule(target=StoreMachine.pens, node=nodes, pick=st.integers(0, 5), asked=st.none() | questions)
    def take_up(self, node: int, pick: int, asked: list[Question] | None) -> Any:
        found = self.on(node, lambda store, _: store.runnable())[0]
        if not found:
            return multiple()
        session = found[pick % len(found)]
        pen = self.acquire(node, session.user, session.id)
        return self.asks(pen, asked) if asked else pen

    @rule(node=nodes, user=askers, id=places, pick=st.integers(0, 9), ending=st.booleans())
    def carry_out(self, *, node: int, user: str, id: str, pick: int, ending: bool) -> None:
        pen = self.runs(node, user, id)
        calls = self.on(node, lambda store, _: store.effects(user, id))[0] if pen else []
        calls = [call for call in calls if call.status in {EffectStatus.STARTED, EffectStatus.INTENDED}]
        if pen and calls:
            call = calls[pick % len(calls)]
            status = (
                EffectStatus.STARTED if call.status is EffectStatus.INTENDED and pick % 2 else EffectStatus.FINISHED
            )
            end = TurnEnd(TurnStatus.COMPLETED) if ending else None
            kind = EntryKind.TURN_ENDED if ending else EntryKind.TOOL_RESULT
            entries = [Entry(0, kind, pen.turn, "{}")]
            self.append(pen, entries=entries, finished=[replace(call, status=status)], end=end)

    def runs(self, node: int, user: str, id: str) -> Pen | None:
        """The pen of whoever runs the session's turn; somebody does, unless it is lost to a dead node at the moment."""
        loaded = self.on(node, lambda store, _: store.load(user, id))
        if loaded[0] is None or loaded[0][0].status in {"idle", "held", "waiting"}:
            new = self.input(user, id, "red walrus")
            return self.if_pen(self.accept(node, new, (claim(loaded[0]), claim(loaded[1]))))
        row, twin = loaded[0][0], loaded[1][0]
        owners = [number for number in NODES if row.owner == self.numbers[number]]
        if row.status == "running" and owners:
            return Pen(owners[0], (row, twin), row.fence, row.version, row.current)
        return self.if_pen(self.acquire(node, user, id))

    def if_pen(self, found: Any) -> Pen | None:
        return found if isinstance(found, Pen) else None

    def asks(self, pen: Any, asked: list[Question]) -> Any:
        if not isinstance(pen, Pen):
            return multiple()
        self.stop_for(pen, asked, "")
        return pen

    def stop_for(self, pen: Pen, asked: list[Question], wrong: str, **values: Any) -> None:
        seq = pen.version + 1
        calls = [NewCall(seq, index, q.tool, q.arguments, q.status) for index, q in enumerate(asked)]
        new = [
            NewApproval(
                self.name("q"), seq, index, q.tool, q.arguments, q.arguments,
                None if q.expires is None else self.now + 1 + q.expires,
            )
            for index, q in enumerate(asked)
        ]  # fmt: skip
        entries = [Entry(0, EntryKind.MESSAGE, pen.turn, "{}", "calls")]
        entries += [Entry(0, EntryKind.APPROVAL_ASKED, pen.turn, "{}") for _ in asked]
        known = self.remembered(pen.sessions[0].user)
        end = TurnEnd(TurnStatus.WAITING, usage='{"w":{}}')
        answer = self.append(pen, wrong, started=calls, entries=entries, asked=new, end=end, **values)
        if isinstance(answer, Appended) and not answer.refused:
            expected = [APPROVED if any(holds(row, q) for row in known) else PENDING for q in answer.asked]
            assert [q.status for q in answer.asked] == expected
            assert (answer.next is None) == (PENDING in expected)

    # -- answering

    @rule(
        target=StoreMachine.pens, node=nodes, user=askers, id=places, asked=questions, verdict=verdicts,
        pick=st.integers(0, 9), going_on=st.booleans(),
    )  # fmt: skip
    def decide(
        self, *, node: int, user: str, id: str, asked: list[Question], verdict: Verdict, pick: int, going_on: bool
    ) -> Any:
        found = self.on(node, lambda store, _: store.approvals(user))[0]
        if not found:
            self.asks(self.runs(node, user, id), asked)
            found = self.on(node, lambda store, _: store.approvals(user))[0]
        if not found:
            return multiple()
        question = found[pick % len(found)]
        got = self.rule_on(node, user, question.session, question.id, verdict)
        assert isinstance(got, Decided)
        assert got.approvals[0].id == question.id
        assert {answer.decided for answer in got.approvals} == {self.now}
        if got.runnable and going_on:
            return self.acquire(node, got.runnable[-1].user, got.runnable[-1].id)
        return multiple()

    @rule(
        node=nodes, user=askers, pick=st.integers(0, 9), verdict=verdicts,
        wrong=st.sampled_from(["", "", "", "", "", "user", "session", "id"]),
    )  # fmt: skip
    def decide_what_may_be_decided(self, *, node: int, user: str, pick: int, verdict: Verdict, wrong: str) -> None:
        found = self.on(node, lambda store, _: store.approvals(user, pending=False))[0]
        if found:
            question = found[pick % len(found)]
            session = "c" if wrong == "session" else question.session
            name = "nobody" if wrong == "id" else question.id
            self.rule_on(node, "bob" if wrong == "user" else user, session, name, verdict)

    def rule_on(self, node: int, user: str, id: str, approval: str, drawn: Verdict) -> Any:
        """Decide; what the memory store answered."""
        verdict = replace(drawn, now=self.tick(), remembered=self.name("r"))
        return self.on(node, lambda store, _: store.decide(user, id, approval, verdict))[0]

    @rule(node=nodes, limit=st.sampled_from([1, 2, 100]), skip=st.sampled_from([0, 0, 3, 10]))
    def expire(self, node: int, limit: int, skip: int) -> None:
        self.now += skip
        now = self.tick()
        self.on(node, lambda store, _: store.expire(now, limit))

    @rule(node=nodes, user=users, pick=st.integers(0, 5), other=st.sampled_from([False, False, True]))
    def forget(self, node: int, user: str, pick: int, *, other: bool) -> None:
        known = self.remembered(user)
        name = known[pick % len(known)].id if known else "nothing"
        whose = "bob" if other else user
        self.on(node, lambda store, _: store.forget(whose, name))

    # -- what always holds

    @rule(node=nodes, user=users, id=names, limit=st.integers(1, 3), pending=st.booleans())
    def list_some(self, node: int, user: str, id: str, limit: int, *, pending: bool) -> None:
        self.on(node, lambda store, _: store.approvals(user, id, pending=pending, limit=limit))
        self.on(node, lambda store, _: store.approvals(user, pending=pending, limit=limit))
        self.on(node, lambda store, _: store.remembered(user, id))

    @invariant()
    def they_ask_the_same(self) -> None:
        for user in USERS:
            asked = self.approvals(user)
            assert [q.id for q in asked if q.status is PENDING] == [q.id for q in self.approvals(user, pending=True)]
            self.questions_are_sound(asked, self.remembered(user))
            for name in sorted({q.session for q in asked}):
                self.log_tells_all(user, name, [q for q in asked if q.session == name])

    def questions_are_sound(self, asked: Sequence[ApprovalRow], known: Sequence[RememberedRow]) -> None:
        assert len({q.id for q in asked}) == len(asked)
        assert [q.asked for q in asked] == sorted(q.asked for q in asked)
        for question in asked:
            pending = question.status is PENDING
            assert pending == (question.decided is None)
            assert not (pending and any(holds(row, question) for row in known))

    def log_tells_all(self, user: str, id: str, asked: Sequence[ApprovalRow]) -> None:
        (row, log), _ = self.on(0, lambda store, _: store.load(user, id))
        told = [e.body for e in log if e.kind is EntryKind.APPROVAL_DECIDED]
        bodies = [approval_decided_body(q) for q in asked if q.status in ANSWERED]
        assert sorted(body for body in told if body in bodies) == sorted(bodies)
        pending = {q.turn for q in asked if q.status is PENDING}
        assert pending == ({row.current} if row.status == "waiting" else set())

    def approvals(self, user: str, *, pending: bool = False) -> Sequence[ApprovalRow]:
        found: Sequence[ApprovalRow] = self.on(1, lambda store, _: store.approvals(user, pending=pending))[0]
        return found

    def remembered(self, user: str) -> Sequence[RememberedRow]:
        found: Sequence[RememberedRow] = self.on(0, lambda store, _: store.remembered(user))[0]
        return found


def holds(known: RememberedRow, question: ApprovalRow) -> bool:
    """Whether what is remembered for a user is a yes to one of their questions."""
    return (
        known.session in {None, question.session}
        and known.tool == question.tool
        and known.digest in {None, question.digest}
    )
