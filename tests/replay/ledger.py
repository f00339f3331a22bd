"""What must be true of a replay's calls afterwards, by the log, the questions, the ledger and the tools' own logs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sojourn.abc import ApprovalRow, Entry
from sojourn.records import ApprovalStatus, Effect, EffectStatus, EntryKind
from sojourn.stores.common import REMEMBERED
from sojourn.stores.sqlite.store import SqliteStore

#: What the model is told of a call whose outcome nobody knows, of a denied one, of one with changed arguments.
UNKNOWN, DENIED, CHANGED = "outcome of this call is unknown", "denied this call", "with changed arguments"


def called(tool: str, arguments: str | Mapping[str, Any]) -> str:
    """A tool and its arguments, written in one way."""
    found = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    return json.dumps([tool.rsplit("--", 1)[-1], found], sort_keys=True)


@dataclass(slots=True)
class Figures:
    """What a replay with questions came to."""

    conversations: int = 0
    questions: int = 0
    #: Not asked of anybody, because of an earlier yes.
    remembered: int = 0
    approved: int = 0
    denied: int = 0
    changed: int = 0
    #: What the callers were told: that it was they who decided, that it is as they said, or that it is otherwise.
    callers: Counter[str] = field(default_factory=Counter)
    #: In which process the decisions were made.
    decided: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    mismatches: int = 0
    ran: int = 0
    unknown: int = 0
    #: Of the approved ones.
    approved_unknown: int = 0
    ran_too_often: int = 0
    never_ran: int = 0
    denied_ran: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {kind!r}" for kind, count in sorted(self.kills.items())) or "none"
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.callers.items()))
        where = ", ".join(f"{count} {place}" for place, count in sorted(self.decided.items()))
        return (
            f"{self.conversations} conversations, {self.questions} questions ({self.remembered} answered by an earlier "
            f"yes), {self.approved} approved, {self.changed} of them with other arguments, {self.denied} denied; "
            f"decided {where}; callers told: {told}; kills: {kills}; {self.restarts} restarts; "
            f"{self.mismatches} mismatches; {self.ran} calls ran, {self.unknown} calls of unknown outcome "
            f"({self.approved_unknown} of the approved), "
            f"{self.ran_too_often} more than once, {self.never_ran} never, denied calls run: {self.denied_ran}"
        )


@dataclass(slots=True)
class Ledger:
    """The calls of all conversations, as storage tells of them."""

    risky: Collection[str]
    #: Whether each yes is remembered in a session.
    remembers: Callable[[str], bool]
    figures: Figures = field(default_factory=Figures)
    #: How often each must at least, and may at most, have been run.
    least: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    #: The questions' deciders.
    winners: dict[str, str | None] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)

    async def take(self, store: SqliteStore, number: int, messages: Sequence[dict[str, Any]]) -> None:
        """Enter one conversation; its calls are where the recording has them."""
        session = f"conv-{number}"
        entries = await store.entries("local", session)
        effects = {(one.seq, one.index): one for one in await store.effects("local", session)}
        asked = await store.approvals("local", session, pending=False, limit=1000)
        questions = {(one.seq, one.index): one for one in asked}
        said = [entry for entry in entries if entry.kind is EntryKind.MESSAGE]
        recorded = [message for message in messages if message["role"] == "assistant"]
        self.figures.conversations += 1
        assert len(said) == len(recorded)
        for entry, message in zip(said, recorded, strict=True):
            told = results(entries, entry.seq)
            for index, call in enumerate(message.get("tool_calls") or []):
                place = (entry.seq, index)
                self._enter(call, effects.pop(place), questions.pop(place, None), told[index])
        assert not effects, f"calls that the recording of {number} does not have"
        assert not questions, f"questions that the recording of {number} does not have"
        self._check_memory(session, asked)

    def _enter(self, call: Mapping[str, Any], effect: Effect, question: ApprovalRow | None, told: str) -> None:
        assert (question is not None) == (call["name"] in self.risky), f"asked about {call['name']}: {question}"
        place = called(call["name"], call["arguments"])
        if question is not None:
            self._count(question)
            if question.status is ApprovalStatus.DENIED:
                assert DENIED in told
                self.denied[place] += 1
                return
            assert question.status is ApprovalStatus.APPROVED
            if question.changed is not None:
                place = called(call["name"], question.changed)
                assert CHANGED in told or UNKNOWN in told
        self.most[place] += 1
        if effect.status is EffectStatus.UNKNOWN:
            assert UNKNOWN in told
            self.figures.unknown += 1
            self.figures.approved_unknown += question is not None
            self.unknown[place] += 1
        else:
            assert effect.status is EffectStatus.FINISHED
            self.least[place] += 1

    def _count(self, question: ApprovalRow) -> None:
        figures = self.figures
        figures.questions += 1
        figures.remembered += question.by == REMEMBERED
        figures.denied += question.status is ApprovalStatus.DENIED
        figures.approved += question.status is ApprovalStatus.APPROVED
        figures.changed += question.changed is not None
        figures.decided["by memory" if question.by == REMEMBERED else str(question.by).split()[0]] += 1
        self.winners[question.id] = question.by

    def _check_memory(self, session: str, questions: Sequence[ApprovalRow]) -> None:
        """Where a yes is remembered nobody is asked about the tool behind it; elsewhere everything is asked."""
        for tool in {one.tool for one in questions}:
            mine = [one for one in questions if one.tool == tool]
            allowed = min((one.seq for one in mine if one.status is ApprovalStatus.APPROVED), default=0)
            for one in mine:
                later = self.remembers(session) and one.seq > allowed > 0
                assert (one.by == REMEMBERED) is later, f"{session}: {one}"

    # -- what it is compared with

    def compare_runs(self, started: Counter[str], ran: Counter[str]) -> None:
        """With how often each call reached the tools, and how often each was run by them."""
        figures = self.figures
        figures.ran = ran.total()
        for place in started | ran | self.least:
            over = max(0, started[place] - self.most[place], ran[place] - self.most[place])
            denied = min(over, self.denied[place])
            figures.denied_ran += denied
            figures.ran_too_often += over - denied
            figures.never_ran += max(0, self.least[place] - ran[place])

    def compare_callers(self, outcomes: Sequence[Mapping[str, Any]]) -> None:
        """With what the callers were told: one decision, by one caller, the same for everyone."""
        won: dict[str, list[str]] = defaultdict(list)
        for one in outcomes:
            self.figures.callers[one["result"]] += 1
            assert one["winner"] == self.winners[one["approval"]], f"told of another decider: {one}"
            if one["result"] == "won":
                won[one["approval"]].append(one["by"])
        assert all(len(by) == 1 for by in won.values())

    def compare_kills(self, kills: Sequence[Mapping[str, Any]]) -> None:
        """With what was running when the client was killed inside a call."""
        self.figures.kills.update(one["kind"] for one in kills)
        for one in kills:
            if "called" in one:
                assert self.unknown[one["called"]], f"killed inside of it, and not told so: {one['called']}"


def results(entries: Sequence[Entry], response: int) -> dict[int, str]:
    """What the model was told of the calls of a response, by their index."""
    told: dict[int, str] = {}
    for entry in entries:
        if entry.seq > response and entry.kind is EntryKind.MESSAGE:
            break
        if entry.seq > response and entry.kind is EntryKind.TOOL_RESULT:
            told[json.loads(entry.body)["call"][1]] = entry.text
    return told
