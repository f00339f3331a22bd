"""Calls that are made at the same moment: whichever comes first, the outcome must be that of some order."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sojourn.abc import SessionRow, TurnRow
from sojourn.records import TurnStatus
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from tests.model.runtime_acts import ids
from tests.model.runtime_crashes import CrashingMachine
from tests.model.runtime_machine import nodes
from tests.model.runtime_nodes import Node, Store, user_of
from tests.model.runtime_rows import Turn
from tests.model.runtime_world import LOOK, Caller


class RacingMachine(CrashingMachine):
    """The rules of races."""

    def ask(self, node: Node, sid: str) -> Caller:
        """A caller who says something new, and whom nobody waits for yet."""
        self.said += 1
        text = f"{sid} says {self.said}"
        caller = Caller(node.name, sid, text, None, node.start(node.scope(sid).send(sid, text), self.loop))
        self.callers.append(caller)
        return caller

    async def stored(self, node: Node, sid: str) -> tuple[SessionRow, dict[int, TurnRow]]:
        row, turns = await node.store.get(user_of(sid), sid), await node.store.turns(user_of(sid), sid)
        return row, {turn.turn: turn for turn in turns}

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sids=st.lists(ids, min_size=2, max_size=5))
    def all_speak_at_once(self, name: str, sids: list[str]) -> None:
        for place, sid in enumerate(sids):
            other = {"left": "right", "right": "left"}[name]
            self.ask(self.pick(name if place % 3 else other), self.there(sid) if sid != "z" else "a")
        self.check()

    @rule(name=nodes, sid=ids, first=st.booleans())
    def answer_against_cancel(self, name: str, sid: str, *, first: bool) -> None:
        if not self.something_runs(sid):
            return
        act, node = self.act(sid), self.pick(name)
        if act.open or self.sessions[act.session].steers:
            return
        self.said += 1
        text = f"{act.session} answers {self.said}"
        if first:
            self.stage.order(act.session, "answer", text)
        call = node.start(node.scope(act.session).cancel(act.session, turn=act.turn), self.loop)
        if not first and act.session in self.stage.acts:
            self.stage.order(act.session, "answer", text)
        self.run(self.clock.advance(LOOK))
        session = self.sessions[act.session]
        _, turns = self.run(self.stored(node, act.session))
        if turns[act.turn].status is TurnStatus.COMPLETED:
            session.answer(text)
            assert call.result() is False
        else:
            assert call.result() is session.cancel(act.turn, clear=False)
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(name=nodes, sid=ids, first=st.booleans())
    def speak_against_reset(self, name: str, sid: str, *, first: bool) -> None:
        if not self.sessions:
            return
        sid, node = sorted(self.sessions)[ord(sid) % len(self.sessions)], self.pick(name)
        session = self.sessions[sid]
        if session.owner not in {None, node.name}:
            return  # what runs elsewhere goes on to its next step
        caller = self.ask(node, sid) if first else None
        call = node.start(node.scope(sid).reset(sid), self.loop)
        caller = caller or self.ask(node, sid)
        self.run(self.clock.advance(LOOK))
        call.result()
        row, turns = self.run(self.stored(node, sid))
        session.reset()
        self.forget_session(sid)
        session.first = row.first
        if row.turns - session.count > len(turns):  # it was said before the reset, and is gone with all that was
            session.count += 1
            caller.turn = Turn(session.count, caller.text, None, gone=True)
        gone = [act for act in self.stage.begun if act.session == sid and act.turn <= session.count]
        self.stage.begun = [act for act in self.stage.begun if act not in gone]
        self.check()


class MemoryMachine(RacingMachine):
    """On the memory store."""

    def __init__(self) -> None:
        super().__init__()
        self.database = MemoryDatabase()

    def make_store(self) -> Store:
        return MemoryStore(self.database)


class SqliteMachine(RacingMachine):
    """On a real file. Power is not lost here, so nothing waits for the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="sojourn-machine-")

    def make_store(self) -> Store:
        return SqliteStore(str(Path(self.folder.name) / "machine.db"), synchronous="OFF")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()
