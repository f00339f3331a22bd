"""Questions to people: how they are asked for a turn, and what happens when one is decided."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sojourn.abc import ApprovalRow, Ask, Entry, NewApproval, Verdict, approval_asked_body
from sojourn.errors import ApprovalDecided, InvalidInput
from sojourn.records import Approval, ApprovalStatus, EntryKind, Remember
from sojourn.sessions.checks import members_of, printable
from sojourn.sessions.views import approval_of

if TYPE_CHECKING:
    from sojourn.sessions.live import Core
    from sojourn.sessions.residency import Name
    from sojourn.sessions.runtime import Runtime

#: The longest reason, characters, and the largest changed arguments, bytes.
MAX_REASON, MAX_ARGUMENTS = 2000, 1024 * 1024

#: How a turn that waits for people says that it stopped.
WAITING = "waiting"


def questions(core: Core, turn: int, seq: int, asks: Sequence[Ask]) -> tuple[list[NewApproval], list[Entry]]:
    """What is stored of a turn's questions about the response `seq`: rows, and entries that tell of them."""
    now = core.clock.now_ms()
    expires = None if core.approval_timeout is None else now + core.approval_timeout
    new = [NewApproval(str(uuid.uuid4()), seq, ask.index, ask.tool, ask.arguments, ask.digest, expires) for ask in asks]
    return new, [Entry(0, EntryKind.APPROVAL_ASKED, turn, approval_asked_body(one, now)) for one in new]


async def carried_out(core: Core, name: Name, turn: int, seq: int) -> list[ApprovalRow]:
    """How people decided about the calls of the response `seq`, also about those that were started since."""
    entries = await core.store.entries(*name, after=seq, kinds=frozenset({EntryKind.APPROVAL_DECIDED}))
    found = [json.loads(entry.body) for entry in entries]
    return [
        ApprovalRow(user=name[0], session=name[1], turn=turn, **{**body, "status": ApprovalStatus(body["status"])})
        for body in found
        if body["seq"] == seq
    ]


async def decide(runtime: Runtime, name: Name, approval: str, verdict: Verdict) -> Approval:
    """Store a verdict and let what waited for it go on."""
    core = runtime.core
    printable("approval", approval, 128)
    decided = await core.store.decide(*name, approval, verdict)
    found = decided.approvals[0]
    for session in {(one.user, one.session) for one in decided.approvals}:
        core.residency.touch(session)
        core.feeds.look(session)
    for one in decided.runnable:
        runtime.wake_soon((one.user, one.id))
    if found.status is not verdict.status:
        raise ApprovalDecided(approval, found.status.value, found.by)
    return approval_of(found)


def approved(
    core: Core, by: str, arguments: Mapping[str, Any] | str | None, remember: Remember | str | None
) -> Verdict:
    """A yes; raises InvalidInput."""
    try:
        kept = None if remember is None else Remember(remember)
    except ValueError as error:
        raise InvalidInput("remember", remember, f"{members_of(Remember)}, or nothing") from error
    return Verdict(
        ApprovalStatus.APPROVED, printable("by", by, 256), core.clock.now_ms(), changed=_changed(arguments),
        remember=kept, remembered=str(uuid.uuid4()), fleeting=core.fleeting,
    )  # fmt: skip


def denied(core: Core, by: str, reason: str | None) -> Verdict:
    """A no; raises InvalidInput."""
    if reason is not None:
        _check_reason(reason)
    return Verdict(ApprovalStatus.DENIED, printable("by", by, 256), core.clock.now_ms(), reason=reason)


def _check_reason(reason: object) -> None:
    try:
        good = isinstance(reason, str) and len(reason) <= MAX_REASON and "\x00" not in reason and bool(reason.encode())
    except UnicodeEncodeError:  # a half of a character
        good = False
    if not good:
        raise InvalidInput("reason", reason, f"text of 1 to {MAX_REASON} characters")


def _changed(arguments: Mapping[str, Any] | str | None) -> str | None:
    """Changed arguments as JSON, written in one way so that the same change is known again."""
    if arguments is None:
        return None
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput("arguments", arguments, "a JSON object") from error
    if not isinstance(found, dict) or len(text) > MAX_ARGUMENTS:
        raise InvalidInput("arguments", arguments, f"a JSON object of at most {MAX_ARGUMENTS:,} bytes")
    return text
