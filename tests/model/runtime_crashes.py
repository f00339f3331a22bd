"""A process dies at an operation: right before it, or when it is durable and nobody has heard of it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sojourn.records import InputKind, TurnStatus
from tests.model.runtime_acts import TOOLS, ids
from tests.model.runtime_inbox import InboxMachine, kinds
from tests.model.runtime_machine import nodes
from tests.model.runtime_model import Session
from tests.model.runtime_nodes import Fuse, Node


class CrashingMachine(InboxMachine):
    """The rules of crashes at an operation; `crash` is one between them."""

    def burn(self, node: Node) -> bool:
        """Whether the node has died as it should."""
        self.run(self.traffic.quiet())
        node.fuse = None
        return node.dead

    def go_on(self, node: Node) -> None:
        """Bury the dead; a crash is of interest for what comes behind it."""
        if node.dead:
            self.bury(node)
        if self.nodes:
            self.check()
        else:
            self.open_node("left")

    @rule(sid=ids, tools=st.lists(st.sampled_from(TOOLS), max_size=3), after=st.booleans(), second=st.booleans())
    def die_at_a_response(self, sid: str, tools: list[str], *, after: bool, second: bool) -> None:
        if not self.something_runs(sid) or self.act(sid).open:
            return
        act = self.act(sid)
        session, node = self.sessions[act.session], self.nodes[act.node]
        gated = self.gated(session, tools)
        asks = bool(tools) and set(tools) <= set(gated)
        self.said += 1
        text = f"{act.session} thinks {self.said}"
        node.fuse = Fuse("append", after=after, number=1 + (second and asks))
        self.stage.order(act.session, "respond", (text, tools, gated))
        assert self.burn(node)
        if after or (second and asks):
            session.responded(text, tools, gated)
        if after and second and asks:
            session.ask()
            if session.current is not None and session.current.status is TurnStatus.QUEUED:
                session.current.status = TurnStatus.RUNNING  # what is remembered let it go on at once
        self.go_on(node)

    @rule(sid=ids, place=st.integers(0, 2), after=st.booleans())
    def die_at_a_result(self, sid: str, place: int, *, after: bool) -> None:
        act = next((act for act in self.stage.acts.values() if act.open), None)
        if act is None:
            return
        session, node = self.sessions[act.session], self.nodes[act.node]
        place %= len(act.open)
        call, text = self.call_at(act, place), f"{act.session} found nothing"
        node.fuse = Fuse("append", after=after)
        self.stage.order(act.session, "result", (place, text))
        assert self.burn(node)
        if after:
            session.returned(session.open_calls.index(call), text)
        self.go_on(node)

    @rule(sid=ids, after=st.booleans())
    def die_at_the_answer(self, sid: str, *, after: bool) -> None:
        if not self.something_runs(sid) or self.act(sid).open:
            return
        act = self.act(sid)
        session, node = self.sessions[act.session], self.nodes[act.node]
        if session.steers:
            return  # what is stored first then is not the answer's end
        self.said += 1
        text = f"{act.session} answers {self.said}"
        node.fuse = Fuse("append", after=after)
        self.stage.order(act.session, "answer", text)
        assert self.burn(node)
        if after:
            session.answer(text)
            if session.queued:
                session.open_next(closing=False)
        self.go_on(node)

    @precondition(lambda self: self.nodes)
    @rule(
        name=nodes,
        sid=ids,
        yes=st.booleans(),
        operation=st.sampled_from(["decide", "acquire", "append"]),
        after=st.booleans(),
    )
    def die_at_a_decision(self, name: str, sid: str, *, yes: bool, operation: str, after: bool) -> None:
        """The one who decides last, or who takes up what was decided."""
        waiting = [session for _, session in sorted(self.sessions.items()) if session.pending]
        if not waiting:
            return
        session, node = waiting[ord(sid) % len(waiting)], self.pick(name)
        question = session.pending[0]
        if (question.expires or self.clock.now_ms() + 1) <= self.clock.now_ms():
            return
        last = len(session.pending) == 1
        node.fuse = Fuse(operation, after=after)
        call = node.start(self.verdict(node, question, yes=yes), self.loop)
        dead = self.burn(node)
        if not dead or operation != "decide" or after:
            self.decided(node, question, None if dead else call.exception(), yes=yes)
        if dead and last:
            self._taken_up(session, operation, after=after)
        self.go_on(node)

    def _taken_up(self, session: Session, operation: str, *, after: bool) -> None:
        turn = session.current
        assert turn is not None
        if (operation, after) in {("acquire", True), ("append", False)}:
            turn.status = TurnStatus.RUNNING
        elif (operation, after) == ("append", True):
            session.go_on(turn, self.settings.on_interrupt)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, kind=kinds, after=st.booleans())
    def die_at_an_input(self, name: str, sid: str, kind: InputKind, *, after: bool) -> None:
        """Nobody is told that it was taken; it may be there all the same."""
        node, sid = self.pick(name), self.there(sid)
        session = self.sessions.get(sid)
        if session is None or len(session.line) >= self.settings.max_inbox:
            return
        self.said += 1
        text, scope = f"{sid} adds {self.said}", node.scope(sid)
        node.fuse = Fuse("accept", after=after)
        node.start(scope.steer(sid, text) if kind is InputKind.STEER else scope.follow_up(sid, text), self.loop)
        assert self.burn(node)
        if after:
            self.added(sid, text, kind)
        self.go_on(node)
