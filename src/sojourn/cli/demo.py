"""`sojourn demo`: the main job, seen: many conversations, few in memory, the process killed, nothing lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sojourn.bootstrap import Sojourn
from sojourn.cli.demo_script import name, script
from sojourn.cli.demo_stage import LineStage, Stage, TerminalStage
from sojourn.engine.demo import demo_agent
from sojourn.records import Role

OK, FAILED = 0, 1

#: The process is killed when this share of all lines is answered.
KILL_AT = 0.45

#: What the answer says of a tool that the kill fell into.
IN_DOUBT = "outcome of this call is unknown"

#: What a process started anew may need to get everything back, seconds.
PATIENCE = 120


@dataclass(slots=True)
class Seen:
    """What the parent has seen so far; it trusts nothing else."""

    conversations: int
    max_sessions: int
    #: (conversation, turn) -> the answer that was acknowledged.
    answers: dict[tuple[int, int], str] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    most_live: int = 0
    in_doubt: int = 0
    started: float = field(default_factory=time.monotonic)
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many lines will be answered in all."""
        return sum(len(script(number)) for number in range(self.conversations))

    def done(self, number: int) -> int:
        """How many lines of a conversation are answered."""
        return sum(1 for turn in range(1, len(script(number)) + 1) if (number, turn) in self.answers)

    def take(self, line: dict[str, Any]) -> None:
        """A line from the process."""
        if "says" in line:
            self.asked[line["says"]] = line["turn"]
        elif "answered" in line:
            self._answered(line["answered"], line["turn"], line["text"])
        elif "live" in line:
            self.statistics = line
            self.most_live = max(self.most_live, line["live"])

    def _answered(self, number: int, turn: int, text: str) -> None:
        self.asked.pop(number, None)
        before = self.answers.setdefault((number, turn), text)
        if before != text:
            self.faults.append(f"{name(number)}, line {turn}: answered {before!r} and later {text!r}")
        expected = script(number)[turn - 1].expect
        if IN_DOUBT in text:
            self.in_doubt += 1  # killed inside a tool: the agent is told that nobody knows whether it ran
        elif expected not in text:
            self.faults.append(f"{name(number)}, line {turn}: expected {expected!r} in {text!r}")


async def perform(conversations: int, max_sessions: int, *, plain: bool) -> int:
    """The whole show; 0 only if every claim was seen to be true."""
    console = Console()
    stage: Stage = LineStage(console) if plain or not console.is_terminal else TerminalStage(console)
    seen = Seen(conversations, max_sessions)
    with tempfile.TemporaryDirectory(prefix="sojourn-demo-") as folder, stage:
        database = Path(folder) / "demo.db"
        stage.say(
            f"{conversations} conversations at once, at most {max_sessions} in memory, idle ones leave after 0.2 s"
        )
        await _process(seen, stage, database, kill=True)
        stage.say(
            f"killed with SIGKILL after {len(seen.answers)} of {seen.total} answers; started again on the same file"
        )
        await _process(seen, stage, database, kill=False)
        await _inspect(seen, database)
    return verdict(seen, stage)


async def _process(seen: Seen, stage: Stage, database: Path, *, kill: bool) -> None:
    """Run a process until it is done, or until it is time to kill it."""
    arguments = {
        "database": str(database),
        "conversations": seen.conversations,
        "max_sessions": seen.max_sessions,
        "done": [seen.done(number) for number in range(seen.conversations)],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sojourn.cli.demo_worker", json.dumps(arguments), stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise AssertionError("the process has no standard output")
    try:
        async with asyncio.timeout(PATIENCE):
            async for line in process.stdout:
                seen.take(json.loads(line))
                stage.show(seen)
                if kill and len(seen.answers) >= KILL_AT * seen.total:
                    process.send_signal(signal.SIGKILL)
                    kill = False
            await process.wait()
    except TimeoutError:
        seen.faults.append(f"the process was not done after {PATIENCE} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode not in {0, -signal.SIGKILL}:
        seen.faults.append(f"the process ended with exit code {process.returncode}")


async def _inspect(seen: Seen, database: Path) -> None:
    """Read every history back and compare it with what was said and answered."""
    async with Sojourn(demo_agent(), storage=f"sqlite:///{database}") as runtime:
        for number in range(seen.conversations):
            history = await runtime.history(name(number))
            said = [message.text for message in history if message.role is Role.USER]
            answered = [message.text for message in history if message.role is Role.ASSISTANT and message.text]
            lines = [line.say for line in script(number)]
            if said != lines:
                seen.faults.append(f"{name(number)}: said {said}, expected {lines}")
            told = [seen.answers.get((number, turn)) for turn in range(1, len(lines) + 1)]
            if answered != told:
                seen.faults.append(f"{name(number)}: its history answers {answered}, it was told {told}")


def verdict(seen: Seen, stage: Stage) -> int:
    """Show each claim and whether it held; the exit code."""
    claims = {
        f"every one of {seen.total} answers came, and none changed": len(seen.answers) == seen.total
        and not seen.faults,
        f"never more than {seen.max_sessions} sessions in memory (most seen: {seen.most_live})": (
            0 < seen.most_live <= seen.max_sessions
        ),
        "sessions left memory and came back by themselves": seen.statistics.get("restored", 0) > 0,
        f"all {seen.conversations} histories whole, none mixed up": not seen.faults,
    }
    if seen.in_doubt:
        claims[f"{seen.in_doubt} tool calls were cut by the kill: not run again, and the agent was told"] = True
    for claim, holds in claims.items():
        stage.claim(claim, holds=holds)
    for fault in seen.faults[:5]:
        stage.say(f"fault: {fault}")
    stage.say(f"{time.monotonic() - seen.started:.1f} s")
    return OK if all(claims.values()) else FAILED
