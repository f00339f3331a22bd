"""What happens inside the engines: rules that let the model and the tools of some running turn do something.

No precondition asks what runs: after a race that differs from run to run, and Hypothesis wants the same rules again.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model.runtime_nodes import Act
from tests.model.runtime_world import RuntimeWorld

#: "z" never exists; where a session is wanted, the others stand for one that does.
ids = st.sampled_from(("a", "b", "c", "d", "e", "z"))


class RuntimeActs(RuntimeWorld):
    """The rules of what runs."""

    def act(self, sid: str) -> Act:
        """A turn that is inside an engine."""
        acts = sorted(self.stage.acts)
        return self.stage.acts[acts[ord(sid) % len(acts)]]

    @rule(sid=ids)
    def write(self, sid: str) -> None:
        if not self.stage.acts:
            return
        act = self.act(sid)
        self.said += 1
        self.stage.order(act.session, "write", f"{act.session} writes {self.said} ")
        self.sessions[act.session].written += f"{act.session} writes {self.said} "
        self.check()

    @rule(sid=ids, calls=st.integers(0, 3))
    def respond(self, sid: str, calls: int) -> None:
        if not self.stage.acts:
            return
        act = self.act(sid)
        if not act.open:
            self.said += 1
            text, tools = f"{act.session} thinks {self.said}", [f"tool-{index}" for index in range(calls)]
            self.stage.order(act.session, "respond", (text, tools))
            self.sessions[act.session].respond(text, tools)
            self.check()

    @rule(sid=ids, place=st.integers(0, 2))
    def tool_returns(self, sid: str, place: int) -> None:
        if not self.stage.acts:
            return
        act = next((act for act in (self.act(sid), *self.stage.acts.values()) if act.open), None)
        if act:
            self.said += 1
            place %= len(act.open)
            text = f"{act.session} found {self.said}"
            self.stage.order(act.session, "result", (place, text))
            self.sessions[act.session].result(place, text)
            self.check()

    @rule(sid=ids)
    def give_feedback(self, sid: str) -> None:
        if not self.stage.acts:
            return
        act = self.act(sid)
        if not act.open:
            self.said += 1
            self.stage.order(act.session, "feedback", f"{act.session} feedback {self.said}")
            self.sessions[act.session].feedback(f"{act.session} feedback {self.said}")
            self.check()

    @rule(sid=ids)
    def answer(self, sid: str) -> None:
        if not self.stage.acts:
            return
        act = self.act(sid)
        if not act.open:
            self.said += 1
            self.stage.order(act.session, "answer", f"{act.session} answers {self.said}")
            self.sessions[act.session].answer(f"{act.session} answers {self.said}")
            self.check()

    @rule(sid=ids)
    def fail(self, sid: str) -> None:
        if not self.stage.acts:
            return
        act = self.act(sid)
        self.said += 1
        self.stage.order(act.session, "fail", f"{act.session} breaks {self.said}")
        self.sessions[act.session].fail(f"RuntimeError: {act.session} breaks {self.said}")
        self.check()
