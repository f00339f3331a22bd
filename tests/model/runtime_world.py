"""The world of the runtime machine: nodes, callers and the model, and the comparison after every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from sojourn.abc import Entry, InputRow, SessionRow, TurnRow
from sojourn.errors import (
    IdempotencyConflict,
    SessionLimitExceeded,
    SessionNotFound,
    TurnCancelled,
    TurnFailed,
    TurnHeld,
)
from sojourn.records import OnInterrupt, Reply, TurnStatus
from sojourn.sessions.runtime import Settings
from sojourn.sessions.turns import after_interruption
from tests.model.runtime_model import Session, Turn
from tests.model.runtime_nodes import Node, Stage, SteppedClock, Traffic, bury, make_task

#: Longer than every look of the runtime for what other nodes did, seconds.
LOOK = 0.25

#: Real time that one step may take, seconds.
PATIENCE = 20

_ENDS: dict[TurnStatus, type[Exception]] = {
    TurnStatus.FAILED: TurnFailed,
    TurnStatus.CANCELLED: TurnCancelled,
    TurnStatus.HELD: TurnHeld,
}


@dataclass(eq=False)
class Caller:
    """Somebody who waits for a reply."""

    node: str
    session: str
    text: str
    key: str | None
    task: asyncio.Task[Reply]
    #: The turn that it waits for; None while it waits for a place.
    turn: Turn | None = None
    #: It should have been told at the last comparison.
    late: bool = False


@dataclass
class Seen:
    """A session as it stands in storage and as it is shown."""

    row: SessionRow
    log: Sequence[Entry]
    turns: Sequence[TurnRow]
    inbox: Sequence[InputRow]
    shown: list[tuple[str, str]]

    def text(self, number: int) -> str | None:
        """What began this turn; None for one that never came to be opened."""
        opened = {entry.turn: entry.text for entry in reversed(self.log) if entry.kind.value == "turn_opened"}
        return {**opened, **{item.turn: item.text for item in self.inbox}}.get(number)

    def status(self, number: int) -> TurnStatus:
        return next(turn.status for turn in self.turns if turn.turn == number)


class RuntimeWorld(RuleBasedStateMachine):
    """What the machine's rules act on. Every rule ends with `check`."""

    #: Counted over all histories of this process.
    histories: ClassVar[int] = 0
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).histories += 1
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(make_task)
        self.loop.set_exception_handler(bury)
        self.stage = Stage()
        self.sessions: dict[str, Session] = {}
        self.nodes: dict[str, Node] = {}
        self.callers: list[Caller] = []
        self.traffic = Traffic()
        self.clock = SteppedClock(self.traffic)
        self.settings = Settings()
        self.said = 0
        #: As the last comparison found it, by session: key, last activity, everything else.
        self.before: dict[str, tuple[int, int, Any]] = {}
        self.step_began = self.clock.now_ms()
        #: The session whose activity need not show otherwise.
        self.touched: str | None = None

    def run(self, work: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(work, PATIENCE)

        return self.loop.run_until_complete(bounded())

    def teardown(self) -> None:
        for node in self.nodes.values():
            self.run(node.kill())
        for caller in self.callers:
            if caller.task.done() and not caller.task.cancelled():
                caller.task.exception()  # nobody is left to ask
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()

    # -- after every step

    def check(self, seconds: float = LOOK) -> None:
        type(self).steps += 1
        self.run(self.clock.advance(seconds))
        assert not self.stage.faults, self.stage.faults
        if not self.nodes:
            return
        seen = self.run(self._look())
        self._reconcile(seen)
        self._compare(seen)
        self._check_activity(seen)
        self._check_callers()
        self.step_began, self.touched = self.clock.now_ms(), None

    async def _look(self) -> dict[str, Seen]:
        node = next(iter(self.nodes.values()))
        page = await node.runtime.sessions()
        listed = [session.id for session in page.sessions]
        found = dict(zip(listed, await asyncio.gather(*(self._see(node, sid) for sid in listed)), strict=True))
        rows = [found[sid].row for sid in listed]
        assert rows == sorted(rows, key=lambda row: (row.active, row.key), reverse=True), "the list is out of order"
        return found

    async def _see(self, node: Node, sid: str) -> Seen:
        store = node.store
        loaded, turns, inbox, history, shown = await asyncio.gather(
            store.load("local", sid),
            store.turns("local", sid),
            store.inbox("local", sid),
            node.runtime.history(sid),
            node.runtime.get(sid),
        )
        assert loaded is not None
        row, log = loaded
        assert (shown.message_count, shown.status, shown.title) == (row.messages, row.status, row.title)
        return Seen(row, log, turns, inbox, [(message.role.value, message.text) for message in history])

    # -- what the runtime was free to choose

    def _reconcile(self, seen: dict[str, Seen]) -> None:
        for sid, found in seen.items():
            if sid not in self.sessions and any(c.session == sid and c.turn is None for c in self.callers):
                self.sessions[sid] = Session(sid)
            if sid in self.sessions:
                self._accepted(self.sessions[sid], found)
        begun, self.stage.begun = self.stage.begun, []
        for act in begun:
            self.sessions[act.session].start(act.turn, act.attempt, act.node, self.settings.on_interrupt)
        for sid, found in seen.items():
            if sid in self.sessions and self._taken_over(self.sessions[sid], found):
                self.sessions[sid].take_over(self.settings.on_interrupt)

    def _taken_over(self, session: Session, found: Seen) -> bool:
        turn = session.current
        known = {row.turn for row in found.turns}
        if turn is None or not session.interrupted or turn.number not in known:
            return False
        return found.status(turn.number) is not TurnStatus.RUNNING

    def _accepted(self, session: Session, found: Seen) -> None:
        """Input of callers who were let in."""
        for row in found.turns:
            if row.turn <= session.count:
                continue
            hold = session.current and after_interruption(session.current.attempts, self.settings.on_interrupt)
            if hold is TurnStatus.HELD and self._taken_over(session, found) and row.status is not TurnStatus.HELD:
                session.take_over(OnInterrupt.HOLD)
            text = found.text(row.turn) or ""
            caller = next(c for c in self.callers if c.text == text and (c.turn is None or c.turn.gone))
            caller.turn = session.accept(text, caller.key)
            ahead = self.callers[: self.callers.index(caller)]
            same = [c for c in ahead if (c.node, c.session) == (caller.node, caller.session)]
            assert all(c.turn or c.task.done() for c in same), f"{caller} was served before {same}"

    # -- what must be exactly so

    def _compare(self, seen: dict[str, Seen]) -> None:
        assert set(seen) == set(self.sessions)
        for sid, found in seen.items():
            session, row = self.sessions[sid], found.row
            assert [(e.kind, e.turn, e.text) for e in found.log] == session.log, sid
            assert [e.seq for e in found.log] == list(range(session.first, session.version + 1)), sid
            assert found.shown == session.messages, sid
            assert (row.version, row.first, row.messages) == (session.version, session.first, len(session.messages)), (
                sid
            )
            assert (row.title, row.parent) == (session.title, session.parent), sid
            assert (row.status, row.turns) == (session.status, session.count), sid
            assert row.current == (session.current.number if session.current else None), sid
            assert (row.owner is None) == (session.owner is None and not session.interrupted), sid
            turns = {t.number: (t.status, t.attempts, t.key) for t in session.turns.values()}
            assert {t.turn: (t.status, t.attempts, t.key) for t in found.turns} == turns, sid
            line = [(t.number, t.text, t.status is TurnStatus.HELD) for t in session.line]
            assert [(item.turn, item.text, item.held) for item in found.inbox] == line, sid
            assert (row.queued, row.held) == (sum(not i.held for i in found.inbox), sum(i.held for i in found.inbox))
        self._check_acts()

    def _check_acts(self) -> None:
        """What runs is what the model says, and its engine sees the whole history."""
        running = {sid: session for sid, session in self.sessions.items() if session.owner}
        assert set(self.stage.acts) == set(running)
        for sid, act in self.stage.acts.items():
            session = running[sid]
            assert session.current is not None
            assert (act.node, act.turn, act.attempt) == (
                session.owner,
                session.current.number,
                session.current.attempts,
            )
            assert act.history.told == session.told, f"the copy of {sid} in memory is not what is stored"
            assert self.nodes[act.node].is_live(sid)
        for node in self.nodes.values():
            residency = node.runtime.core.residency
            assert residency.live <= residency.max_sessions

    def _check_activity(self, seen: dict[str, Seen]) -> None:
        """Last activity moves with what happens in the session, and with nothing else."""
        for sid, found in seen.items():
            row = found.row
            rest = (list(found.log), list(found.turns), list(found.inbox), row.title)
            key, active, before = self.before.get(sid, (0, 0, None))
            if row.active != active and key == row.key:
                assert before != rest or self.touched == sid, f"{sid} shows activity and nothing happened"
                assert self.step_began <= row.active <= self.clock.now_ms(), sid
            if key == row.key and before is not None and len(found.log) > len(before[0]):
                assert row.active >= self.step_began, f"{sid} grew without activity"
            self.before[sid] = (row.key, row.active, rest)

    def _check_callers(self) -> None:
        for caller in list(self.callers):
            if caller.task.done():
                self.callers.remove(caller)
                self._check_outcome(caller)
            elif caller.turn is None:
                assert self.nodes[caller.node].full, f"{caller} waits for nothing"
            else:
                status = caller.turn.status
                told = status.final or status is TurnStatus.HELD or caller.turn.gone
                assert not (told and caller.late), f"{caller} is not told"
                caller.late = told  # it may have happened behind the runtime's last look

    def _check_outcome(self, caller: Caller) -> None:
        turn, error = caller.turn, caller.task.exception()
        if turn is None:
            session = self.sessions.get(caller.session)
            conflict = isinstance(error, IdempotencyConflict) and session and session.known(caller.key)
            assert isinstance(error, SessionLimitExceeded) or conflict, (caller, error)
        elif turn.gone:
            assert isinstance(error, SessionNotFound), (caller, error)
        elif turn.status is TurnStatus.COMPLETED:
            assert error is None, caller
            assert (caller.task.result().turn, caller.task.result().text) == (turn.number, turn.reply)
        else:
            superseded = isinstance(error, TurnHeld) and turn.status is TurnStatus.CANCELLED
            assert superseded or isinstance(error, _ENDS[turn.status]), (caller, error)
