"""Two thousand random histories of the whole runtime against the model."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.runtime_races import MemoryMachine, RacingMachine, SqliteMachine

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
