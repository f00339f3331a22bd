"""The server against its own description, by schemathesis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

#: Answers to what the description allows. 412 and 422 are conditions that a request makes itself.
_ACCEPTING = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 429, "5xx"]

#: Answers to what it does not allow. A condition may be looked at before the rest.
_REJECTING = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 429]

#: What the description cannot say: cursors and places are the server's own, one field's sense depends on another.
_OPAQUE = {
    "GET /api/sessions": "a cursor",
    "POST /api/llm/switch": "which models there are depends on the agent",
    "POST /api/sessions/import": "the lines of a whole session",
    "POST /api/sessions/{session_id}/fork": "the end of a finished turn",
    "GET /api/search/messages": "a cursor",
}


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@dataclass
class Found:
    """What a run of schemathesis saw."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def take(self, recorder: ScenarioRecorder) -> None:
        for interaction in recorder.interactions.values():
            self.requests += 1
            if interaction.response is not None:
                self.statuses[interaction.response.status_code] += 1
        for number, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    sent = recorder.interactions[number].response
                    answer = b"" if sent is None else sent.content[:300]
                    self.failures.append(
                        f"{recorder.label}: {check.name}: {failure.title}: {failure.message[:300]}\n"
                        f"{check.failure_info.code_sample[:600]}\n{answer!r}"
                    )


def judge(url: str, *, seed: int, examples: int, strange: Sequence[str] = ("put",)) -> Found:
    """Ask for everything that the description offers, in good ways and bad ones.

    `strange` are methods that are tried wherever they are not possible.
    """
    config = SchemathesisConfig.from_dict(_config(seed, examples, strange))
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    found = Found()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            found.take(event.recorder)
            found.operations.add(event.label or "")
        elif isinstance(event, events.NonFatalError):
            found.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def _config(seed: int, examples: int, strange: Sequence[str]) -> dict[str, Any]:
    opaque = {"positive_data_acceptance": {"expected-statuses": [400, *_ACCEPTING]}}
    # a session may be called import: its methods are there as well
    more = {"POST /api/sessions/import": {"allow_header_conformance": {"enabled": False}}}
    operations = [{"include-name": name, "checks": opaque | more.get(name, {})} for name in _OPAQUE]
    return {
        "seed": seed,
        "request-timeout": 10,
        "suppress-health-check": ["all"],
        "warnings": False,
        "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
        "phases": {"coverage": {"unexpected-methods": list(strange)}, "stateful": {"max-steps": 6}},
        "checks": {
            "positive_data_acceptance": {"expected-statuses": _ACCEPTING},
            "negative_data_rejection": {"expected-statuses": _REJECTING},
        },
        "operations": operations,
    }
