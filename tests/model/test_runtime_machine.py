"""The runtime against the model: 0 differences; and planted bugs, which the machine must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.runtime_mutants import MUTANTS, RARE
from tests.model.runtime_races import MemoryMachine, RacingMachine, SqliteMachine

SMALL = settings(
    max_examples=20, stateful_step_count=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

#: The same histories every time, so that a planted bug that is found today is found tomorrow.
HUNT = settings(SMALL, max_examples=100, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_the_runtime_does_what_the_model_does(machine: type[RacingMachine]) -> None:
    run_state_machine_as_test(machine, settings=SMALL)


COMMON = [found for found in MUTANTS if found[0] not in RARE]


@pytest.mark.parametrize(("plant", "machine"), COMMON, ids=lambda found: found.__name__)
def test_the_machine_finds_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], machine: type[RacingMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert finds_a_difference(machine, HUNT), "the bug was not found"


def finds_a_difference(machine: type[RacingMachine], hunt: settings) -> bool:
    begun = machine.histories
    try:
        run_state_machine_as_test(machine, settings=hunt)
    except (Exception, pytest.fail.Exception) as difference:  # noqa: BLE001 - whatever it is that goes wrong
        reason = f"{type(difference).__name__}: {difference}".splitlines()[0]
        print(f"found in history {machine.histories - begun}: {reason}")  # noqa: T201 - seen with -s
        return True
    return False
