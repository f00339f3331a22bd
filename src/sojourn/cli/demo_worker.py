"""The process that the demo kills: runs every conversation to its end, and reports what was acknowledged.

Each line has an idempotency key, so a second process simply says everything again: what was answered is not run anew.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from datetime import timedelta
from typing import Any

from sojourn.bootstrap import Sojourn
from sojourn.cli.demo_script import name, script
from sojourn.engine.demo import demo_agent

#: How long a person thinks between two lines, seconds.
THINKING = (0.2, 1.2)


def report(**what: Any) -> None:
    """One line for the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def talk(runtime: Sojourn, number: int, skip: int) -> None:
    """One person's conversation; what was acknowledged to an earlier process is said again at once, to see it kept."""
    session = runtime.session(name(number))
    for turn, line in enumerate(script(number), 1):
        if turn > skip:
            await asyncio.sleep(random.uniform(*THINKING))  # noqa: S311 - a person's pause
        report(says=number, turn=turn)
        reply = await session.send(line.say, key=f"line-{turn}")
        report(answered=number, turn=turn, text=reply.text)


async def count(runtime: Sojourn) -> None:
    """How many sessions are live, again and again."""
    while True:
        statistics = await runtime.statistics()
        unloaded = {str(reason): number for reason, number in statistics.unloaded.items()}
        report(
            live=statistics.live, busy=statistics.busy, waiting=statistics.waiting, stored=statistics.stored,
            restored=statistics.restored, unloaded=unloaded,
        )  # fmt: skip
        await asyncio.sleep(0.1)


async def work(database: str, conversations: int, max_sessions: int, done: list[int]) -> None:
    """Everything, in this process."""
    runtime = Sojourn(
        demo_agent(),
        storage=f"sqlite:///{database}",
        max_sessions=max_sessions,
        session_ttl=timedelta(milliseconds=200),
        admission_wait=timedelta(seconds=60),
    )
    async with runtime:
        report(ready=True)
        counting = asyncio.create_task(count(runtime))
        await asyncio.gather(*(talk(runtime, number, done[number]) for number in range(conversations)))
        counting.cancel()


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    asyncio.run(work(arguments["database"], arguments["conversations"], arguments["max_sessions"], arguments["done"]))
