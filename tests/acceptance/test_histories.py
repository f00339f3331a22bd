"""Two thousand random histories of the whole runtime against the model, and planted bugs that only many find."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.runtime_mutants import MUTANTS, RARE
from tests.model.runtime_races import MemoryMachine, RacingMachine, SqliteMachine
from tests.model.test_runtime_machine import HUNT, finds_a_difference

#: Another one every day keeps finding new histories.
SEED = int(os.environ.get("SOJOURN_SEED", "7"))

MANY = settings(
    max_examples=1_000,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_a_thousand_histories_show_no_difference(
    machine: type[RacingMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    histories, steps = machine.histories, machine.steps
    run_state_machine_as_test(seed(SEED)(machine), settings=MANY)
    histories, steps = machine.histories - histories, machine.steps - steps
    with capsys.disabled():
        print(f"\nseed {SEED}, {machine.__name__}: {histories} histories, {steps} steps, 0 differences")  # noqa: T201
    assert histories >= MANY.max_examples


@pytest.mark.parametrize(("plant", "machine"), [m for m in MUTANTS if m[0] in RARE], ids=lambda found: found.__name__)
def test_many_histories_find_a_planted_bug_that_shows_rarely(
    plant: Callable[[pytest.MonkeyPatch], None], machine: type[RacingMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert finds_a_difference(machine, settings(HUNT, max_examples=1_000)), "the bug was not found"
