"""Five callers who decide one question at once, some of them in another process; what they say is a matter of chance.

The chance depends on the question's place alone: whoever is asked, and asked again after a crash, says the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sojourn.errors import ApprovalDecided
from sojourn.records import Approval
from sojourn.sessions.runtime import Runtime

CALLERS = 5

#: The argument that is added where arguments are changed: it says of which call they are.
MARKER = "call"


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is told from process to process."""

    id: str
    session: str
    seq: int
    index: int
    arguments: str
    #: How many questions the response raised that are open.
    of: int
    #: Which process of those that follow each other asks.
    life: int

    @property
    def place(self) -> str:
        return f"{self.session}/{self.seq}/{self.index}"

    @property
    def response(self) -> str:
        return f"{self.session}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Shares:
    """How often something is said, from 0 to 1."""

    seed: int = 0
    deny: float = 0
    #: Questions about which the callers do not agree.
    disagree: float = 0
    change: float = 0
    #: Sessions in which each yes is remembered.
    remember: float = 0

    def chance(self, *about: object) -> float:
        digest = hashlib.blake2b(repr((self.seed, *about)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def denies(self, question: Question, caller: int) -> bool:
        if self.chance("disagree", question.place) < self.disagree:
            return self.chance("deny", question.place, caller) < 0.5
        return self.chance("deny", question.place) < self.deny

    def changed(self, question: Question) -> dict[str, Any] | None:
        if self.chance("change", question.place) < self.change:
            return {**json.loads(question.arguments), MARKER: question.place}
        return None

    def remembers(self, session: str) -> bool:
        return self.chance("remember", session) < self.remember

    def callers(self, question: Question, *, elsewhere: bool) -> list[int]:
        """Two or three of the callers are elsewhere."""
        first = self.chance("callers", question.place) < 0.5
        return [caller for caller in range(CALLERS) if (caller % 2 == first) is elsewhere]


def report(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Callers:
    """Those of one process; `last` is told, before anything else happens, when one of them decides what was left."""

    def __init__(self, runtime: Runtime, shares: Shares, last: Callable[[Question], None], *, elsewhere: bool):
        self._runtime, self._shares, self._last, self._elsewhere = runtime, shares, last, elsewhere
        self._decided: Counter[str] = Counter()
        self._known: set[str] = set()

    async def decide(self, question: Question) -> None:
        """All of them at once."""
        callers = self._shares.callers(question, elsewhere=self._elsewhere)
        await asyncio.gather(*(self._decide(question, caller) for caller in callers))

    async def _decide(self, question: Question, caller: int) -> None:
        by = f"{'elsewhere' if self._elsewhere else 'here'} {question.life}.{caller}"
        try:
            winner = (await self._say(question, caller, by)).decided_by
            result = "won" if winner == by else "same"
        except ApprovalDecided as error:
            result, winner = "late", error.by
        self._note(question, won=result == "won")
        report(outcome={"approval": question.id, "by": by, "winner": winner, "result": result})

    async def _say(self, question: Question, caller: int, by: str) -> Approval:
        if self._shares.denies(question, caller):
            return await self._runtime.deny(question.session, question.id, by=by)
        return await self._runtime.approve(
            question.session,
            question.id,
            arguments=self._shares.changed(question),
            remember="session" if self._shares.remembers(question.session) else None,
            by=by,
        )

    def _note(self, question: Question, *, won: bool) -> None:
        if question.id in self._known:
            return
        self._known.add(question.id)
        self._decided[question.response] += 1
        if won and self._decided[question.response] == question.of:
            self._last(question)
