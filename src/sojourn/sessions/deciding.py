"""What people decide about a session's work: what is said into it, what may run, what it keeps, which model it uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sojourn.abc import Accepted
from sojourn.clock import from_ms
from sojourn.records import (
    Approval,
    BusyPolicy,
    Content,
    Contributor,
    EntryKind,
    InputKind,
    QueuedInput,
    Remember,
    Remembered,
    check_session_id,
)
from sojourn.sessions import approvals, settings
from sojourn.sessions.checks import printable, whole_number
from sojourn.sessions.desk import Said, check_said_beside
from sojourn.sessions.residency import Name
from sojourn.sessions.state import encoded
from sojourn.sessions.views import approval_of, remembered_of

if TYPE_CHECKING:
    from sojourn.sessions.runtime import Runtime

#: More than any log or turn is numbered.
MAX_NUMBER = 2**53

#: The largest page of sessions or messages.
MAX_LIMIT = 1000


class Deciding:
    """The part of a scope that is about decisions; see Scope."""

    def __init__(self, runtime: Runtime, user: str) -> None:
        self._runtime = runtime
        self.user = user

    # -- what is said while a turn runs

    async def steer(self, id: str, content: Content, *, create: bool = True) -> QueuedInput:
        """Say something into the turn that runs or waits: the model is told before it is asked next.

        It is durable when this returns. In a session at rest it is a message. Where the turn comes to no good end it is
        held: see `inbox`, `resume`, `discard`. Raises SessionNotFound (with create=False), InboxFull, InvalidInput.
        """
        return await self._put(id, content, InputKind.STEER, create=create)

    async def follow_up(self, id: str, content: Content, *, create: bool = True) -> QueuedInput:
        """Say something behind everything that is in line; several of these that wait become one turn.

        Otherwise as `steer`.
        """
        return await self._put(id, content, InputKind.FOLLOW_UP, create=create)

    async def remove(self, id: str, position: int) -> bool:
        """Take an input out of the line, or out of what is held; False if there is none at this position.

        A turn of which nothing is left is cancelled. Raises SessionNotFound.
        """
        name, core = self._name(id), self._runtime.core
        place = whole_number("position", position, 0, MAX_NUMBER)
        number = await core.store.remove(*name, place, core.clock.now_ms())
        if number is not None:
            await self._runtime.removed(name, number)
        return number is not None

    async def state(self, id: str) -> Mapping[str, Any]:
        """What the agent's tools keep of the session. Raises SessionNotFound."""
        kinds = frozenset({EntryKind.STATE_CHANGED})
        found = await self._runtime.core.store.entries(*self._name(id), kinds=kinds, limit=1, newest=True)
        state: Mapping[str, Any] = json.loads(found[-1].body) if found else {}
        return state

    async def set_state(self, id: str, state: Mapping[str, Any]) -> None:
        """Replace the session's state while no turn runs. Raises SessionNotFound, SessionBusy, InvalidInput."""
        name, core = self._name(id), self._runtime.core
        await core.store.change_state(*name, encoded(state), core.clock.now_ms())
        core.residency.touch(name)
        core.feeds.look(name)

    # -- what is chosen for one session alone

    async def model(self, id: str) -> Mapping[str, Any]:
        """The model that the session uses, without its key. Raises SessionNotFound."""
        core, name = self._runtime.core, self._name(id)
        return core.engine.model(await settings.read(core, name))

    async def switch_model(self, id: str, llm: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Use another model from the next turn on, or with None the agent's own again; gives it as `model` does.

        `llm` has `provider` and `model` as in an agent.yml, and never a key: that is the agent.yml's. Raises
        SessionNotFound, InvalidInput, AgentUnsupported.
        """
        core, name = self._runtime.core, self._name(id)
        await settings.change(core, name, settings.choose_model(core, llm))
        return core.engine.model(await settings.read(core, name))

    async def contributors(self, id: str) -> Sequence[Contributor]:
        """The session's own pieces of the system prompt, by priority. Raises SessionNotFound."""
        core, name = self._runtime.core, self._name(id)
        return settings.contributors_of(await settings.read(core, name))

    async def contribute(
        self, id: str, contributor: str, content: str, *, priority: int = 45, enabled: bool = True
    ) -> Contributor:
        """Add a piece to the session's system prompt, in the place of one of the same id; from the next turn on.

        Raises SessionNotFound, InvalidInput.
        """
        core, name = self._runtime.core, self._name(id)
        await settings.change(core, name, settings.put(contributor, content, priority, enabled))
        return Contributor(id=contributor, content=content, priority=priority, enabled=enabled)

    async def withdraw(self, id: str, contributor: str) -> bool:
        """Remove a piece of the session's system prompt; False if there is none. Raises SessionNotFound."""
        core, name = self._runtime.core, self._name(id)
        wanted = settings.check_id(contributor)
        found = any(one.id == wanted for one in settings.contributors_of(await settings.read(core, name)))
        if found:
            await settings.change(core, name, lambda kept: settings.take(kept, wanted))
        return found

    # -- questions to people

    async def approvals(self, id: str | None = None, *, pending: bool = True, limit: int = 100) -> Sequence[Approval]:
        """Calls that wait for a person, oldest first: of one session, or of all; without `pending` decided ones too.

        Raises SessionNotFound.
        """
        self._runtime.check_open()
        chosen = None if id is None else check_session_id(id)
        store = self._runtime.core.store
        found = await store.approvals(self.user, chosen, pending=pending, limit=limit_of(limit))
        return [approval_of(row) for row in found]

    async def approval(self, approval: str) -> Approval:
        """One question by its id, whatever its session; raises ApprovalNotFound."""
        self._runtime.check_open()
        return approval_of(await self._runtime.core.store.approval(self.user, printable("approval", approval, 128)))

    async def approve(
        self,
        id: str,
        approval: str,
        *,
        arguments: Mapping[str, Any] | str | None = None,
        remember: Remember | str | None = None,
        by: str | None = None,
    ) -> Approval:
        """Let a call run, with changed `arguments` where given (an object, or its JSON).

        `remember` lets later calls of the tool run unasked: "session" or "user", with "_exact" only those with the same
        arguments; calls that wait already and match are approved with it. `by` says who decided. The same decision
        again changes nothing. The last decision lets the turn go on. Raises SessionNotFound, ApprovalNotFound,
        ApprovalDecided.
        """
        name, core = self._name(id), self._runtime.core
        verdict = approvals.approved(core, self.user if by is None else by, arguments, remember)
        return await approvals.decide(self._runtime, name, approval, verdict)

    async def deny(self, id: str, approval: str, *, reason: str | None = None, by: str | None = None) -> Approval:
        """Refuse a call; the model is told so, with the reason. Raises as `approve` does."""
        name, core = self._name(id), self._runtime.core
        verdict = approvals.denied(core, self.user if by is None else by, reason)
        return await approvals.decide(self._runtime, name, approval, verdict)

    async def remembered(self, id: str | None = None) -> Sequence[Remembered]:
        """What runs unasked because somebody allowed it for later: of one session alone, or everything of the user."""
        self._runtime.check_open()
        chosen = None if id is None else check_session_id(id)
        return [remembered_of(row) for row in await self._runtime.core.store.remembered(self.user, chosen)]

    async def forget(self, remembered: str) -> bool:
        """Ask again from now on; False if there is nothing remembered by this id."""
        self._runtime.check_open()
        return await self._runtime.core.store.forget(self.user, printable("remembered", remembered, 128))

    async def _put(self, id: str, content: Content, kind: InputKind, *, create: bool) -> QueuedInput:
        name = self._name(id)
        said = replace(await check_said_beside(content, None, BusyPolicy.QUEUE, create=create), kind=kind)
        accepted = await self._leave(name, said)
        alone = accepted.session.current is None and (kind is InputKind.STEER or accepted.session.queued == 1)
        kind = InputKind.MESSAGE if alone else kind
        return QueuedInput(
            position=accepted.position, turn=accepted.turn.turn, kind=kind, content=content, held=False,
            accepted=from_ms(accepted.since),
        )  # fmt: skip

    async def _leave(self, name: Name, said: Said) -> Accepted:
        """Make an input durable and let it run when there is a place for it."""
        accepted = await self._runtime.desk.put(name, said)
        if accepted.orphaned:
            self._runtime.wake_soon(name)
        return accepted

    def _name(self, id: str) -> Name:
        self._runtime.check_open()
        return (self.user, check_session_id(id))


def limit_of(limit: int) -> int:
    """The size of a page; raises InvalidInput."""
    return whole_number("limit", limit, 1, MAX_LIMIT)
