"""The server does what its description says, whatever it is sent."""

from __future__ import annotations

import os

import httpx

from sojourn.testing import ScriptedEngine
from tests.server.apart import Apart
from tests.server.conforming import judge

SEED = int(os.environ.get("SOJOURN_SEED", "7"))


def test_every_answer_is_as_described_and_no_request_breaks_the_server() -> None:
    with Apart(ScriptedEngine()) as server:
        described = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()["paths"]
        found = judge(server.url, seed=SEED, examples=1)
    assert found.failures == []
    assert found.requests > 200
    assert {f"{method.upper()} {path}" for path in described for method in described[path]} <= found.operations
    assert not {status for status in found.statuses if status >= 500} - {501}
