"""A player whose questions are decided by callers in two processes, and which can end at a chosen moment by SIGKILL.

It takes the player's plan with "shares", "kills", "life" and "kill", one of these kinds, or another word:

asked     a question was asked, and nobody has been told of it
partly    one of a response's questions is decided, the others are not
decided   the last decision was acknowledged here; nothing that follows from it has happened

It ends at the first such moment after {"aim": true} came on standard input. A question is printed, and decided when it
comes back as a line there, which the other process gets too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from sojourn import Reply, Sojourn
from tests.replay.callers import Callers, Question, Shares, report
from tests.replay.kills import kill
from tests.replay.player import Player


class AskingPlayer(Player):
    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(plan)
        self.shares = Shares(**plan["shares"])
        self.aimed = False
        self.callers: Callers | None = None
        self.told: dict[str, asyncio.Future[None]] = {}

    async def play(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        listening = asyncio.create_task(self.listen(lines))
        try:
            await super().play()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def listen(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            told = json.loads(line)
            if "aim" in told:
                self.aimed = True
            else:
                self.told[told["question"]["id"]].set_result(None)

    async def settle(self, runtime: Sojourn, reply: Reply) -> None:
        if self.callers is None:
            self.callers = Callers(runtime, self.shares, self.last, elsewhere=False)
        of, life = len(reply.approvals), self.plan["life"]
        questions = [Question(a.id, a.session, a.seq, a.index, a.arguments, of, life) for a in reply.approvals]
        if questions:
            self.die_at("asked", questions[0])
        if of > 1 and self.dies("partly"):
            await self.ask(questions[0])
            self.die_at("partly", questions[0])
        await asyncio.gather(*(self.ask(question) for question in questions))

    async def ask(self, question: Question) -> None:
        self.told[question.id] = asyncio.get_running_loop().create_future()
        report(question=asdict(question))
        await self.told[question.id]
        assert self.callers is not None
        await self.callers.decide(question)
        self.allowed += 1

    def last(self, question: Question) -> None:
        self.die_at("decided", question)

    def dies(self, kind: str) -> bool:
        return bool(self.aimed and self.plan["kill"] == kind)

    def die_at(self, kind: str, question: Question) -> None:
        if self.dies(kind):
            kill(os.getpid(), Path(self.plan["kills"]), kind, place=question.place)


if __name__ == "__main__":
    asyncio.run(AskingPlayer(json.loads(sys.argv[1])).play())
