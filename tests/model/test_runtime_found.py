"""Histories that once showed a difference, each as short as it can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sojourn.records import OnInterrupt
from tests.model.runtime_races import MemoryMachine, RacingMachine, SqliteMachine


@pytest.fixture(params=[MemoryMachine, SqliteMachine])
def world(request: pytest.FixtureRequest) -> Iterator[RacingMachine]:
    world: RacingMachine = request.param()
    world.begin(places=2, on_interrupt=OnInterrupt.RESUME, wait=3.0)
    world.open_node("right")
    yield world
    world.teardown()


def say(world: RacingMachine, name: str, sid: str = "a") -> None:
    world.send(name, sid, None, other=True, create=True, busy="queue")


def test_a_session_deleted_by_another_process_and_begun_anew_is_told_nothing_of_the_old_one(
    world: RacingMachine,
) -> None:
    say(world, "left")
    world.answer("a")
    world.delete("right", "a")
    say(world, "left")


def test_the_copy_of_a_fork_has_the_history_that_was_forked(world: RacingMachine) -> None:
    say(world, "left")
    world.answer("a")
    world.fork("left", "a", "b", None)
    world.copy("left", "b", "c")
    say(world, "right", "c")


def test_a_caller_of_a_session_that_another_process_resets_is_told_that_it_is_gone(world: RacingMachine) -> None:
    say(world, "left")
    say(world, "right")
    world.reset("left", "a")
    world.let_time_pass(0.5)


def test_a_caller_in_line_behind_a_turn_of_this_process_hears_that_another_one_cancelled_it(
    world: RacingMachine,
) -> None:
    say(world, "right")
    say(world, "right")
    world.cancel("left", "a", 0, clear=False)
    world.let_time_pass(0.5)


@pytest.mark.parametrize("first", [False, True])
def test_input_that_races_with_a_reset_keeps_nobody_out(world: RacingMachine, *, first: bool) -> None:
    say(world, "left")
    world.speak_against_reset("left", "a", first=first)
    say(world, "left")
    world.let_time_pass(2.5)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_a_call_without_a_result_is_told_as_unknown_in_the_copy_of_a_session(machine: type[RacingMachine]) -> None:
    world = machine()
    world.begin(places=2, on_interrupt=OnInterrupt.HOLD, wait=3.0)
    say(world, "left")
    world.respond("a", ["look", "look"])
    world.crash("left")
    world.open_node("left")
    world.discard("left", "a", None)
    assert world.sessions["a"].open_calls
    world.copy("left", "a", "b")
    say(world, "left", "b")
    world.fork("left", "a", "c", None)
    say(world, "left", "c")
    world.teardown()


def test_a_state_set_from_outside_does_not_keep_a_session_from_being_loaded(world: RacingMachine) -> None:
    say(world, "left")
    world.answer("a")
    world.set_state("left", "a", 1)
    say(world, "left")
    world.ask_people("a", ["pay"], free=False)
    world.set_state("right", "a", 2)
    world.decide_all("right", "a", [True])
    world.tool_returns("a", 0)
    world.answer("a")
    world.copy("left", "a", "b")
    say(world, "right", "b")


def test_a_call_that_nobody_decided_has_a_result_in_the_copy_of_a_session(world: RacingMachine) -> None:
    world.ask_people("a", ["pay"], free=False)
    world.cancel("left", "a", None, clear=False)
    world.copy("right", "a", "b")
    say(world, "left", "b")


def test_a_caller_in_another_process_hears_that_its_turn_waits(world: RacingMachine) -> None:
    say(world, "left")
    say(world, "right")
    world.answer("a")
    assert len(world.callers) == 1
    world.ask_people("a", ["pay", "send"], free=True)
    world.tool_returns("a", 0)
    world.let_time_pass(0.5)
    assert not world.callers
