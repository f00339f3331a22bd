"""What is answered about the agent and the server, and every error."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sojourn.server.wire.base import Wire

_CONTRIBUTOR: dict[str, Any] = {"id": "tone", "priority": 45, "enabled": True, "contentLength": 8}


class LlmAnswer(Wire):
    """The model in use, without its key."""

    sample: ClassVar[dict[str, Any]] = {"config": {"model": "sojourn-demo"}, "sessionId": "support-42"}
    config: dict[str, Any]
    session_id: str | None = None
    routing: dict[str, Any] | None = None


class ContributorInfo(Wire):
    """A piece of a session's system prompt."""

    sample = _CONTRIBUTOR
    id: str
    enabled: bool
    priority: int | None = None
    replaced: bool | None = None
    removed: bool | None = None
    content_length: int | None = None


class ContributorList(Wire):
    """The pieces, in their order."""

    sample: ClassVar[dict[str, Any]] = {"contributors": [_CONTRIBUTOR]}
    contributors: list[ContributorInfo]


class ToolInfo(Wire):
    """A tool of the agent."""

    sample: ClassVar[dict[str, Any]] = {
        "id": "roll_dice", "name": "roll_dice", "description": "Roll one die.", "source": "local",
    }  # fmt: skip
    id: str
    name: str
    description: str
    source: Literal["local", "mcp"]
    server_name: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolList(Wire):
    """The agent's tools."""

    sample: ClassVar[dict[str, Any]] = {
        "tools": [ToolInfo.sample], "totalCount": 1, "localCount": 1, "mcpCount": 0,
    }  # fmt: skip
    tools: list[ToolInfo]
    total_count: int
    local_count: int
    mcp_count: int


class Greeting(Wire):
    """What the agent says before anybody has spoken."""

    sample: ClassVar[dict[str, Any]] = {"greeting": "Hello! How can I help?"}
    greeting: str | None = None


class Ready(Wire):
    """Whether requests can be answered."""

    sample: ClassVar[dict[str, Any]] = {"ready": True}
    ready: bool


class StatisticsAnswer(Wire):
    """How many sessions are where, of all users; times are milliseconds."""

    sample: ClassVar[dict[str, Any]] = {
        "live": 3, "busy": 1, "atRest": 2, "waiting": 0, "stored": 40, "restored": 5, "unloaded": {"idle": 2},
        "maxSessions": 100, "sessionTTL": 3600000,
    }  # fmt: skip
    live: int
    busy: int
    at_rest: int
    waiting: int
    stored: int
    restored: int
    unloaded: dict[str, int]
    max_sessions: int
    sessionTTL: int  # noqa: N815 - the setting's name


class ErrorAnswer(Wire):
    """Every error."""

    sample: ClassVar[dict[str, Any]] = {
        "code": "session_not_found", "message": "no session 's'; create it, or send to it", "scope": "session",
        "type": "not_found", "context": {"sessionId": "s"}, "traceId": "8f14e45fceea467a9d6f",
        "endpoint": "/api/sessions/s", "method": "GET",
    }  # fmt: skip
    code: str
    message: str
    scope: str
    type: str
    context: dict[str, Any] | None = None
    trace_id: str
    endpoint: str
    method: str
