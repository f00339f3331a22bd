"""Hypothesis over the whole runtime: two nodes on one database, against the model in `runtime_model`.

What the runtime may choose freely (which node takes up orphaned work, when a caller who waits for a place is let in) is
observed and checked for legality; everything else must be exactly as the model says, after every step.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

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
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from tests.model.runtime_model import Session, Turn
from tests.model.runtime_nodes import Act, Node, Store
from tests.model.runtime_world import LOOK, Caller, RuntimeWorld

KEYS = ("k1", "k2")
TTL = 5.0

ids = st.sampled_from(("a", "b", "c", "d"))
nodes = st.sampled_from(("left", "right"))


class RuntimeMachine(RuntimeWorld):
    """The rules; subclasses pick the store."""

    def make_store(self) -> Store:
        raise NotImplementedError

    # -- life

    @initialize(
        places=st.integers(1, 3), on_interrupt=st.sampled_from(sorted(OnInterrupt)), wait=st.sampled_from([0.0, 3.0])
    )
    def begin(self, places: int, on_interrupt: OnInterrupt, wait: float) -> None:
        self.settings = Settings(
            max_sessions=places,
            session_ttl=timedelta(seconds=TTL),
            admission_wait=timedelta(seconds=wait),
            on_interrupt=on_interrupt,
            close_wait=timedelta(0),
        )
        self.open_node("left")

    @rule(name=nodes)
    def open_node(self, name: str) -> None:
        if name in self.nodes:
            return
        node = self.nodes[name] = Node(name, self.make_store(), self.stage, self.clock, self.traffic, self.settings)
        self.run(node.do(node.runtime.__aenter__()))
        self.check()

    @rule(name=nodes)
    def crash(self, name: str) -> None:
        if (node := self.nodes.pop(name, None)) is None:
            return
        self.run(node.kill())
        self.callers = [caller for caller in self.callers if caller.node != name]
        for session in self.sessions.values():
            if session.owner == name:
                session.lose_owner()
        self.check()

    @rule(name=nodes)
    def close(self, name: str) -> None:
        if (node := self.nodes.pop(name, None)) is None:
            return
        self.run(node.do(node.runtime.close()))
        for session in self.sessions.values():
            if session.owner == name:
                session.hand_over()
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

    def pick(self, name: str) -> Node | None:
        return self.nodes.get(name) or next(iter(self.nodes.values()), None)

    @rule(
        name=nodes,
        id=ids,
        key=st.none() | st.none() | st.sampled_from(KEYS),
        other=st.booleans(),
        create=st.sampled_from([True, True, True, False]),
        busy=st.sampled_from(["queue", "queue", "queue", "reject"]),
    )
    def send(self, name: str, id: str, key: str | None, *, other: bool, create: bool, busy: str) -> None:
        node = self.pick(name)
        if node is None:
            return
        session = self.sessions.get(id)
        known = session.known(key) if session else None
        waits = node.full and not node.is_live(id)
        if waits and (known or busy == "reject" or not create):
            return  # what it would answer depends on when it is let in
        self.said += 1
        text = known.text if known and not other else f"{id} says {self.said}"
        call = node.start(node.runtime.send(id, text, key=key, create=create, busy=busy), self.loop)
        caller = Caller(node.name, id, text, key, call)
        self.callers.append(caller)
        refusal = self._refusal(session, known, create=create, busy=busy, same=not other)
        if refusal is None:
            caller.turn = known
            if known and session and known.status is TurnStatus.HELD:
                known.status = TurnStatus.QUEUED
            elif not known and session is None and not waits:
                session = self.sessions[id] = Session(id)
        else:
            self.run(self.traffic.quiet())
            assert isinstance(caller.task.exception(), refusal), (caller, refusal)
            self.callers.remove(caller)
        self.check()

    def _refusal(
        self, session: Session | None, known: Turn | None, *, create: bool, busy: str, same: bool
    ) -> type[Exception] | None:
        if session is None:
            return None if create else SessionNotFound
        if known:
            return None if same else IdempotencyConflict
        return SessionBusy if busy == "reject" and session.busy else None

    @rule(
        name=nodes,
        id=ids,
        place=st.none() | st.integers(0, 5),
        clear=st.sampled_from([False, False, True]),
    )
    def cancel(self, name: str, id: str, place: int | None, *, clear: bool) -> None:
        node = self.pick(name)
        if node is None:
            return
        session = self.sessions.get(id)
        number = place if place is None or session is None else session.count - place
        if number is not None and number < 1:
            number = 999
        call = node.start(node.runtime.cancel(id, turn=number, clear=clear), self.loop)
        self.run(self.clock.advance(LOOK))
        if session is None:
            assert isinstance(call.exception(), SessionNotFound)
        elif number is not None and number not in session.turns:
            assert isinstance(call.exception(), TurnNotFound)
        else:
            assert call.result() == session.cancel(number, clear=clear)
        self.check()

    @rule(name=nodes, id=ids)
    def create(self, name: str, id: str) -> None:
        self.attempt(name, "create", id, fails=SessionExists if id in self.sessions else None)
        if self.nodes:
            self.sessions.setdefault(id, Session(id))
        self.check()

    @rule(name=nodes, id=ids)
    def unload(self, name: str, id: str) -> None:
        node = self.pick(name)
        if node is None:
            return
        session = self.sessions.get(id)
        busy = session is not None and session.owner == node.name
        live = node.is_live(id)
        gone = self.attempt(node.name, "unload", id, fails=SessionBusy if busy else None)
        assert busy or gone == live
        assert busy or not node.is_live(id)
        self.check()

    @rule(name=nodes, id=ids)
    def rename(self, name: str, id: str) -> None:
        title = f"title {self.said}"
        self.attempt(name, "rename", id, title, fails=self.missing(id))
        if self.nodes and id in self.sessions:
            self.sessions[id].title, self.touched = title, id
        self.check()

    @rule(name=nodes, id=ids)
    def reset(self, name: str, id: str) -> None:
        self.attempt(name, "reset", id, fails=self.missing(id))
        if self.nodes and id in self.sessions:
            self.sessions[id].reset()
        self.check()

    @rule(name=nodes, id=ids)
    def delete(self, name: str, id: str) -> None:
        if not self.nodes:
            return
        session = self.sessions.pop(id, None)
        assert self.attempt(name, "delete", id) == (session is not None)
        if session:
            session.vanish()
        for other in self.sessions.values():
            other.parent = None if other.parent == id else other.parent
        self.check()

    @rule(name=nodes, id=ids, new=ids, place=st.none() | st.integers(0, 8))
    def fork(self, name: str, id: str, new: str, place: int | None) -> None:
        session = self.sessions.get(id)
        at = None if place is None or session is None else session.version - place
        cut = session.cut(at) if session else None
        fails = self.missing(id) or (SessionExists if new in self.sessions else None)
        fails = fails or (ForkPointInvalid if cut is None else None)
        self.attempt(name, "fork", id, at=at, new_id=new, fails=fails)
        if self.nodes and session and cut is not None and not fails:
            self.sessions[new] = session.forked(new, cut)
        self.check()

    @rule(name=nodes, id=ids, new=ids)
    def copy(self, name: str, id: str, new: str) -> None:
        """Export a session and load it under another id."""
        node = self.pick(name)
        if node is None:
            return
        session = self.sessions.get(id)

        async def move() -> None:
            lines = [line async for line in node.runtime.export(id)]
            await node.runtime.load(lines, id=new)

        fails = self.missing(id) or (SessionExists if new in self.sessions else None)
        with self.expect(fails):
            self.run(node.do(move()))
        if session and not fails:
            self.sessions[new] = session.exported(new)
        self.check()

    @rule(name=nodes, id=ids)
    def resume(self, name: str, id: str) -> None:
        found = self.attempt(name, "resume", id, fails=self.missing(id))
        if self.nodes and id in self.sessions:
            assert list(found) == self.sessions[id].resume()
        self.check()

    @rule(name=nodes, id=ids, place=st.none() | st.integers(0, 3))
    def discard(self, name: str, id: str, place: int | None) -> None:
        session = self.sessions.get(id)
        number = session.count - place if session and place is not None else None
        unknown = session is not None and number is not None and number not in session.turns
        fails = self.missing(id) or (TurnNotFound if unknown else None)
        found = self.attempt(name, "discard", id, turn=number, fails=fails)
        if self.nodes and session and not fails:
            assert list(found) == session.discard(number)
        self.check()

    def missing(self, id: str) -> type[Exception] | None:
        return None if id in self.sessions else SessionNotFound

    def attempt(
        self, name: str, call: str, *args: Any, fails: type[Exception] | None = None, **options: Any
    ) -> Any:
        """Call the runtime of some open node; it must refuse as `fails` says."""
        node = self.pick(name)
        if node is None:
            return None
        with self.expect(fails):
            return self.run(node.do(getattr(node.runtime, call)(*args, **options)))
        return None

    # -- what the model and the tools do

    def act(self, id: str) -> Act | None:
        """The turn of this session, or of any other, that is inside an engine."""
        return self.stage.acts.get(id) or next(iter(self.stage.acts.values()), None)

    @rule(id=ids)
    def write(self, id: str) -> None:
        if act := self.act(id):
            self.said += 1
            self.stage.order(act.session, "write", f"{act.session} writes {self.said} ")
            self.sessions[act.session].written += f"{act.session} writes {self.said} "
            self.check()

    @rule(id=ids, calls=st.integers(0, 3))
    def respond(self, id: str, calls: int) -> None:
        act = self.act(id)
        if act and not act.open:
            self.said += 1
            text, tools = f"{act.session} thinks {self.said}", [f"tool-{index}" for index in range(calls)]
            self.stage.order(act.session, "respond", (text, tools))
            self.sessions[act.session].respond(text, tools)
            self.check()

    @rule(id=ids, place=st.integers(0, 2))
    def tool_returns(self, id: str, place: int) -> None:
        act = next((act for act in (self.act(id), *self.stage.acts.values()) if act and act.open), None)
        if act:
            self.said += 1
            place %= len(act.open)
            text = f"{act.session} found {self.said}"
            self.stage.order(act.session, "result", (place, text))
            self.sessions[act.session].result(place, text)
            self.check()

    @rule(id=ids)
    def give_feedback(self, id: str) -> None:
        act = self.act(id)
        if act and not act.open:
            self.said += 1
            self.stage.order(act.session, "feedback", f"{act.session} feedback {self.said}")
            self.sessions[act.session].feedback(f"{act.session} feedback {self.said}")
            self.check()

    @rule(id=ids)
    def answer(self, id: str) -> None:
        act = self.act(id)
        if act and not act.open:
            self.said += 1
            self.stage.order(act.session, "answer", f"{act.session} answers {self.said}")
            self.sessions[act.session].answer(f"{act.session} answers {self.said}")
            self.check()

    @rule(id=ids)
    def fail(self, id: str) -> None:
        if act := self.act(id):
            self.said += 1
            self.stage.order(act.session, "fail", f"{act.session} breaks {self.said}")
            self.sessions[act.session].fail(f"RuntimeError: {act.session} breaks {self.said}")
            self.check()


class MemoryMachine(RuntimeMachine):
    """On the memory store."""

    def __init__(self) -> None:
        super().__init__()
        self.database = MemoryDatabase()

    def make_store(self) -> Store:
        return MemoryStore(self.database)


class SqliteMachine(RuntimeMachine):
    """On a real file. Power is not lost here, so nothing waits for the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="sojourn-machine-")

    def make_store(self) -> Store:
        return SqliteStore(str(Path(self.folder.name) / "machine.db"), synchronous="OFF")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()
