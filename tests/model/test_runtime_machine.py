"""The runtime against the model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.runtime_machine import MemoryMachine, RuntimeMachine, SqliteMachine

QUICK = settings(
    max_examples=40, stateful_step_count=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_the_runtime_does_what_the_model_does(machine: type[RuntimeMachine]) -> None:
    run_state_machine_as_test(machine, settings=QUICK)
