"""A second process on the player's database, which runs no agent and decides what it is told of.

python decider.py '{"database": …, "kills": …, "shares": …}'

Reads lines of JSON: a question, or which process is to be killed when the next turn's last question is decided here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from sojourn.bootstrap import reading
from tests.replay.callers import Callers, Question, Shares, report
from tests.replay.kills import kill


class Decider:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._shares = Shares(**plan["shares"])
        self._victim = 0

    async def work(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        async with reading(f"sqlite:///{self._plan['database']}") as runtime, asyncio.TaskGroup() as deciding:
            callers = Callers(runtime, self._shares, self._last, elsewhere=True)
            report(ready=True)
            async for line in lines:
                told = json.loads(line)
                if "kill" in told:
                    self._victim = told["kill"]
                else:
                    deciding.create_task(callers.decide(Question(**told["question"])))

    def _last(self, question: Question) -> None:
        if self._victim:
            kill(self._victim, Path(self._plan["kills"]), "decided elsewhere", place=question.place)
            self._victim = 0


if __name__ == "__main__":
    asyncio.run(Decider(json.loads(sys.argv[1])).work())
