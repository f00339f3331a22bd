"""A process dies before and after every operation of its store, one after the other; the next one puts all right."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sojourn.abc import Acceptance, Entry, FeedbackGiven, ModelResponded, ToolFinished
from sojourn.records import LOCAL_USER, ApprovalStatus, BusyPolicy, Effect, EffectStatus, EntryKind, TurnStatus
from sojourn.sessions.desk import check_said
from sojourn.sessions.live import Ticket
from sojourn.sessions.turn_run import TurnRun
from tests.crash.dying import DyingStore, stop_everything
from tests.crash.judge import Stored, describe, judge_rest, judge_shape, read
from tests.crash.scenario import FOLLOW_UP, GATED, STEERS, Agent, Scenario, World, decide, runtime_of
from tests.model.runtime_nodes import SteppedClock, Traffic, bury

#: Real seconds that one life may take.
PATIENCE = 20

#: About the first point at which people have been asked.
PEOPLE = 85


async def live_and_die(path: str, world: World, at: int, *, after: bool) -> DyingStore:
    """Play the scenario until the store dies, or to its end."""
    asyncio.get_running_loop().set_exception_handler(bury)
    traffic = Traffic()
    store, agent = DyingStore(path, traffic, at, after=after), Agent(world, patient=True)
    runtime = runtime_of(store, agent, SteppedClock(traffic))
    life = asyncio.create_task(Scenario(runtime, agent, world).play())
    death = asyncio.create_task(store.died.wait())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
    if store.died.is_set():
        await stop_everything()
        await store.abandon()
    else:
        death.cancel()
        await life
    return store


async def recover_and_die(path: str, world: World, at: int, *, after: bool) -> None:
    """A second life that takes up what the first one left, and dies of it."""
    asyncio.get_running_loop().set_exception_handler(bury)
    traffic = Traffic()
    store, clock = DyingStore(path, traffic, at, after=after), SteppedClock(traffic)
    runtime = runtime_of(store, Agent(world, patient=False), clock)

    async def live() -> None:
        await runtime.__aenter__()
        await clock.advance(2.5)

    life, death = asyncio.create_task(live()), asyncio.create_task(store.died.wait())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
    store.died.set()
    await stop_everything()
    await store.abandon()


async def recover(path: str, world: World) -> dict[str, Stored]:
    """A life that goes well: it ends all work; then callers send again what they had sent."""
    traffic = Traffic()
    store, clock = DyingStore(path, traffic), SteppedClock(traffic)
    runtime = runtime_of(store, Agent(world, patient=False), clock)
    async with asyncio.timeout(PATIENCE), runtime:
        await clock.advance(2.5)
        if left := await runtime.for_user(LOCAL_USER).approvals():
            await decide(runtime, world, [(asked.tool, asked.id) for asked in left])
            await clock.advance(2.5)
        found = await read(store)
        for session, text in expected(world):
            if session not in found or text not in found[session].inputs:
                continue  # lost: the judge says so
            said = check_said(text, text, BusyPolicy.QUEUE, create=False)
            ticket = await runtime.desk.accept((LOCAL_USER, session), said)
            assert ticket.accepted.outcome is Acceptance.ATTACHED, f"{text!r} would run twice"
        await traffic.quiet()
        again = await read(store)
        assert {name: one.steps() for name, one in again.items()} == {name: one.steps() for name, one in found.items()}
    return found


def expected(world: World) -> list[tuple[str, str]]:
    """Acknowledged inputs that nobody has tried to reset or delete."""
    swept = {name: f"{name}: after" for name in ("reset", "delete") if name in world.asked}
    return [(name, text) for name, text in world.accepted if name not in swept or text == swept[name]]


def judge(world: World, before: Mapping[str, Stored], found: Mapping[str, Stored]) -> None:
    for name, one in found.items():
        judge_shape(name, one)
        judge_rest(name, one)
        if name in before and before[name].row.key == one.row.key:
            kept = before[name].steps()
            assert one.steps()[: len(kept)] == kept, f"what was stored of {name} has changed"
    judge_inputs(world, found)
    for name, text, reply in world.replied:
        if (name, text) in expected(world):
            assert found[name].answer_to(text) == reply
            assert found[name].turns[found[name].turn_of(text)].status is TurnStatus.COMPLETED
    judge_effects(world, found)
    judge_commands(world, found)
    judge_people(world, found)


def judge_inputs(world: World, found: Mapping[str, Stored]) -> None:
    """Every acknowledged input once and in order; of the others at most the one that was being accepted."""
    for name in dict(world.accepted):
        acknowledged = [text for other, text in expected(world) if other == name]
        inputs = found[name].inputs if name in found else []
        own = [text for text in inputs if text.startswith(f"{name}:")]
        if name in {"reset", "delete"} and name in world.asked and name not in world.done:
            continue  # swept away or not, but never in part: see judge_commands
        assert set(acknowledged) <= set(own), f"{name} lost an input"
        assert [text for text in own if text in acknowledged] == acknowledged, f"{name} is out of order"
        assert len(set(own) - set(acknowledged)) <= 1, f"{name} has inputs that nobody sent"


def judge_effects(world: World, found: Mapping[str, Stored]) -> None:
    """Every call was started once at most, and exactly once where the model was told its result."""
    started = Counter(world.effects)
    assert not [call for call, times in started.items() if times > 1], "a tool was started twice"
    for name, one in found.items():
        told = sum(effect.status is EffectStatus.FINISHED for effect in one.effects)
        denied = sum(answer.status is ApprovalStatus.DENIED for answer in one.approvals)
        assert told - denied <= sum(call[0] == name for call in started), f"a result of {name} without its effect"


def judge_commands(world: World, found: Mapping[str, Stored]) -> None:
    """What was done stays done; what was asked for is done whole or not at all."""
    if "cancel" in world.done:
        assert found["cancel"].turns[1].status is TurnStatus.CANCELLED
    for name in ("reset", "delete"):
        if name in world.done:
            assert set(found[name].inputs if name in found else ()) <= {f"{name}: after"}
        elif name in world.asked and name in found:
            assert found[name].inputs in ([], [text for other, text in world.accepted if other == name])
    if "fork" in world.done:
        assert found["fork"].inputs[:2] == ["talk: one", "talk: two"]
    assert "fork" in world.asked or "fork" not in found


def judge_people(world: World, found: Mapping[str, Stored]) -> None:
    """What people said and decided is told and done once, and what they denied never."""
    if "ask" not in found:
        assert not world.put
        assert not world.decided
        return
    told, answers = found["ask"].told, {answer.tool: answer for answer in found["ask"].approvals}
    for text in (*STEERS, FOLLOW_UP):
        assert told.count(text) == 1 or (told.count(text) == 0 and text not in world.put), f"{text!r}: {told!r}"
    for tool, status in world.decided.items():
        assert answers[tool].status is status, f"the decision about {tool} is lost"
    for index, tool in enumerate(GATED):
        started = world.effects.count(("ask", "ask: it", index))
        assert started <= (tool in answers and answers[tool].status is ApprovalStatus.APPROVED)
    if found["ask"].inputs:
        assert found["ask"].steps()[-1][1] is EntryKind.TURN_ENDED
        assert {answer.status for answer in answers.values()} == {ApprovalStatus.APPROVED, ApprovalStatus.DENIED}
    assert all(turn.status is TurnStatus.COMPLETED for turn in found["ask"].turns.values())


async def stored(path: str) -> dict[str, Stored]:
    store = DyingStore(path, Traffic())
    await store.open()
    try:
        return await read(store)
    finally:
        await store.close()


def try_point(path: str, at: int, *, after: bool, again: tuple[int, bool] | None = None) -> tuple[str, str]:
    """Die there (and again in the recovery), recover, judge; gives the point and the end state, for people."""
    world = World()
    died = asyncio.run(live_and_die(path, world, at, after=after))
    if again:
        asyncio.run(recover_and_die(path, world, again[0], after=again[1]))
    before = asyncio.run(stored(path))
    for name, one in before.items():
        judge_shape(name, one)
    found = asyncio.run(recover(path, world))
    judge(world, before, found)
    operation = died.begun[at - 1] if len(died.begun) >= at else "-"
    counts = f"{len(world.accepted):>5} {len(world.replied):>7}"
    return f"{at:>5}  {operation:<14} {'after' if after else 'before':<6} {counts}", describe(found)


def count_points(folder: Path) -> int:
    return len(asyncio.run(live_and_die(str(folder / "whole.db"), World(), 0, after=False)).begun)


def try_all_points(folder: Path, since: int = 1) -> None:
    points = count_points(folder)
    ends: Counter[str] = Counter()
    table = [f"{'point':>5}  {'operation':<14} {'dies':<6} acked replied  turns: Completed, X cancelled"]
    for at, after in product(range(since, points + 1), (False, True)):
        point, end = try_point(str(folder / f"{at}-{after}.db"), at, after=after)
        table.append(f"{point}  {end}")
        ends[end] += 1
    print("\n".join(table))  # noqa: T201 - seen with -s and where it fails
    print(f"{2 * points} points, {len(ends)} end states")  # noqa: T201
    assert len(ends) > 10, "the scenario dies at too few different moments"


def test_whatever_a_process_dies_at_nothing_is_lost_doubled_or_stuck(tmp_path: Path) -> None:
    try_all_points(tmp_path)


@pytest.mark.parametrize("at", [4, 17, 28, 44, 58, 70, 86, 92, 97])
def test_a_process_may_also_die_while_it_recovers(tmp_path: Path, at: int) -> None:
    for again in product(range(4, 12, 2), (False, True)):
        name = f"{again[0]}-{again[1]}.db"
        try_point(str(tmp_path / name), at, after=True, again=again)


def run_tools_before_their_calls_are_durable(patch: pytest.MonkeyPatch) -> None:
    store = TurnRun._store
    kept: list[ModelResponded] = []

    async def late(self: TurnRun, step: ModelResponded | ToolFinished | FeedbackGiven) -> None:
        if isinstance(step, ModelResponded) and not any(call.gated for call in step.calls):
            kept.append(step)
            return
        if kept:
            await store(self, kept.pop())
        await store(self, step)

    patch.setattr(TurnRun, "_store", late)


def forget_calls_that_were_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TurnRun, "_closed_calls", lambda *_, **__: ([], []))


def acknowledge_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    async def early(self: Scenario, session: str, text: str) -> Ticket:
        self._world.accepted.append((session, text))
        said = check_said(text, text, BusyPolicy.QUEUE, create=True)
        return await self._runtime.desk.accept((LOCAL_USER, session), said)

    patch.setattr(Scenario, "_accept", early)


def run_what_was_allowed_before_that_is_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TurnRun, "_allowed", lambda *_: [])


def take_what_is_said_before_it_is_in_the_log(patch: pytest.MonkeyPatch) -> None:
    write = TurnRun._write

    async def torn(self: TurnRun, entries: Sequence[Entry], finished: Sequence[Effect], **more: Any) -> bool:
        if more.get("taken"):
            await write(self, [], [], taken=more.pop("taken"))
        return await write(self, entries, finished, **more)

    patch.setattr(TurnRun, "_write", torn)


@pytest.mark.parametrize(
    ("plant", "since"),
    [
        (run_tools_before_their_calls_are_durable, 1),
        (forget_calls_that_were_open, 1),
        (acknowledge_before_it_is_durable, 1),
        (run_what_was_allowed_before_that_is_durable, PEOPLE),
        (take_what_is_said_before_it_is_in_the_log, PEOPLE),
    ],
)
def test_the_enumeration_finds_a_planted_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], since: int
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        try_all_points(tmp_path, since)
