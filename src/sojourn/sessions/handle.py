"""One session by its id: the calls of its scope, without the id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sojourn.records import (
    Approval,
    BusyPolicy,
    Content,
    Contributor,
    Effect,
    Event,
    Found,
    Message,
    QueuedInput,
    Remember,
    Remembered,
    Reply,
    Role,
    Session,
    Turn,
)

if TYPE_CHECKING:
    from sojourn.sessions.scope import Scope


class SessionHandle:
    """One session by its id; cheap, holds nothing. Each call is the scope's, without the id."""

    __slots__ = ("_scope", "id")

    def __init__(self, scope: Scope, id: str) -> None:
        self._scope, self.id = scope, id

    def __repr__(self) -> str:
        return f"<session {self.id!r} of {self._scope.user!r}>"

    async def create(self, *, title: str | None = None) -> Session:
        """See Scope.create."""
        return await self._scope.create(self.id, title=title)

    async def get(self) -> Session:
        """See Scope.get."""
        return await self._scope.get(self.id)

    async def send(
        self,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> Reply:
        """See Scope.send."""
        return await self._scope.send(self.id, content, key=key, create=create, busy=busy)

    def stream(
        self,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> AsyncGenerator[Event]:
        """See Scope.stream."""
        return self._scope.stream(self.id, content, key=key, create=create, busy=busy)

    async def begin(
        self,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
        after: int | str | None = None,
    ) -> tuple[Turn, AsyncGenerator[Event]]:
        """See Scope.begin."""
        return await self._scope.begin(self.id, content, key=key, create=create, busy=busy, after=after)

    async def submit(
        self,
        content: Content,
        *,
        key: str | None = None,
        create: bool = True,
        busy: BusyPolicy | str | None = None,
    ) -> Turn:
        """See Scope.submit."""
        return await self._scope.submit(self.id, content, key=key, create=create, busy=busy)

    def watch(self, *, after: int | str | None = None) -> AsyncGenerator[Event]:
        """See Scope.watch."""
        return self._scope.watch(self.id, after=after)

    async def follow(self, *, after: int | str | None = None) -> AsyncGenerator[Event]:
        """See Scope.follow."""
        return await self._scope.follow(self.id, after=after)

    async def history(self, *, before: int | None = None, limit: int | None = None) -> Sequence[Message]:
        """See Scope.history."""
        return await self._scope.history(self.id, before=before, limit=limit)

    async def search(
        self, query: str, *, role: Role | str | None = None, limit: int = 20, after: str | None = None, offset: int = 0
    ) -> Found:
        """See Scope.search."""
        return await self._scope.search(query, id=self.id, role=role, limit=limit, after=after, offset=offset)

    async def turn(self, turn: int) -> Turn:
        """See Scope.turn."""
        return await self._scope.turn(self.id, turn)

    async def turns(self) -> Sequence[Turn]:
        """See Scope.turns."""
        return await self._scope.turns(self.id)

    async def inbox(self) -> Sequence[QueuedInput]:
        """See Scope.inbox."""
        return await self._scope.inbox(self.id)

    async def effects(self) -> Sequence[Effect]:
        """See Scope.effects."""
        return await self._scope.effects(self.id)

    async def rename(self, title: str, *, unless_changed: Session | None = None) -> Session:
        """See Scope.rename."""
        return await self._scope.rename(self.id, title, unless_changed=unless_changed)

    async def reset(self) -> Session:
        """See Scope.reset."""
        return await self._scope.reset(self.id)

    async def fork(self, *, at: int | None = None, new_id: str | None = None, title: str | None = None) -> Session:
        """See Scope.fork."""
        return await self._scope.fork(self.id, at=at, new_id=new_id, title=title)

    async def unload(self) -> bool:
        """See Scope.unload."""
        return await self._scope.unload(self.id)

    async def clear_context(self) -> bool:
        """See Scope.clear_context."""
        return await self._scope.clear_context(self.id)

    async def delete(self) -> bool:
        """See Scope.delete."""
        return await self._scope.delete(self.id)

    def export(self) -> AsyncGenerator[str]:
        """See Scope.export."""
        return self._scope.export(self.id)

    async def cancel(self, *, turn: int | None = None, clear: bool = False) -> bool:
        """See Scope.cancel."""
        return await self._scope.cancel(self.id, turn=turn, clear=clear)

    async def resume(self) -> Sequence[int]:
        """See Scope.resume."""
        return await self._scope.resume(self.id)

    async def discard(self, *, turn: int | None = None) -> Sequence[int]:
        """See Scope.discard."""
        return await self._scope.discard(self.id, turn=turn)

    async def steer(self, content: Content, *, create: bool = True) -> QueuedInput:
        """See Scope.steer."""
        return await self._scope.steer(self.id, content, create=create)

    async def follow_up(self, content: Content, *, create: bool = True) -> QueuedInput:
        """See Scope.follow_up."""
        return await self._scope.follow_up(self.id, content, create=create)

    async def remove(self, position: int) -> bool:
        """See Scope.remove."""
        return await self._scope.remove(self.id, position)

    async def state(self) -> Mapping[str, Any]:
        """See Scope.state."""
        return await self._scope.state(self.id)

    async def set_state(self, state: Mapping[str, Any]) -> None:
        """See Scope.set_state."""
        await self._scope.set_state(self.id, state)

    async def model(self) -> Mapping[str, Any]:
        """See Scope.model."""
        return await self._scope.model(self.id)

    async def switch_model(self, llm: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """See Scope.switch_model."""
        return await self._scope.switch_model(self.id, llm)

    async def contributors(self) -> Sequence[Contributor]:
        """See Scope.contributors."""
        return await self._scope.contributors(self.id)

    async def contribute(
        self, contributor: str, content: str, *, priority: int = 45, enabled: bool = True
    ) -> Contributor:
        """See Scope.contribute."""
        return await self._scope.contribute(self.id, contributor, content, priority=priority, enabled=enabled)

    async def withdraw(self, contributor: str) -> bool:
        """See Scope.withdraw."""
        return await self._scope.withdraw(self.id, contributor)

    async def approvals(self, *, pending: bool = True, limit: int = 100) -> Sequence[Approval]:
        """See Scope.approvals."""
        return await self._scope.approvals(self.id, pending=pending, limit=limit)

    async def approve(
        self,
        approval: str,
        *,
        arguments: Mapping[str, Any] | str | None = None,
        remember: Remember | str | None = None,
        by: str | None = None,
    ) -> Approval:
        """See Scope.approve."""
        return await self._scope.approve(self.id, approval, arguments=arguments, remember=remember, by=by)

    async def deny(self, approval: str, *, reason: str | None = None, by: str | None = None) -> Approval:
        """See Scope.deny."""
        return await self._scope.deny(self.id, approval, reason=reason, by=by)

    async def remembered(self) -> Sequence[Remembered]:
        """See Scope.remembered."""
        return await self._scope.remembered(self.id)
