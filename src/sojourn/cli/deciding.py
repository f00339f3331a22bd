"""What `sojourn approvals` does: questions listed, one decided, and the turn that waited for it followed to its end."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from sojourn.cli import tables
from sojourn.cli.exits import OK, USAGE, WAITS, Refusal
from sojourn.cli.finding import LEAST_PREFIX, find
from sojourn.cli.following import Following, Screen
from sojourn.cli.notes import on_one_line, tell
from sojourn.cli.place import Place, agent_runtime, opened, options_of
from sojourn.cli.shapes import approval_shape
from sojourn.errors import SojournError
from sojourn.records import Approval, ApprovalStatus, Event, EventKind, Reply, TurnStatus
from sojourn.sessions.scope import Scope

#: As many questions are read at once, the most that is allowed.
_MOST = 1000

#: A turn that another process runs is looked at this often, seconds: not every end leaves an event.
_LOOK = 1.0

#: As much of an approval's id as commands are proposed with.
SHORT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decided."""

    yes: bool
    #: JSON text.
    arguments: str | None = None
    remember: str | None = None
    reason: str | None = None

    async def take(self, scope: Scope, approval: Approval) -> Approval:
        """Store it."""
        if self.yes:
            return await scope.approve(approval.session, approval.id, arguments=self.arguments, remember=self.remember)
        return await scope.deny(approval.session, approval.id, reason=self.reason)


async def list_approvals(place: Place, session: str | None, *, everything: bool) -> int:
    """Questions, oldest first: those that wait, or decided ones too."""
    async with opened(place) as open_:
        chosen = None if session is None else (await find(open_.scope, session)).id
        found = await open_.scope.approvals(chosen, pending=not everything, limit=_MOST)
    if place.json:
        json.dump({"approvals": [approval_shape(one) for one in found]}, sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
        return OK
    tables.show_approvals(tables.output(), found, now=tables.right_now())
    if not found:
        tell("nobody was ever asked" if everything else "nothing waits for a decision")
    return OK


async def decide(place: Place, id: str, decision: Decision, *, run: bool) -> int:
    """Decide one question; where that was the last one of its turn and `run` is given, follow the turn."""
    async with opened(place) as open_:
        approval = await find_approval(open_.scope, id)
        if not run or await _leaves_others(open_.scope, approval, decision):
            decided = await decision.take(open_.scope, approval)
            left = await open_.scope.approvals(approval.session)
            _tell_decided(decided, left, place)
            return OK
    runtime = agent_runtime(open_.configuration, place.storage)
    async with runtime:
        scope = runtime if place.user is None else runtime.for_user(place.user)
        decided = await decision.take(scope, approval)
        if left := await scope.approvals(approval.session):
            _tell_decided(decided, left, place)
            return OK
        tell(_decided_line(decided))
        following = Following(
            approval.session, _rest(scope, approval), lambda: _cancel(scope, approval), Screen(json=False)
        )
        code = await following.follow()
    if code == WAITS:
        tell_waiting(following.asked, place.agent, place.storage, place.user)
    return code


async def find_approval(scope: Scope, text: str) -> Approval:
    """The question that waits with this id, or the only one whose id begins so. Raises Refusal."""
    waiting = await scope.approvals(limit=_MOST)
    found = [one for one in waiting if one.id == text] or [one for one in waiting if one.id.startswith(text)]
    if len(found) == 1 and (len(text) >= LEAST_PREFIX or found[0].id == text):
        return found[0]
    if found:
        named = ", ".join(one.id for one in found[:3])
        raise Refusal(f"no approval {text!r}, and these begin so: {named}; give at least {LEAST_PREFIX} characters")
    for one in await scope.approvals(pending=False, limit=_MOST):
        if len(text) >= LEAST_PREFIX and one.id.startswith(text):
            raise Refusal(f"approval {one.id} is decided: {one.status.value}{_by(one)}")
    raise Refusal(f"no approval {text!r} waits; `sojourn approvals list` shows those that do")


def tell_waiting(asked: Sequence[Approval], agent: Path | None, storage: str | None, user: str | None = None) -> None:
    """Say on standard error what a turn waits for, and with which commands it is decided."""
    options = options_of(agent, storage, user)
    tell(f"the turn waits for {len(asked)} decision{'s' if len(asked) > 1 else ''}:")
    for one in asked:
        tell(f"  {on_one_line(f'{one.tool}({one.arguments})')}")
        tell(f"    {shlex.join(['sojourn', 'approvals', 'approve', one.id[:SHORT], *options])}")
        tell(f"    {shlex.join(['sojourn', 'approvals', 'deny', one.id[:SHORT], *options])}")


def arguments_of(given: str | None) -> str | None:
    """Changed arguments, read from standard input where `-` is given."""
    if given != "-":
        return given
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Refusal("standard input is no text in UTF-8", USAGE) from error


async def _leaves_others(scope: Scope, approval: Approval, decision: Decision) -> bool:
    """Whether the turn waits for more than this; a yes that is remembered may decide the others too."""
    return decision.remember is None and len(await scope.approvals(approval.session, limit=2)) > 1


async def _rest(scope: Scope, approval: Approval) -> AsyncGenerator[Event]:
    """The events of the turn from the decision on; the last one is terminal."""
    here = False
    async with aclosing(scope.watch(approval.session, after=approval.seq)) as events:
        while (event := await _next(scope, approval, events)) is not None:
            if event.approval is not None and event.approval.id == approval.id:
                here = event.kind is EventKind.APPROVAL_DECIDED
            if event.kind is EventKind.SESSION_DELETED:
                yield event
                return
            if not here or event.turn != approval.turn:
                continue
            yield event
            if event.kind is EventKind.TURN_ENDED:
                return
            if event.kind is EventKind.APPROVAL_ASKED and (waiting := await _waiting(scope, approval)) is not None:
                yield waiting
                return


async def _next(scope: Scope, approval: Approval, events: AsyncGenerator[Event]) -> Event | None:
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while not (await asyncio.wait({coming}, timeout=_LOOK))[0]:
            if (await scope.turn(approval.session, approval.turn)).status is TurnStatus.HELD:
                raise Refusal(f"the turn is held back; /resume in `sojourn chat --resume {approval.session}` runs it")
        return coming.result()
    finally:
        coming.cancel()
        await asyncio.wait({coming})


async def _waiting(scope: Scope, approval: Approval) -> Event | None:
    """How the turn stands if it has stopped again."""
    turn = await scope.turn(approval.session, approval.turn)
    if turn.status is not TurnStatus.WAITING:
        return None
    asked = await scope.approvals(approval.session)
    reply = Reply(text="", output=None, turn=turn.turn, usage=turn.usage, finish_reason="waiting", approvals=asked)
    seq = max((one.seq for one in asked), default=approval.seq)
    return Event(
        kind=EventKind.TURN_WAITING, id=str(seq), seq=seq, turn=turn.turn, status=TurnStatus.WAITING, reply=reply
    )


async def _cancel(scope: Scope, approval: Approval) -> bool:
    with suppress(SojournError):
        return await scope.cancel(approval.session, turn=approval.turn)
    return False


def _tell_decided(decided: Approval, left: Sequence[Approval], place: Place) -> None:
    tell(_decided_line(decided))
    if left:
        tell_waiting(left, place.agent, place.storage, place.user)
    else:
        options = options_of(place.agent, place.storage)
        goes_on = shlex.join(["sojourn", "chat", *options, "--resume", decided.session])
        tell(f"the turn goes on in the process that serves its session, or with: {goes_on}")


def _decided_line(decided: Approval) -> str:
    changed = "" if decided.changed_arguments is None else " with changed arguments"
    called = on_one_line(f"{decided.tool}({decided.changed_arguments or decided.arguments})")
    return f"{decided.status.value}{changed}: {called}"


def _by(approval: Approval) -> str:
    if approval.status in {ApprovalStatus.APPROVED, ApprovalStatus.DENIED} and approval.decided_by:
        return f" by {on_one_line(approval.decided_by)}"
    return ""
