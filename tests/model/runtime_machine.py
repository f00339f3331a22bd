"""Hypothesis over the whole runtime: two nodes on one database, against the model in `runtime_model`.

What the runtime may choose freely (which node takes up orphaned work, when a caller who waits for a place is let in) is
observed and checked for legality; everything else must be exactly as the model says, after every step.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from sojourn.errors import (
    ForkPointInvalid,
    IdempotencyConflict,
    RuntimeClosed,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    TurnNotFound,
)
from sojourn.records import OnInterrupt, TurnStatus
from sojourn.sessions.runtime import Settings
from tests.model.runtime_acts import RuntimeActs, ids
from tests.model.runtime_model import Session
from tests.model.runtime_nodes import Node, Store, user_of
from tests.model.runtime_rows import Turn
from tests.model.runtime_world import LOOK, PATIENCE, Caller

KEYS = ("k1", "k2")
TTL = 5.0

new_ids = st.sampled_from(("a", "b", "c", "d", "e"))
nodes = st.sampled_from(("left", "right"))


class RuntimeMachine(RuntimeActs):
    """The rules; subclasses pick the store."""

    def make_store(self) -> Store:
        raise NotImplementedError

    # -- life

    @initialize(
        places=st.integers(1, 3),
        on_interrupt=st.sampled_from(sorted(OnInterrupt)),
        wait=st.sampled_from([0.0, 3.0]),
        timeout=st.sampled_from([None, None, 4.0]),
        fleeting=st.booleans(),
        inbox=st.sampled_from([3, 100]),
    )
    def begin(
        self,
        *,
        places: int,
        on_interrupt: OnInterrupt,
        wait: float,
        timeout: float | None = None,
        fleeting: bool = False,
        inbox: int = 100,
    ) -> None:
        self.settings = Settings(
            approval_timeout=None if timeout is None else timedelta(seconds=timeout),
            forget_allowed=fleeting,
            max_inbox=inbox,
            max_sessions=places,
            session_ttl=timedelta(seconds=TTL),
            admission_wait=timedelta(seconds=wait),
            on_interrupt=on_interrupt,
            close_wait=timedelta(0),
        )
        self.open_node("left")

    @precondition(lambda self: len(self.nodes) < 2)
    @rule(name=nodes)
    def open_node(self, name: str) -> None:
        name = name if name not in self.nodes else "left" if name == "right" else "right"
        node = self.nodes[name] = Node(
            name,
            self.make_store(),
            stage=self.stage,
            clock=self.clock,
            traffic=self.traffic,
            settings=self.settings,
        )
        self.run(node.do(node.runtime.__aenter__()))
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes)
    def crash(self, name: str) -> None:
        self.bury(self.pick(name))
        self.check()

    def bury(self, node: Node) -> None:
        """The node dies, and all that it held in memory with it."""
        name = self.nodes.pop(node.name).name
        self.run(node.kill())
        self.callers = [caller for caller in self.callers if caller.node != name]
        self.kept = [kept for kept in self.kept if kept.node != name]
        for session in self.sessions.values():
            if session.owner == name:
                session.lose_owner()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes)
    def close(self, name: str) -> None:
        node = self.nodes.pop(self.pick(name).name)
        name = node.name
        self.run(node.do(node.runtime.close()))
        for session in self.sessions.values():
            if session.owner == name:
                session.hand_over()
        self.kept = [kept for kept in self.kept if kept.node != name]
        self.run(self.traffic.quiet())
        for caller in [caller for caller in self.callers if caller.node == name]:
            self.callers.remove(caller)
            assert isinstance(caller.task.exception(), RuntimeClosed), caller
        assert not node.tasks, node.tasks
        self.check()

    @rule(seconds=st.sampled_from([0.5, 2.5, TTL + 1]))
    def let_time_pass(self, seconds: float) -> None:
        self.check(seconds)
        if seconds < 2:
            return
        for node in self.nodes.values():
            for session in self.sessions.values():
                assert node.full or not session.orphaned, f"nobody takes up {session.id}"
            residency = node.runtime.core.residency
            idle = [self.clock.monotonic() - place.rested for place in residency._resting.values()]
            assert max(idle, default=0) <= TTL + 1, "an idle session stays in memory"

    # -- what callers do

    def pick(self, name: str) -> Node:
        return self.nodes.get(name) or next(iter(self.nodes.values()))

    @precondition(lambda self: self.nodes)
    @rule(
        name=nodes,
        sid=ids,
        key=st.none() | st.none() | st.sampled_from(KEYS),
        other=st.booleans(),
        create=st.sampled_from([True, True, True, False]),
        busy=st.sampled_from(["queue", "queue", "queue", "reject"]),
    )
    def send(self, name: str, sid: str, key: str | None, *, other: bool, create: bool, busy: str) -> None:
        node = self.pick(name)
        sid = "a" if sid == "z" else sid
        session = self.sessions.get(sid)
        known = session.known(key) if session else None
        waits = node.full and not node.is_live(sid)
        if waits and (known or busy == "reject" or not create):
            return  # what it would answer depends on when it is let in
        self.said += 1
        text = known.text if known and not other else f"{sid} says {self.said}"
        call = node.start(node.scope(sid).send(sid, text, key=key, create=create, busy=busy), self.loop)
        caller = Caller(node.name, sid, text, key, call)
        self.callers.append(caller)
        refusal = self._refusal(session, known, create=create, busy=busy, same=not other)
        if refusal is None:
            caller.turn = known
            if known and session and known.status is TurnStatus.HELD:
                session.unhold(known)
            elif not known and session is None and not waits:
                self.sessions[sid] = self.new_session(sid)
        else:
            self.run(asyncio.wait([caller.task], timeout=PATIENCE / 2))
            assert isinstance(caller.task.exception(), refusal), (caller, refusal)
            self.callers.remove(caller)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def say_more(self, name: str, sid: str) -> None:
        self.send(name, self.there(sid), None, other=True, create=True, busy="queue")

    def speak(self, sid: str) -> None:
        self.say_more("left", sid)

    def _refusal(
        self, session: Session | None, known: Turn | None, *, create: bool, busy: str, same: bool
    ) -> type[Exception] | None:
        if session is None:
            return None if create else SessionNotFound
        if known:
            return None if same else IdempotencyConflict
        return SessionBusy if busy == "reject" and session.busy else None

    @precondition(lambda self: self.nodes)
    @rule(
        name=nodes,
        sid=ids,
        place=st.none() | st.integers(0, 5),
        clear=st.sampled_from([False, False, True]),
    )
    def cancel(self, name: str, sid: str, place: int | None, *, clear: bool) -> None:
        sid = sid if sid in self.sessions else self.there(sid)
        node = self.pick(name)
        session = self.sessions.get(sid)
        number = place if place is None or session is None else session.count - place
        if number is not None and number < 1:
            number = 999
        call = node.start(node.scope(sid).cancel(sid, turn=number, clear=clear), self.loop)
        self.run(self.clock.advance(LOOK))
        if session is None:
            assert isinstance(call.exception(), SessionNotFound)
        elif number is not None and number not in session.turns:
            assert isinstance(call.exception(), TurnNotFound)
        else:
            assert call.result() == session.cancel(number, clear=clear)
        self.check()

    @rule(name=nodes, sid=ids)
    def cancel_what_runs(self, name: str, sid: str) -> None:
        if not self.nodes or not self.stage.acts:
            return
        self.cancel(name, self.act(sid).session, None, clear=False)

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def create(self, name: str, sid: str) -> None:
        self.attempt(name, "create", sid, fails=SessionExists if sid in self.sessions else None)
        self.sessions.setdefault(sid, self.new_session(sid))
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def unload(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        node = self.pick(name)
        session = self.sessions.get(sid)
        busy = session is not None and session.owner == node.name
        live = node.is_live(sid)
        gone = self.attempt(node.name, "unload", sid, fails=SessionBusy if busy else None)
        assert busy or gone == live
        assert busy or not node.is_live(sid)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def rename(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        title = f"title {self.said}"
        self.attempt(name, "rename", sid, title, fails=self.missing(sid))
        if sid in self.sessions:
            self.sessions[sid].title, self.touched = title, sid
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def reset(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        self.attempt(name, "reset", sid, fails=self.missing(sid))
        if sid in self.sessions:
            self.cut(name, self.sessions[sid])
            self.sessions[sid].reset()
            self.forget_session(sid)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def delete(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        session = self.sessions.pop(sid, None)
        assert self.attempt(name, "delete", sid) == (session is not None)
        if session:
            self.cut(name, session)
            session.vanish()
            self.forget_session(sid)
        for other in self.sessions.values():
            other.parent = None if other.parent == sid else other.parent
        self.check()

    def forget_session(self, sid: str) -> None:
        self.kept = [kept for kept in self.kept if kept.session != sid]

    def cut(self, name: str, session: Session) -> None:
        """What runs in the node that was asked stops at once; elsewhere it stops at its next step."""
        node = self.pick(name)
        self.run(self.traffic.quiet())
        act = self.stage.acts.get(session.id)
        if session.owner == node.name:
            assert act is None, f"{session.id} is gone and still runs"
        elif act:
            act.orders.put_nowait(("feedback", "nobody may ever see this"))

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, new=new_ids, place=st.none() | st.integers(0, 8))
    def fork(self, name: str, sid: str, new: str, place: int | None) -> None:
        sid = self.there(sid)
        if user_of(sid) != user_of(new):
            return
        session = self.sessions.get(sid)
        at = None if place is None or session is None else session.version - place
        cut = session.cut(at) if session else None
        fails = self.missing(sid) or (SessionExists if new in self.sessions else None)
        fails = fails or (ForkPointInvalid if cut is None else None)
        self.attempt(name, "fork", sid, at=at, new_id=new, fails=fails)
        if session and cut is not None and not fails:
            self.sessions[new] = session.forked(new, cut)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, new=new_ids)
    def copy(self, name: str, sid: str, new: str) -> None:
        """Export a session and load it under another sid."""
        sid = self.there(sid)
        if user_of(sid) != user_of(new):
            return
        node = self.pick(name)
        session = self.sessions.get(sid)

        async def move() -> None:
            lines = [line async for line in node.scope(sid).export(sid)]
            await node.scope(sid).load(lines, id=new)

        fails = self.missing(sid) or (SessionExists if new in self.sessions else None)
        with pytest.raises(fails) if fails else nullcontext():
            self.run(node.do(move()))
        if session and not fails:
            self.sessions[new] = session.exported(new)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids)
    def resume(self, name: str, sid: str) -> None:
        sid = self.there(sid)
        found = self.attempt(name, "resume", sid, fails=self.missing(sid))
        if sid in self.sessions:
            assert list(found) == self.sessions[sid].resume()
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, place=st.none() | st.integers(0, 3))
    def discard(self, name: str, sid: str, place: int | None) -> None:
        sid = self.there(sid)
        session = self.sessions.get(sid)
        number = session.count - place if session and place is not None else None
        unknown = session is not None and number is not None and number not in session.turns
        fails = self.missing(sid) or (TurnNotFound if unknown else None)
        found = self.attempt(name, "discard", sid, turn=number, fails=fails)
        if session and not fails:
            assert list(found) == session.discard(number)
        self.check()

    def there(self, sid: str) -> str:
        """A session that exists, if there is one and `sid` is not the one that never does."""
        known = sorted(self.sessions)
        return sid if sid == "z" or not known else known[ord(sid) % len(known)]

    def missing(self, sid: str) -> type[Exception] | None:
        return None if sid in self.sessions else SessionNotFound

    def attempt(
        self, name: str, call: str, sid: str, *args: Any, fails: type[Exception] | None = None, **options: Any
    ) -> Any:
        """Call the runtime of some open node; it must refuse as `fails` says."""
        node = self.pick(name)
        work = node.do(getattr(node.scope(sid), call)(sid, *args, **options))
        if fails is None:
            return self.run(work)
        with pytest.raises(fails):
            self.run(work)
        return None
