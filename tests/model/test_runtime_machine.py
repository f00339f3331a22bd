"""The runtime against the model: 0 differences; and planted bugs, which the machine must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.runtime_mutants import MUTANTS
from tests.model.runtime_races import MemoryMachine, RacingMachine, SqliteMachine

SMALL = settings(
    max_examples=40, stateful_step_count=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

#: The same histories every time, so that a planted bug that is found today is found tomorrow.
HUNT = settings(SMALL, max_examples=600, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_the_runtime_does_what_the_model_does(machine: type[RacingMachine]) -> None:
    run_state_machine_as_test(machine, settings=SMALL)


@pytest.mark.parametrize(("plant", "machine"), MUTANTS, ids=lambda found: found.__name__)
def test_the_machine_finds_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], machine: type[RacingMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    begun = machine.histories
    assert finds_a_difference(machine), "the bug was not found"
    print(f"found in history {machine.histories - begun}")  # noqa: T201 - seen with -s


def finds_a_difference(machine: type[RacingMachine]) -> bool:
    try:
        run_state_machine_as_test(machine, settings=HUNT)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever it is that goes wrong
        return True
    return False
