"""SQLite and memory answer the same, whatever is done in whatever order."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.model.inbox_machine import InboxMachine, LineMachine

#: How many runs; `SOJOURN_EXAMPLES=2000` for an acceptance run.
EXAMPLES = int(os.environ.get("SOJOURN_EXAMPLES", "25"))

HOW = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

TestStores = InboxMachine.TestCase
TestLines = LineMachine.TestCase
TestStores.settings = TestLines.settings = HOW
