"""A replay in which people decide: five callers at once in two processes, and kills at the moments that matter."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apsw

from sojourn.stores.sqlite.store import SqliteStore
from tests.replay.callers import Shares
from tests.replay.kills import noted
from tests.replay.ledger import Figures, Ledger, called
from tests.replay.stage import HERE, Replay

#: When the player can be killed: see asking_player.py, decider.py and slow_tools.py.
ASKED, PARTLY, DECIDED, ELSEWHERE, INSIDE, DONE = (
    "asked", "partly", "decided", "decided elsewhere", "inside", "inside, done",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill at the first moment of a kind after that many replies of a player."""

    kind: str
    after: int


NEVER = Kill("", 0)

_UNLUCKY = "SELECT 1 FROM turns WHERE status IN ('queued', 'running', 'waiting') AND attempts > 1 LIMIT 1"


@dataclass
class Decisions(Replay):
    """A replay of an agent.yml whose tools that change something need a person."""

    risky: Collection[str] = ()
    shares: Shares = field(default_factory=Shares)
    #: How long each call is held up before it reaches the tools, milliseconds.
    hold_ms: int = 20
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    #: How many players there have been.
    lives: int = 0

    @property
    def kill_log(self) -> Path:
        return self.folder / "kills.log"

    @property
    def start_log(self) -> Path:
        return self.folder / "starts.log"

    @property
    def arm(self) -> Path:
        return self.folder / "arm.json"

    def permissions(self) -> dict[str, Any]:
        names = {
            call["name"]
            for messages in self.recorded().values()
            for message in messages
            for call in message.get("tool_calls") or []
        }
        reading = sorted(f"mcp--airline--{name}" for name in names - set(self.risky))
        return {"mode": "manual", "toolPolicies": {"alwaysAllow": reading}}

    async def decide(self, kills: Sequence[Kill], *, at_once: int = 32, seconds: float = 300) -> None:
        """Play everything, killing the player at these moments, one after the other."""
        plan = {
            "log": str(self.start_log), "arm": str(self.arm), "kills": str(self.kill_log),
            "risky": sorted(self.risky), "hold_ms": self.hold_ms,
        }  # fmt: skip
        self.tools = [sys.executable, str(HERE / "slow_tools.py"), json.dumps(plan), *self.tools]
        self.by_file = True
        async with asyncio.timeout(seconds), self.judge() as port, self._decider() as decider:
            for kill in [*kills, NEVER]:
                if not await self._live(self.plan(port, at_once=at_once, ttl_ms=200), kill, decider):
                    break  # nothing is left to be played
            await self.ask_judge(port)

    async def _live(self, plan: dict[str, Any], kill: Kill, decider: Process) -> bool:
        """One player from its start to its end; whether it was killed."""
        self.lives += 1
        plan |= {
            "shares": asdict(self.shares), "kills": str(self.kill_log), "life": self.lives, "kill": kill.kind,
        }  # fmt: skip
        player = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "asking_player.py"), json.dumps(plan), stdin=PIPE, stdout=PIPE
        )
        try:
            replies, aimed = 0, kill is NEVER
            assert player.stdout is not None
            async for line in player.stdout:
                replies += self._hear(json.loads(line), player, decider)
                if not aimed and replies >= kill.after and not self._is_unlucky():
                    aimed = True
                    self._aim(kill, player, decider)
            await player.wait()
        finally:
            self._tell(decider, {"kill": 0})
            self.arm.unlink(missing_ok=True)
            if player.returncode is None:
                player.kill()
                await player.wait()
        assert player.returncode in {0, -signal.SIGKILL}
        assert kill is not NEVER or player.returncode == 0
        self.kills += player.returncode != 0
        return player.returncode != 0

    def _aim(self, kill: Kill, player: Process, decider: Process) -> None:
        """Set somebody to kill the player."""
        if kill.kind == ELSEWHERE:
            self._tell(decider, {"kill": player.pid})
        elif kill.kind in {INSIDE, DONE}:
            armed = self.arm.with_suffix(".new")
            armed.write_text(json.dumps({"ran": kill.kind == DONE}), encoding="utf-8")
            armed.rename(self.arm)
        else:
            self._tell(player, {"aim": True})

    def _is_unlucky(self) -> bool:
        """Whether a turn is open whose process died before: the third death ends it, which is not our subject."""
        database = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return bool(database.execute(_UNLUCKY).fetchone())
        finally:
            database.close()

    def _hear(self, line: dict[str, Any], player: Process, decider: Process) -> bool:
        """Pass a line on; whether it is a reply that is new."""
        if "question" in line:
            self._tell(player, line)
            self._tell(decider, line)
        elif "outcome" in line:
            self.outcomes.append(line["outcome"])
        else:
            return self.take(line)
        return False

    @staticmethod
    def _tell(process: Process, line: dict[str, Any]) -> None:
        assert process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.write(json.dumps(line).encode() + b"\n")

    @asynccontextmanager
    async def _decider(self) -> AsyncIterator[Process]:
        """The second process."""
        plan = {"database": str(self.database), "kills": str(self.kill_log), "shares": asdict(self.shares)}
        decider = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "decider.py"), json.dumps(plan), stdin=PIPE, stdout=PIPE
        )
        ready = asyncio.Event()
        hearing = asyncio.create_task(self._hear_decider(decider, ready))
        try:
            await ready.wait()
            yield decider
            assert decider.stdin is not None
            decider.stdin.close()
            await hearing
            assert await decider.wait() == 0
        finally:
            hearing.cancel()
            if decider.returncode is None:
                decider.kill()
                await decider.wait()

    async def _hear_decider(self, decider: Process, ready: asyncio.Event) -> None:
        assert decider.stdout is not None
        async for line in decider.stdout:
            told = json.loads(line)
            if "outcome" in told:
                self.outcomes.append(told["outcome"])
            ready.set()
        ready.set()

    # -- what must be true afterwards

    async def judge_calls(self) -> Figures:
        """Every conversation whole, every call run as often as people wanted; what it came to."""
        await self.check()
        ledger = Ledger(self.risky, self.shares.remembers)
        store = SqliteStore(str(self.database))
        await store.open()
        try:
            for number, messages in self.recorded().items():
                await ledger.take(store, number, messages)
        finally:
            await store.close()
        ledger.compare_runs(_counted(self.start_log), _counted(self.tool_log))
        ledger.compare_callers(self.outcomes)
        ledger.compare_kills(noted(self.kill_log))
        figures = ledger.figures
        figures.restarts, figures.mismatches = self.lives - 1, self.stats["mismatches"]
        assert figures.kills.total() == self.kills == figures.restarts
        return figures

    def check_tools(self) -> None:
        """Nothing: the ledger knows it more exactly."""


def _counted(log: Path) -> Counter[str]:
    calls: Counter[str] = Counter()
    for line in noted(log):
        tool, arguments = (line["tool"], line["arguments"]) if isinstance(line, dict) else line
        calls[called(tool, arguments)] += 1
    return calls
