"""Every error that Sojourn raises, in one tree.

    SojournError
    ├── InvalidInput                 what a caller passed cannot be used
    │   ├── InvalidSessionId
    │   ├── ContentTooLarge
    │   ├── ForkPointInvalid
    │   └── ExportInvalid
    ├── SessionNotFound, SessionExists, TurnNotFound, ApprovalNotFound
    ├── SessionChanged, ApprovalDecided    somebody else was first
    ├── SessionBusy, SessionReentrant, IdempotencyConflict, InboxFull
    ├── SessionLimitExceeded         no place in memory in time; try again
    ├── TurnFailed, TurnCancelled, TurnHeld    how a turn ended otherwise than completed
    ├── ModelFailed, ModelRequestLimit, PromptFailed    why a turn failed
    ├── OwnershipLost                somebody else writes this session now
    ├── AgentUnsupported             the agent needs what this version cannot do
    ├── MCPServerUnavailable         a strict MCP server could not be used when the engine opened
    ├── ConfigInvalid                an agent.yml cannot be used; lists all that is wrong with it
    ├── RuntimeClosed
    └── StorageError
        ├── StorageUnavailable, StorageReadOnly, StorageFull
        └── StorageCorrupt, StorageForeign, StorageTooNew

`code` is stable and is what a program compares; the sentence is for people and may change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

#: What is a secret by its form: a key that begins as a provider's keys do, a token, a password in a URL, a value behind
#: a telling name, and long hexadecimal.
_SECRETS = re.compile(
    r"""
    \b(?-i:sk|pk|rk|xai|gsk|glpat|hf|ghp|gho|xox[abpr])[-_][-_.A-Za-z0-9*]{6,}
    | \b(?:AIza|AKIA|ASIA|eyJ|ya29\.)[-_.A-Za-z0-9]{10,}
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)
    | (?<=bearer\ )[^\s"',]{12,}
    | (?P<name>\b(?:[a-z]+[-_])*(?:api[-_ ]?key|key|token|secret|password|authorization|signature|sig)
        (?:\ provided)?["']?\s*[=:]\s*["']?)(?:(?:bearer|basic)\ )?[^\s"'&,;]+
    | \b(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{32,}\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


class SojournError(Exception):
    """The base of every error that Sojourn raises on purpose."""

    code: ClassVar[str] = "sojourn_error"


class InvalidInput(SojournError):
    """A value that a caller passed cannot be used; nothing was changed."""

    code = "invalid_input"

    def __init__(self, what: str, found: object, allowed: str) -> None:
        self.what, self.found, self.allowed = what, found, allowed
        super().__init__(f"{what}: found {_shown(found)}, expected {allowed}")


class InvalidSessionId(InvalidInput):
    """A session id is not 1-128 of letters, digits and `._:@-`."""

    code = "session_id_invalid"

    def __init__(self, found: object) -> None:
        super().__init__("session id", found, "1 to 128 characters of a-z A-Z 0-9 . _ : @ -")


class ContentTooLarge(InvalidInput):
    """A message is larger than one message may be; nothing of it was stored."""

    code = "content_too_large"

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        SojournError.__init__(
            self, f"content: found {size:,} bytes, expected at most {limit:,}; send a reference to it instead"
        )


class ForkPointInvalid(InvalidInput):
    """A fork was asked for at a place that is not the end of a finished turn."""

    code = "fork_point_invalid"

    def __init__(self, session: str, at: int) -> None:
        super().__init__(f"fork of session {session!r}, at", at, "the number of a finished turn's last message")


class ExportInvalid(InvalidInput):
    """A stream that should hold an exported session does not; nothing was imported."""

    code = "export_invalid"

    def __init__(self, line: int, found: object, expected: str) -> None:
        super().__init__(f"export, line {line}", found, expected)


class SessionNotFound(SojournError):
    """No session of this user has this id (another user's session looks the same)."""

    code = "session_not_found"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"no session {session!r}; create it, or send to it")


class SessionExists(SojournError):
    """A session with this id is already there."""

    code = "session_exists"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session!r} already exists; use another id, or none to get a new one")


class SessionChanged(SojournError):
    """A session is not any more as the caller has seen it; nothing was changed."""

    code = "session_changed"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session!r} was changed by somebody else; read it again")


class TurnNotFound(SojournError):
    """The session has no such turn."""

    code = "turn_not_found"

    def __init__(self, session: str, turn: int | None) -> None:
        self.session, self.turn = session, turn
        super().__init__(f"session {session!r} has no turn {turn}")


class ApprovalNotFound(SojournError):
    """The session has no such question."""

    code = "approval_not_found"

    def __init__(self, session: str | None, approval: str) -> None:
        self.session, self.approval = session, approval
        where = "no session" if session is None else f"session {session!r}"
        had = "has an" if session is None else "has no"
        super().__init__(f"{where} {had} approval {approval!r}; list those that wait with approvals()")


class ApprovalDecided(SojournError):
    """A question has been decided otherwise; `state` says how."""

    code = "approval_decided"

    def __init__(self, approval: str, state: str, by: str | None) -> None:
        self.approval, self.state, self.by = approval, state, by
        super().__init__(f"approval {approval!r} is {state}" + (f", decided by {by}" if by else "") + "; it stays so")


class SessionBusy(SojournError):
    """A turn of the session runs, waits or is in line, and what the caller asked for cannot be done amid it."""

    code = "session_busy"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session!r} is busy; wait for its turn to end, or send with busy='queue'")


class InboxFull(SojournError):
    """So much is in line for a session that no more is taken; nothing of this was stored."""

    code = "inbox_full"

    def __init__(self, session: str, limit: int) -> None:
        self.session, self.limit = session, limit
        super().__init__(f"session {session!r} has {limit} inputs in line or held already; let it work, or remove some")


class SessionReentrant(SojournError):
    """A tool sent to the session that waits for that very tool."""

    code = "session_reentrant"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session!r} waits for the tool that sends to it; the send could never be answered")


class IdempotencyConflict(SojournError):
    """An idempotency key was used before with other content."""

    code = "idempotency_conflict"

    def __init__(self, session: str, key: str) -> None:
        self.session, self.key = session, key
        super().__init__(f"key {key!r} was used in session {session!r} with other content; use a new key")


class SessionLimitExceeded(SojournError):
    """No place in memory became free in time; nothing was stored, so the call can simply be made again."""

    code = "session_max_sessions_exceeded"

    def __init__(self, max_sessions: int, waited: float, retry_after: float) -> None:
        self.max_sessions, self.waited, self.retry_after = max_sessions, waited, retry_after
        super().__init__(
            f"all {max_sessions} live sessions were busy for {waited:g} s; try again in {retry_after:g} s, "
            "or raise max_sessions"
        )


class TurnFailed(SojournError):
    """The turn ended in a failure; the session's history stays usable."""

    code = "turn_failed"

    def __init__(self, session: str, turn: int, reason: str) -> None:
        self.session, self.turn, self.reason = session, turn, reason
        super().__init__(f"turn {turn} of session {session!r} failed: {reason}")


class TurnCancelled(SojournError):
    """The turn was cancelled before it was done."""

    code = "turn_cancelled"

    def __init__(self, session: str, turn: int, reason: str) -> None:
        self.session, self.turn, self.reason = session, turn, reason
        super().__init__(f"turn {turn} of session {session!r} was cancelled: {reason}")


class TurnHeld(SojournError):
    """The turn was interrupted by a crash and is held back until `resume` or `discard`."""

    code = "turn_held"

    def __init__(self, session: str, turn: int) -> None:
        self.session, self.turn = session, turn
        super().__init__(f"turn {turn} of session {session!r} was interrupted and is held; call resume or discard")


class ModelFailed(SojournError):
    """The model's provider did not answer a request, nor its repetitions; says why without the provider's secrets."""

    code = "model_failed"


class ModelRequestLimit(SojournError):
    """A turn needed more requests to the model than are allowed."""

    code = "model_request_limit"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the turn made {limit} requests to the model, as many as llm.maxIterations allows, and was not done; "
            "raise llm.maxIterations, or ask for less at once"
        )


class PromptFailed(SojournError):
    """A part of the system prompt could not be made, and is declared as one that must be there."""

    code = "prompt_failed"

    def __init__(self, where: str, why: str) -> None:
        self.contributor = where
        super().__init__(f"systemPrompt, contributor {where!r}: {why}; mend it, or set errorHandling: skip")


class OwnershipLost(SojournError):
    """Another writer has the session now, so this write was refused and nothing of it is stored."""

    code = "ownership_lost"

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session!r} is written by somebody else now; this process dropped its copy")


class AgentUnsupported(SojournError):
    """The agent asks for something that this version of Sojourn cannot do."""

    code = "agent_unsupported"


class MCPServerUnavailable(SojournError):
    """An MCP server without which the engine is not to open could not be used; nothing was left open."""

    code = "mcp_server_unavailable"

    def __init__(self, server: str, tried: str, why: str) -> None:
        self.server = server
        super().__init__(
            f"mcpServers.{server}: {tried} cannot be used: {why}; mend it, "
            "or set connectionMode to lenient to open without its tools"
        )


class ConfigInvalid(SojournError):
    """An agent.yml cannot be used; `problems` has a sentence for everything that is wrong, in the file's order."""

    code = "config_invalid"

    def __init__(self, problems: Sequence[object]) -> None:
        self.problems = tuple(str(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


class RuntimeClosed(SojournError):
    """The runtime is not open; what it accepted is stored, and goes on when the storage is opened again."""

    code = "runtime_closed"

    def __init__(self, state: str = "closed") -> None:
        super().__init__(f"the runtime is {state}; make calls inside `async with runtime:`, which opens it once")


class StorageError(SojournError):
    """The storage could not do what was asked; what was not acknowledged is not stored."""

    code = "storage_error"


class StorageUnavailable(StorageError):
    """The database cannot be reached or opened."""

    code = "storage_unavailable"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"database {where}: {why}; check the path, its folder and its permissions")


class StorageReadOnly(StorageError):
    """The database cannot be written."""

    code = "storage_read_only"

    def __init__(self, where: str) -> None:
        super().__init__(f"database {where} is read-only; make the file and its folder writable")


class StorageFull(StorageError):
    """The disk or the database is full; what was acknowledged is safe, this write is not stored."""

    code = "storage_full"

    def __init__(self, where: str) -> None:
        super().__init__(f"database {where}: no space left; nothing of this write is stored; free some space")


class StorageCorrupt(StorageError):
    """What lies in the database cannot be read."""

    code = "storage_corrupt"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"database {where} cannot be read: {why}; restore it from a backup")


class StorageForeign(StorageError):
    """The file is another program's database; nothing in it was changed."""

    code = "storage_foreign"

    def __init__(self, where: str) -> None:
        super().__init__(f"database {where} belongs to another program; choose another path")


class StorageTooNew(StorageError):
    """The database was written by a newer Sojourn."""

    code = "storage_too_new"

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"database {where} has format {found}, this Sojourn knows formats up to {known}; upgrade Sojourn"
        )


def _shown(found: object, limit: int = 80) -> str:
    """A value as it is shown in a sentence: short, on one line."""
    text = repr(found)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without_secrets(text: str) -> str:
    """The text with whatever looks like a credential taken out; what others said may quote one."""
    return _SECRETS.sub(lambda found: f"{found['name'] or ''}[removed]", text)
