"""What people decide of calls that wait for them: yes, no, again, at once, for later, too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sojourn.errors import ApprovalDecided, ApprovalNotFound, SessionNotFound
from sojourn.records import ApprovalStatus, Remember
from tests.model.runtime_acts import TOOLS, ids
from tests.model.runtime_machine import TTL, RuntimeMachine, nodes
from tests.model.runtime_nodes import OTHER, Act, Node, user_of
from tests.model.runtime_people import GATED, Question, is_alike, kept_of

APPROVED, DENIED, PENDING = ApprovalStatus.APPROVED, ApprovalStatus.DENIED, ApprovalStatus.PENDING

#: Changed arguments as they are written in storage.
CHANGED = '{"to":9}'

places = st.integers(0, 5)


class DecidingMachine(RuntimeMachine):
    """The rules of decisions."""

    def asked(self, *, pending: bool) -> list[Question]:
        """Questions of all sessions."""
        every = [q for _, session in sorted(self.sessions.items()) for _, q in sorted(session.questions.items())]
        return [question for question in every if question.status is PENDING or not pending]

    # -- how it comes to questions

    def working(self, sid: str) -> Act | None:
        """A turn inside an engine that is about to ask the model, if that can be had at once."""
        if not self.something_runs(sid):
            return None
        act = self.act(sid)
        while act.open:
            self.tool_returns(act.session, 0)
            if self.stage.acts.get(act.session) is not act:
                return self.stage.acts.get(act.session)
        return act

    @precondition(lambda self: self.nodes)
    @rule(sid=ids, free=st.booleans(), tools=st.lists(st.sampled_from(GATED), min_size=1, max_size=2))
    def ask_people(self, sid: str, tools: list[str], *, free: bool) -> None:
        act = self.working(sid)
        if act is not None:
            self.respond_in(act, ["look", *tools] if free else tools)

    @precondition(lambda self: self.nodes)
    @rule(sid=ids)
    def answer_in_the_end(self, sid: str) -> None:
        act = self.working(sid)
        if act is not None and not act.open:
            self.answer(sid)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, other=ids, remember=st.sampled_from(sorted(Remember)))
    def remember_and_ask_elsewhere(self, name: str, sid: str, other: str, remember: Remember) -> None:
        """A yes for later, and the same call in another session."""
        self.ask_people(sid, ["pay"], free=False)
        asked = [question for question in self.asked(pending=True) if question.tool == "pay"]
        if asked:
            place = self.asked(pending=True).index(asked[-1])
            self.decide(name, place, yes=True, changed=False, remember=remember, pending=True)
        if self.nodes and other not in self.stage.acts:
            self.send(name, other, None, other=True, create=True, busy="queue")
        act = self.stage.acts.get(other)
        if act is not None and not act.open:
            self.respond_in(act, ["pay"])

    @precondition(lambda self: self.nodes)
    @rule(sid=ids)
    def nobody_decides(self, sid: str) -> None:
        if self.settings.approval_timeout is not None:
            self.ask_people(sid, ["pay"], free=False)
            self.let_time_pass(TTL + 1)

    # -- what is decided

    @precondition(lambda self: self.nodes)
    @rule(
        name=nodes,
        place=places,
        yes=st.sampled_from([True, True, False]),
        changed=st.booleans(),
        remember=st.none() | st.sampled_from(sorted(Remember)),
        pending=st.sampled_from([True, True, True, False]),
    )
    def decide(
        self, name: str, place: int, *, yes: bool, changed: bool, remember: Remember | None, pending: bool
    ) -> None:
        asked = self.asked(pending=pending)
        if not asked:
            self.ask_people("a", ["pay", "send"], free=False)
            return
        node, question = self.pick(name), asked[place % len(asked)]
        arguments = CHANGED if yes and changed else None
        call = node.start(self.verdict(node, question, yes=yes, changed=arguments, remember=remember), self.loop)
        self.run(asyncio.wait([call]))
        self.decided(node, question, call.exception(), yes=yes, changed=arguments, remember=remember)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, votes=st.lists(st.booleans(), min_size=1, max_size=3))
    def decide_all(self, name: str, sid: str, votes: list[bool]) -> None:
        """Whoever looks at one session's questions answers them all."""
        waiting = [session for _, session in sorted(self.sessions.items()) if session.pending]
        session = waiting[ord(sid) % len(waiting)] if waiting else None
        if session is None:
            self.ask_people(sid, ["pay", "pay"], free=False)
        for number, question in enumerate(session.pending if session else ()):
            asked = self.asked(pending=True)
            if question in asked:
                yes = votes[number % len(votes)]
                self.decide(name, asked.index(question), yes=yes, changed=False, remember=None, pending=True)

    @precondition(lambda self: self.nodes)
    @rule(
        name=nodes,
        sid=ids,
        tools=st.lists(st.sampled_from(TOOLS), max_size=2),
        votes=st.lists(st.booleans(), min_size=1, max_size=3),
    )
    def ask_and_decide(self, name: str, sid: str, tools: list[str], votes: list[bool]) -> None:
        act = self.working(sid)
        if act is None:
            return
        self.respond_in(act, ["pay", *tools])
        while self.stage.acts.get(act.session) is act and act.open:
            self.tool_returns(act.session, 0)
        if self.nodes and act.session in self.sessions:
            self.decide_all(name, act.session, votes)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, place=places)
    def decide_again(self, name: str, place: int) -> None:
        """The same decision, preferably of a call that runs: nothing comes of it."""
        decided = [q for q in self.asked(pending=False) if q.status in {APPROVED, DENIED}]
        runs = {(s.id, call.seq, call.index) for s in self.sessions.values() for call in s.open_calls}
        asked = [q for q in decided if (q.session, *q.place) in runs] or decided
        if not asked:
            self.ask_and_decide(name, "a", [], [True])
            return
        node, question = self.pick(name), asked[place % len(asked)]
        yes = question.status is APPROVED
        again = self.run(node.do(self.verdict(node, question, yes=yes, changed=question.changed)))
        assert (again.status, again.decided_by) == (question.status, question.by)
        self.touched = question.session
        self.check()

    def verdict(
        self, node: Node, question: Question, *, yes: bool, changed: str | None = None, remember: Remember | None = None
    ) -> Any:
        scope = node.scope(question.session)
        if yes:
            return scope.approve(question.session, question.id, arguments=changed, remember=remember, by=node.name)
        return scope.deny(question.session, question.id, reason="no", by=node.name)

    def decided(
        self,
        node: Node,
        question: Question,
        error: BaseException | None,
        *,
        yes: bool,
        changed: str | None = None,
        remember: Remember | None = None,
    ) -> None:
        """What the model makes of a decision, and what its maker should have heard."""
        wanted = APPROVED if yes else DENIED
        session = self.sessions[question.session]
        overdue = question.expires is not None and question.expires <= self.clock.now_ms()
        if question.status is not PENDING or overdue:
            if question.status is PENDING:
                session.expire([question])
            same = (question.status, question.changed) == (wanted, changed)
            assert error is None if same else isinstance(error, ApprovalDecided), (question, error)
            return
        assert error is None, (question, error)
        session.decided(question, wanted, node.name, changed)
        if remember is not None and yes:
            owner = node.name if self.settings.forget_allowed else None
            self.kept.append(kept_of(user_of(question.session), remember, question, owner))
            for other in self.asked(pending=True):
                if user_of(other.session) == user_of(question.session) and is_alike(remember, question, other):
                    self.sessions[other.session].decided(other, APPROVED, node.name)
        for other_session in self.sessions.values():
            other_session.go_on_if_decided()

    @precondition(lambda self: self.nodes)
    @rule(place=places, votes=st.lists(st.booleans(), min_size=2, max_size=4))
    def several_decide_at_once(self, place: int, votes: list[bool]) -> None:
        asked = self.asked(pending=True)
        if not asked:
            return
        question, every = asked[place % len(asked)], list(self.nodes.values())
        voters = [every[number % len(every)] for number in range(len(votes))]
        calls = [
            node.start(self.verdict(node, question, yes=yes), self.loop)
            for node, yes in zip(voters, votes, strict=True)
        ]
        self.run(asyncio.wait(calls))
        won = [number for number, call in enumerate(calls) if call.exception() is None]
        found = {votes[number] for number in won}
        assert len(found) <= 1, f"{question} was decided both ways"
        if won:
            status = calls[won[0]].result()
            first = next(number for number in won if voters[number].name == status.decided_by)
        else:
            first = 0  # too late for all
        order = [first, *(number for number in range(len(calls)) if number != first)]
        for number in order:
            self.decided(voters[number], question, calls[number].exception(), yes=votes[number])
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, place=places, sid=ids)
    def decide_in_the_wrong_session(self, name: str, place: int, sid: str) -> None:
        asked = self.asked(pending=True)
        question = asked[place % len(asked)] if asked else None
        if question is not None and question.session == sid:
            return
        fails = ApprovalNotFound if sid in self.sessions else SessionNotFound
        wanted = question.id if question else "nothing"
        node = self.pick(name)
        with pytest.raises(fails):
            self.run(node.do(node.scope(sid).approve(sid, wanted)))
        if question is not None:
            other = {"local": OTHER, OTHER: "local"}[user_of(question.session)]
            with pytest.raises(SessionNotFound):
                self.run(node.do(node.runtime.for_user(other).approve(question.session, wanted)))
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, place=places)
    def forget(self, name: str, place: int) -> None:
        if not self.kept:
            return
        node = self.pick(name)
        kept = self.kept[place % len(self.kept)]
        rows = self.run(node.do(node.runtime.for_user(kept.user).remembered()))
        row = next(r for r in rows if (r.session, r.tool, r.arguments) == (kept.session, kept.tool, kept.arguments))
        other = {"local": OTHER, OTHER: "local"}[kept.user]
        assert not self.run(node.do(node.runtime.for_user(other).forget(row.id)))
        assert self.run(node.do(node.runtime.for_user(kept.user).forget(row.id)))
        same = [k for k in self.kept if (k.user, k.session, k.tool, k.arguments) == (kept.user, *_about(row))]
        if len({k.node for k in same}) == 1:
            self.kept.remove(kept)
        else:  # two alike, of two nodes; whose it was does not show
            gone = self.run(node.do(node.store.remembered(kept.user)))
            assert len(gone) == len(rows) - 1
            self.kept = [k for k in self.kept if k not in same] + [*same[1:]]
        self.check()


def _about(row: Any) -> tuple[Any, ...]:
    return row.session, row.tool, row.arguments
