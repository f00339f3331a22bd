"""What is said while a session is busy, what is taken back of it, and what is set from outside."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sojourn.errors import InboxFull, SessionBusy, SessionNotFound
from sojourn.records import InputKind
from tests.model.runtime_acts import ids
from tests.model.runtime_deciding import DecidingMachine
from tests.model.runtime_machine import nodes
from tests.model.runtime_model import Session
from tests.model.runtime_world import LOOK, Caller

kinds = st.sampled_from([InputKind.STEER, InputKind.FOLLOW_UP])


class InboxMachine(DecidingMachine):
    """The rules of the inbox and of the state."""

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, kind=kinds, create=st.sampled_from([True, True, True, False]))
    def put(self, name: str, sid: str, kind: InputKind, *, create: bool) -> None:
        """A steer or a follow-up: nobody waits for what becomes of it."""
        sid = "a" if sid == "z" else sid
        self.said += 1
        session, text = self.sessions.get(sid), f"{sid} adds {self.said}"
        full = session is not None and len(session.line) >= self.settings.max_inbox
        fails = InboxFull if full else SessionNotFound if session is None and not create else None
        call = "steer" if kind is InputKind.STEER else "follow_up"
        found = self.attempt(name, call, sid, text, create=create, fails=fails)
        if not fails:
            assert (found.turn, found.kind, found.held) == (*self.added(sid, text, kind), False)
        self.check()

    def added(self, sid: str, text: str, kind: InputKind) -> tuple[int, InputKind]:
        """What the model makes of it: the turn, and as what it is told."""
        session = self.sessions.get(sid)
        if session is None:
            session = self.sessions[sid] = self.new_session(sid)
        if session.joins(kind):
            return session.join(text, kind).number, kind
        return session.accept(text, None).number, InputKind.MESSAGE

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, kind=kinds)
    def say_into_what_runs(self, name: str, sid: str, kind: InputKind) -> None:
        act = self.working(sid)
        if act is not None:
            self.put(name, act.session, kind, create=True)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def say_before_the_answer(self, name: str, sid: str) -> None:
        act = self.working(sid)
        if act is not None and not act.open:
            self.put(name, act.session, InputKind.STEER, create=True)
            if self.stage.acts.get(act.session) is act:
                self.answer_of(act)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def send_as_steer(self, name: str, sid: str) -> None:
        node, sid = self.pick(name), self.there(sid)
        session = self.sessions.get(sid)
        if session is None or not session.joins(InputKind.STEER) or (node.full and not node.is_live(sid)):
            return
        self.said += 1
        text = f"{sid} steers {self.said}"
        call = node.start(node.scope(sid).send(sid, text, busy="steer"), self.loop)
        caller = Caller(node.name, sid, text, None, call)
        self.callers.append(caller)
        caller.turn = session.join(text, InputKind.STEER)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def interrupt(self, name: str, sid: str) -> None:
        node, sid = self.pick(name), self.there(sid)
        session = self.sessions.get(sid)
        if session is None or (node.full and not node.is_live(sid)):
            return
        self.said += 1
        text = f"{sid} interrupts {self.said}"
        if session.runs:
            session.cancel(None, clear=False)
        call = node.start(node.scope(sid).send(sid, text, busy="interrupt"), self.loop)
        self.callers.append(Caller(node.name, sid, text, None, call))
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, place=st.integers(0, 5))
    def remove(self, name: str, sid: str, place: int) -> None:
        waiting = [session for _, session in sorted(self.sessions.items()) if session.line]
        session = waiting[ord(sid) % len(waiting)] if waiting else None
        if session is None:
            assert not self.sessions or not self.attempt(name, "remove", min(self.sessions), place)
            return
        node = self.pick(name)
        line = self.run(node.do(node.scope(session.id).inbox(session.id)))
        place %= len(line)
        assert self.attempt(name, "remove", session.id, line[place].position) is True
        session.remove(session.line[place])
        assert self.attempt(name, "remove", session.id, line[place].position) is False
        self.touched = session.id
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, value=st.integers(0, 3))
    def set_state(self, name: str, sid: str, value: int) -> None:
        sid = self.there(sid)
        session = self.sessions.get(sid)
        runs = session is not None and session.owner is not None
        fails: Any = self.missing(sid) or (SessionBusy if runs else None)
        self.attempt(name, "set_state", sid, {"set": value}, fails=fails)
        if session is not None and not fails:
            session.set_state(f'{{"set":{value}}}')
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def clear_context(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        session = self.sessions.get(sid)
        unfinished = session is not None and (session.current is not None or session.queued > 0)
        fails: Any = self.missing(sid) or (SessionBusy if unfinished else None)
        cleared = self.attempt(name, "clear_context", sid, fails=fails)
        if session is not None and not fails:
            assert cleared is session.clear_context()
            self.touched = sid
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def steer_against_answer(self, name: str, sid: str) -> None:
        """Whichever comes first: it is told, or it is a message of its own."""
        node, act = self.pick(name), self.working(sid)
        if act is None or act.open or (node.full and not node.is_live(act.session)):
            return
        session = self.sessions[act.session]
        if session.steers or session.queued or len(session.line) >= self.settings.max_inbox:
            return  # more than two outcomes
        self.said += 2
        text, reply = f"{act.session} adds {self.said}", f"{act.session} answers {self.said}"
        number = session.current.number if session.current else 0
        self.stage.order(act.session, "answer", reply)
        call = node.start(node.scope(act.session).steer(act.session, text), self.loop)
        self.run(asyncio.wait([call]))
        self.run(self.clock.advance(LOOK))
        self._settle_race(session, call.result().turn == number, text, reply)
        self.check()

    def _settle_race(self, session: Session, joined: bool, text: str, reply: str) -> None:  # noqa: FBT001
        if joined:
            session.join(text, InputKind.STEER)
        session.answer(reply)
        if not joined:
            self.added(session.id, text, InputKind.STEER)
