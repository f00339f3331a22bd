"""The world of the runtime machine: nodes, callers and the model, and the comparison after every step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from sojourn.abc import ApprovalRow, Entry, InputRow, RememberedRow, SessionRow, TurnRow
from sojourn.errors import (
    IdempotencyConflict,
    SessionLimitExceeded,
    SessionNotFound,
    TurnCancelled,
    TurnFailed,
    TurnHeld,
)
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind, InputKind, OnInterrupt, Reply, TurnStatus
from sojourn.sessions.runtime import Settings
from sojourn.sessions.state import encoded
from sojourn.sessions.turns import after_interruption
from tests.model.runtime_model import Session
from tests.model.runtime_nodes import OTHER, Node, Stage, SteppedClock, Traffic, bury, make_task, user_of
from tests.model.runtime_people import Kept, Question, told_of
from tests.model.runtime_rows import Line, Turn

#: Longer than every look of the runtime for what other nodes did, seconds.
LOOK = 0.25

#: How long after its time a question may still be open, milliseconds.
EXPIRED_WITHIN = 1500

STARTED, INTENDED = EffectStatus.STARTED, EffectStatus.INTENDED

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
    asked: Sequence[ApprovalRow]
    effects: Sequence[Effect]
    shown: list[tuple[str, str]]
    state: str

    def text(self, number: int) -> str | None:
        """What began this turn; None for one that never came to be opened."""
        opened = {entry.turn: entry.text for entry in reversed(self.log) if entry.kind.value == "turn_opened"}
        return {**opened, **{item.turn: item.text for item in self.inbox if item.kind is InputKind.MESSAGE}}.get(number)

    def status(self, number: int) -> TurnStatus:
        return next(turn.status for turn in self.turns if turn.turn == number)

    def question(self, asked: Question) -> ApprovalRow | None:
        return next((row for row in self.asked if (row.seq, row.index) == asked.place), None)


def line_of(entry: Entry) -> Line:
    """What the model keeps of an entry."""
    if entry.kind in {EntryKind.APPROVAL_ASKED, EntryKind.APPROVAL_DECIDED}:
        body = json.loads(entry.body)
        return entry.kind, entry.turn, told_of(body["seq"], body["index"], body["tool"], body["status"])
    return entry.kind, entry.turn, entry.body if entry.kind is EntryKind.STATE_CHANGED else entry.text


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
        self.kept: list[Kept] = []
        self.nodes: dict[str, Node] = {}
        self.callers: list[Caller] = []
        self.traffic = Traffic()
        self.clock = SteppedClock(self.traffic)
        self.settings = Settings()
        self.said = 0
        #: As the last comparison found it, by session: key, last activity, everything else.
        self.before: dict[str, tuple[int, int, Any]] = {}
        self.step_began = self.clock.now_ms()
        #: What was run anew in this step.
        self.begun: set[str] = set()
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
        others = await node.runtime.for_user(OTHER).sessions()
        every = [*listed, *(session.id for session in others.sessions)]
        assert [user_of(sid) for sid in every] == ["local"] * len(listed) + [OTHER] * len(others.sessions)
        found = dict(zip(every, await asyncio.gather(*(self._see(node, sid) for sid in every)), strict=True))
        rows = [found[sid].row for sid in listed]
        assert rows == sorted(rows, key=lambda row: (row.active, row.key), reverse=True), "the list is out of order"
        self._check_kept([row for user in ("local", OTHER) for row in await node.store.remembered(user)])
        return found

    async def _see(self, node: Node, sid: str) -> Seen:
        store, name, scope = node.store, (user_of(sid), sid), node.scope(sid)
        loaded, turns, inbox, asked = await asyncio.gather(
            store.load(*name), store.turns(*name), store.inbox(*name), store.approvals(*name, pending=False)
        )
        history, shown, state = await asyncio.gather(scope.history(sid), scope.get(sid), scope.state(sid))
        effects = await store.effects(*name)
        assert loaded is not None
        row, log = loaded
        assert (shown.title, shown.status, shown.message_count) == (row.title, row.status, row.messages)
        messages = [(message.role.value, message.text) for message in history]
        return Seen(row, log, turns, inbox, asked, effects, messages, encoded(state))

    # -- what the runtime was free to choose

    def _reconcile(self, seen: dict[str, Seen]) -> None:
        for sid, found in seen.items():
            if sid not in self.sessions and any(c.session == sid and c.turn is None for c in self.callers):
                self.sessions[sid] = self.new_session(sid)
            if sid in self.sessions:
                self._moved(self.sessions[sid], found)
        begun, self.stage.begun = self.stage.begun, []
        self.begun = {act.session for act in begun}
        for act in begun:
            self.sessions[act.session].start(act.turn, act.attempt, act.node, self.settings.on_interrupt)
            assert act.state == self.sessions[act.session].state, f"{act.session} has the state {act.state}"
        for sid, found in seen.items():
            if sid in self.sessions and self._taken_over(self.sessions[sid], found):
                self.sessions[sid].take_over(self.settings.on_interrupt)

    def _moved(self, session: Session, found: Seen) -> None:
        """What came first, input or questions, shows in whether it superseded them."""
        number = session.current.number if session.current else 0
        if any((row.turn, row.status) == (number, TurnStatus.CANCELLED) for row in found.turns):
            self._asked_again(session, found)
        self._expired(session, found)
        self._accepted(session, found)
        self._asked_again(session, found)
        self._expired(session, found)

    def new_session(self, sid: str) -> Session:
        return Session(sid, is_remembered=self.is_remembered)

    def is_remembered(self, question: Question) -> bool:
        return any(kept.holds_for(user_of(question.session), question) for kept in self.kept)

    def _asked_again(self, session: Session, found: Seen) -> None:
        """Work was taken up of which nobody had been asked yet what people must decide."""
        places = {(row.seq, row.index) for row in found.asked}
        if session.orphaned and any((call.seq, call.index) in places for call in session.unasked):
            session.take_up_to_ask(self.settings.on_interrupt)
            if session.current is not None and session.current.status is TurnStatus.WAITING:
                self._adopt(session, found)

    def _expired(self, session: Session, found: Seen) -> None:
        """Nobody decided in time."""
        self._adopt(session, found)
        rows = {question: found.question(question) for question in session.pending}
        overdue = [question for question, row in rows.items() if row and row.status is ApprovalStatus.EXPIRED]
        for question in overdue:
            assert question.expires is not None, question
            assert question.expires <= self.clock.now_ms(), question
        if overdue:
            session.expire(overdue)

    def _adopt(self, session: Session, found: Seen) -> None:
        """Learn what the store gave to new questions."""
        for question in session.questions.values():
            row = found.question(question)
            if row is not None and not question.id:
                question.id, question.expires = row.id, row.expires
                timeout = self.settings.approval_timeout
                expected = None if timeout is None else row.asked + round(timeout.total_seconds() * 1000)
                assert row.expires == expected, row

    def _taken_over(self, session: Session, found: Seen) -> bool:
        turn = session.current
        known = {row.turn for row in found.turns}
        if turn is None or not session.interrupted or turn.number not in known:
            return False
        return found.status(turn.number) not in {TurnStatus.RUNNING, TurnStatus.WAITING}

    def _accepted(self, session: Session, found: Seen) -> None:
        """Input of callers who were let in."""
        for row in found.turns:
            if row.turn <= session.count:
                continue
            hold = session.current and after_interruption(session.current.attempts, self.settings.on_interrupt)
            if hold is TurnStatus.HELD and self._taken_over(session, found) and row.status is not TurnStatus.HELD:
                session.take_over(OnInterrupt.HOLD)
            text = found.text(row.turn) or ""
            caller = next((c for c in self.callers if c.text == text and (c.turn is None or c.turn.gone)), None)
            assert caller is not None, f"turn {row.turn} of {session.id} is nobody's: {text!r}"
            caller.turn = session.accept(text, caller.key)
            ahead = self.callers[: self.callers.index(caller)]
            same = [c for c in ahead if (c.node, c.session) == (caller.node, caller.session)]
            assert all(c.turn or c.task.done() for c in same), f"{caller} was served before {same}"

    # -- what must be exactly so

    def _compare(self, seen: dict[str, Seen]) -> None:
        assert set(seen) == set(self.sessions)
        for sid, found in seen.items():
            session, row = self.sessions[sid], found.row
            self._adopt(session, found)
            assert [line_of(entry) for entry in found.log] == session.log, sid
            assert [e.seq for e in found.log] == list(range(session.first, session.version + 1)), sid
            assert found.shown == session.messages, sid
            assert found.state == session.state, sid
            assert (row.version, row.first, row.messages) == (session.version, session.first, len(session.messages)), (
                sid
            )
            assert (row.title, row.parent) == (session.title, session.parent), sid
            assert (row.status, row.turns) == (session.status, session.count), sid
            assert row.current == (session.current.number if session.current else None), sid
            assert (row.owner is None) == (session.owner is None and not session.interrupted), sid
            turns = {t.number: (t.status, t.attempts, t.key) for t in session.turns.values()}
            assert {t.turn: (t.status, t.attempts, t.key) for t in found.turns} == turns, sid
            line = [(item.turn.number, item.text, item.kind, item.held) for item in session.line]
            assert [(item.turn, item.text, item.kind, item.held) for item in found.inbox] == line, sid
            counts = (session.queued, session.held, session.steers)
            assert (row.queued, row.held, row.steers) == counts, sid
            self._compare_questions(session, found)
        self._check_acts()

    def _compare_questions(self, session: Session, found: Seen) -> None:
        asked = sorted((q.id, q.turn, q.place, q.tool, q.status, q.changed, q.by) for q in session.questions.values())
        rows = [(q.id, q.turn, (q.seq, q.index), q.tool, q.status, q.changed, q.by) for q in found.asked]
        assert sorted(rows) == asked, session.id
        calls = [
            (e.seq, e.index, e.tool, e.status is STARTED) for e in found.effects if e.status in {STARTED, INTENDED}
        ]
        assert calls == [(c.seq, c.index, c.tool, c.started) for c in session.open_calls], session.id
        if self.nodes:
            late = self.clock.now_ms() - EXPIRED_WITHIN
            assert all((q.expires or late) >= late for q in session.pending), f"{session.id} waits for too long"

    def _check_kept(self, rows: Sequence[RememberedRow]) -> None:
        kept = [(k.user, k.session, k.tool, k.arguments) for k in self.kept]
        assert sorted(kept, key=str) == sorted([(r.user, r.session, r.tool, r.arguments) for r in rows], key=str)

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
            calls = [(call.index, call.tool, call.started) for call in session.open_calls]
            assert act.open == [call for call in calls if call[2] or not act.asks], sid
            assert act.history.told == session.told, f"the copy of {sid} in memory is not what is stored"
            assert self.nodes[act.node].is_live(sid)
        for node in self.nodes.values():
            residency = node.runtime.core.residency
            assert residency.live <= residency.max_sessions
            owned = sum(session.owner == node.name for session in self.sessions.values())
            assert residency.live - residency.at_rest <= owned, f"{node.name} keeps places for what does not run"

    def _check_activity(self, seen: dict[str, Seen]) -> None:
        """Last activity moves with what happens in the session, and with nothing else."""
        for sid, found in seen.items():
            row = found.row
            rest = (list(found.log), list(found.turns), list(found.inbox), row.title)
            key, active, before = self.before.get(sid, (0, 0, None))
            if row.active != active and key == row.key:
                assert before != rest or self.touched == sid or sid in self.begun, (
                    f"{sid} shows activity and nothing happened"
                )
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
                told = status.final or status in {TurnStatus.HELD, TurnStatus.WAITING} or caller.turn.gone
                assert not (told and caller.late), f"{caller} is not told"
                caller.late = told  # it may have happened behind the runtime's last look

    def _check_outcome(self, caller: Caller) -> None:
        turn, error = caller.turn, caller.task.exception()
        if turn is None:
            session = self.sessions.get(caller.session)
            conflict = isinstance(error, IdempotencyConflict) and session and session.known(caller.key)
            assert isinstance(error, SessionLimitExceeded) or conflict, (caller, error)
        elif error is None and caller.task.result().finish_reason == "waiting":
            self._check_waiting(caller, turn)
        elif turn.gone:
            assert isinstance(error, SessionNotFound), (caller, error)
        elif turn.status is TurnStatus.COMPLETED:
            assert error is None, caller
            assert (caller.task.result().turn, caller.task.result().text) == (turn.number, turn.reply)
        else:
            superseded = isinstance(error, TurnHeld) and turn.status is TurnStatus.CANCELLED
            assert superseded or isinstance(error, _ENDS[turn.status]), (caller, error)

    def _check_waiting(self, caller: Caller, turn: Turn) -> None:
        """Who hears that a turn waits gets its questions."""
        reply = caller.task.result()
        questions = self.sessions[caller.session].questions.values() if caller.session in self.sessions else []
        mine = {question.id for question in questions if question.turn == turn.number}
        assert reply.turn == turn.number
        assert reply.approvals or turn.status is not TurnStatus.WAITING, caller
        assert turn.gone or {one.id for one in reply.approvals} <= mine, caller
