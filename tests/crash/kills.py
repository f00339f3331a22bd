"""Real processes on one database, killed and stopped at random moments, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sojourn.records import EffectStatus, EntryKind, TurnStatus
from sojourn.sessions.turns import MAX_ATTEMPTS
from sojourn.stores.sqlite.store import SqliteStore
from tests.crash.judge import Stored, judge_rest, judge_shape, read

ROOT = Path(__file__).parents[2]

#: Seconds in which a child must have said what is waited for.
PATIENCE = 60


@dataclass
class Figures:
    """What a run of kills came to."""

    kills: int = 0
    stops: int = 0
    accepted: int = 0
    replied: int = 0
    lost: int = 0
    doubled: int = 0
    resumed: int = 0
    given_up: int = 0
    effects: int = 0
    unknown: int = 0
    recoveries: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        times = sorted(self.recoveries) or [0.0]
        return (
            f"{self.kills} kills, {self.stops} stops, {self.accepted} inputs and {self.replied} replies acknowledged, "
            f"{self.lost} lost, {self.doubled} doubled, {self.resumed} turns resumed, {self.given_up} given up, "
            f"{self.effects} effects, {self.unknown} of them unknown; restart to recovered: "
            f"median {times[len(times) // 2]:.2f} s, worst {times[-1]:.2f} s of {len(times)}"
        )


class ChildProcess:
    """One process and all that it has told."""

    def __init__(self, arena: Arena, mode: str = "work") -> None:
        arena.children += 1
        self._arena, self.started = arena, time.monotonic()
        self.said: dict[str, threading.Event] = defaultdict(threading.Event)
        arguments = [str(arena.database), str(arena.effects), f"p{arena.children:03}", str(arena.children), mode]
        self._errors = arena.folder / f"child-{arena.children}.err"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.kill_child", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, *words = line.rstrip("\n").split("\t")
            if kind == "accepted":
                self._arena.accepted.append((words[0], words[1]))
            elif kind == "replied":
                self._arena.replied.append((words[0], words[1], words[2]))
            elif kind == "recovered":
                self._arena.figures.recoveries.append(time.monotonic() - self.started)
            self.said[kind].set()

    def wait_for(self, word: str) -> None:
        assert self.said[word].wait(PATIENCE), f"a child never became {word}: {self._errors.read_text()[-2000:]}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        self._arena.figures.stops += 1

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone and all that it told has been read."""
        assert self._process.poll() is None, f"a child ended by itself: {self._errors.read_text()[-2000:]}"
        self._process.kill()
        self._arena.figures.kills += 1
        self.end()

    def end(self) -> None:
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Arena:
    """A database, the world outside it, and what callers were told."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, Random(seed)
        self.database, self.effects = folder / "kills.db", folder / "effects"
        self.children = 0
        self.accepted: list[tuple[str, str]] = []
        self.replied: list[tuple[str, str, str]] = []
        self.figures = Figures()

    # -- what is done to the processes

    def kill_alone(self, times: int) -> None:
        """One process after the other; everything is looked at while none lives."""
        for _ in range(times):
            child = ChildProcess(self)
            if self.random.random() < 0.8:
                child.wait_for("ready")
            time.sleep(self.random.uniform(0.0, 0.3))  # the random moment
            child.kill()
            self.judge()

    def kill_one_of_two(self, times: int) -> None:
        """Two processes on one file; one dies, while the other may be frozen."""
        pair = [ChildProcess(self), ChildProcess(self)]
        for _ in range(times):
            self.random.shuffle(pair)
            for child in pair:
                child.wait_for("ready")
            frozen = self.random.random() < 0.4
            if frozen:
                pair[1].stop()
            time.sleep(self.random.uniform(0.0, 0.3))  # the random moment
            pair[0].kill()
            pair[0] = ChildProcess(self)
            if frozen:
                time.sleep(self.random.uniform(0.0, 0.2))
                pair[1].go_on()
        for child in pair:
            child.kill()
        self.judge()

    def recover(self) -> None:
        """A last process that is left in peace."""
        child = ChildProcess(self, "rest")
        child.wait_for("idle")
        self.figures.recoveries.append(time.monotonic() - child.started)
        child.end()
        found = self.judge()
        for name, one in found.items():
            judge_rest(name, one)

    # -- what must be true

    def judge(self) -> Mapping[str, Stored]:
        found = asyncio.run(self._stored())
        for name, one in found.items():
            judge_shape(name, one)
            strange = [
                entry.text
                for entry in one.log
                if entry.text
                and name not in entry.text
                and entry.turn not in {turn.turn for turn in one.turns.values() if turn.status is TurnStatus.FAILED}
            ]
            assert not strange, f"{name} holds what belongs to others: {strange}"
        self._judge_inputs(found)
        self._judge_replies(found)
        self._judge_effects(found)
        self._count(found)
        return found

    async def _stored(self) -> dict[str, Stored]:
        store = SqliteStore(str(self.database))
        await store.open()
        try:
            return await read(store)
        finally:
            await store.close()

    def _judge_inputs(self, found: Mapping[str, Stored]) -> None:
        inputs = {name: Counter(one.all_inputs) for name, one in found.items()}
        lost = [(name, text) for name, text in self.accepted if not inputs.get(name, Counter())[text]]
        doubled = [text for counted in inputs.values() for text, times in counted.items() if times > 1]
        self.figures.lost, self.figures.doubled = len(lost), len(doubled)
        assert not lost, f"acknowledged and lost: {lost[:5]}"
        assert not doubled, f"there twice: {doubled[:5]}"
        for name, one in found.items():
            senders = defaultdict(list)
            for text in one.all_inputs:
                senders[text.split()[1]].append(text)
            assert all(texts == sorted(texts) for texts in senders.values()), f"{name} is out of order"

    def _judge_replies(self, found: Mapping[str, Stored]) -> None:
        for name, text, reply in self.replied:
            one = found[name]
            assert one.answer_to(text) == reply == f"{name} answers {text}"
            assert one.turns[one.turn_of(text)].status is TurnStatus.COMPLETED

    def _judge_effects(self, found: Mapping[str, Stored]) -> None:
        marks = Counter(self.effects.read_text().splitlines() if self.effects.exists() else ())
        twice = [tool for tool, times in marks.items() if times > 1]
        assert not twice, f"tools that ran twice: {twice[:5]}"
        ledger = {effect.tool: effect.status for one in found.values() for effect in one.effects}
        assert set(marks) <= set(ledger), "a tool ran before its call was durable"
        untrue = [t for t, status in ledger.items() if status is EffectStatus.FINISHED and t not in marks]
        assert not untrue, f"finished without effect: {untrue[:5]}"

    def _count(self, found: Mapping[str, Stored]) -> None:
        figures, effects = self.figures, [effect for one in found.values() for effect in one.effects]
        figures.accepted, figures.replied = len(self.accepted), len(self.replied)
        figures.resumed = sum(e.kind is EntryKind.TURN_RESUMED for one in found.values() for e in one.log)
        failed = [t for one in found.values() for t in one.turns.values() if t.status is TurnStatus.FAILED]
        assert all(turn.attempts == MAX_ATTEMPTS for turn in failed), [turn.reason for turn in failed]
        figures.given_up, figures.effects = len(failed), len(effects)
        figures.unknown = sum(effect.status is EffectStatus.UNKNOWN for effect in effects)
