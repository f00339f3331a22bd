"""By which id a provider knows the call that a question is about."""

from __future__ import annotations

from collections.abc import Sequence

from sojourn.records import Approval, Message, ToolCall
from sojourn.sessions.scope import Scope


class Calls:
    """The calls of a session's last responses, by their place in the log."""

    def __init__(self, scope: Scope, session: str) -> None:
        self._scope, self._session = scope, session
        self._known: dict[int, Sequence[ToolCall]] = {}

    def know(self, message: Message) -> None:
        """A response with calls; the one before it is of no interest any more."""
        self._known = {message.seq: message.tool_calls}

    async def id_of(self, approval: Approval) -> str:
        """The id of the call that is asked about, read from the history where it was not seen."""
        if approval.seq not in self._known:
            found = await self._scope.history(self._session, before=approval.seq + 1, limit=1)
            self._known[approval.seq] = found[-1].tool_calls if found and found[-1].seq == approval.seq else ()
        calls = self._known[approval.seq]
        return calls[approval.index].id if approval.index < len(calls) else f"{approval.seq}.{approval.index}"
