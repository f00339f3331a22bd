"""What happens inside the engines: rules that let the model and the tools of some running turn do something.

No precondition asks what runs: after a race that differs from run to run, and Hypothesis wants the same rules again.
"""

from __future__ import annotations

import json

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sojourn.sessions.state import encoded
from tests.model.runtime_model import Session
from tests.model.runtime_nodes import Act
from tests.model.runtime_people import GATED
from tests.model.runtime_rows import Call
from tests.model.runtime_world import RuntimeWorld

#: "z" never exists; where a session is wanted, the others stand for one that does.
ids = st.sampled_from(("a", "b", "c", "d", "e", "z"))

#: What the model calls; people are asked about some, in this many rounds of a turn.
TOOLS, ROUNDS = ("look", *GATED), 2


class RuntimeActs(RuntimeWorld):
    """The rules of what runs."""

    def speak(self, sid: str) -> None:
        """Somebody says something, so that something runs."""
        raise NotImplementedError

    def something_runs(self, sid: str) -> bool:
        """Whether anything runs; where nothing did, somebody has spoken."""
        if not self.stage.acts and self.nodes:
            self.speak(sid)
        return bool(self.stage.acts)

    def act(self, sid: str) -> Act:
        """A turn that is inside an engine."""
        acts = sorted(self.stage.acts)
        return self.stage.acts[acts[ord(sid) % len(acts)]]

    @rule(sid=ids)
    def write(self, sid: str) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        self.said += 1
        self.stage.order(act.session, "write", f"{act.session} writes {self.said} ")
        self.sessions[act.session].written += f"{act.session} writes {self.said} "
        self.check()

    @rule(sid=ids, tools=st.lists(st.sampled_from(TOOLS), max_size=3))
    def respond(self, sid: str, tools: list[str]) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        if not act.open:
            self.respond_in(act, tools)

    def respond_in(self, act: Act, tools: list[str]) -> None:
        if not act.open:
            self.said += 1
            session, text = self.sessions[act.session], f"{act.session} thinks {self.said}"
            gated = self.gated(session, tools)
            self.stage.order(act.session, "respond", (text, tools, gated))
            session.respond(text, tools, gated)
            self.check()

    @rule(sid=ids, place=st.integers(0, 2))
    def tool_returns(self, sid: str, place: int) -> None:
        if not self.something_runs(sid):
            return
        act = next((act for act in (self.act(sid), *self.stage.acts.values()) if act.open), None)
        if act:
            self.said += 1
            place %= len(act.open)
            session = self.sessions[act.session]
            call = self.call_at(act, place)
            text = f"{act.session} found {self.said}" if act.open[place][2] else "that was refused"
            self.stage.order(act.session, "result", (place, text))
            session.result(session.open_calls.index(call), text)
            self.check()

    def gated(self, session: Session, tools: list[str]) -> list[str]:
        """What of this people are asked about: not more often than in a few rounds of a turn."""
        asked = session.current.asked if session.current else 0
        return [tool for tool in tools if tool in GATED and asked < ROUNDS]

    def call_at(self, act: Act, place: int) -> Call:
        """The model of a call that runs."""
        session = self.sessions[act.session]
        return [call for call in session.open_calls if call.started or not act.asks][place]

    @rule(sid=ids)
    def tool_changes_state(self, sid: str) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        self.said += 1
        self.stage.order(act.session, "state", self.said)
        session = self.sessions[act.session]
        session.changed = encoded({**json.loads(session.changed or session.state), "n": self.said})
        self.check()

    @rule(sid=ids)
    def give_feedback(self, sid: str) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        if not act.open:
            self.said += 1
            self.stage.order(act.session, "feedback", f"{act.session} feedback {self.said}")
            self.sessions[act.session].feedback(f"{act.session} feedback {self.said}")
            self.check()

    @rule(sid=ids)
    def answer(self, sid: str) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        if not act.open:
            self.answer_of(act)

    def answer_of(self, act: Act) -> None:
        self.said += 1
        self.stage.order(act.session, "answer", f"{act.session} answers {self.said}")
        self.sessions[act.session].answer(f"{act.session} answers {self.said}")
        self.check()

    @rule(sid=ids)
    def fail(self, sid: str) -> None:
        if not self.something_runs(sid):
            return
        act = self.act(sid)
        self.said += 1
        self.stage.order(act.session, "fail", f"{act.session} breaks {self.said}")
        self.sessions[act.session].fail(f"RuntimeError: {act.session} breaks {self.said}")
        self.check()
