"""How a chat starts: which session, what was said in it, and the agent, which is loaded beside the prompt."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sojourn.bootstrap import Sojourn, reading
from sojourn.cli.chat_words import MAX_FAILURE, cut
from sojourn.cli.exits import Refusal
from sojourn.cli.place import address_of, agent_runtime, file_of
from sojourn.errors import InvalidInput, SessionNotFound, SojournError, TurnNotFound
from sojourn.records import Message, Session, TurnStatus, check_session_id
from sojourn.sessions.scope import Scope

if TYPE_CHECKING:
    from sojourn.config.configuration import Configuration

#: How many messages are shown of what was said before.
SHOWN = 20

#: How long it may take to find out what the tools say of themselves, seconds.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    newest: bool = False
    resume: str | None = None
    session: str | None = None
    agent: Path | None = None
    storage: str | None = None
    plain: bool = False

    def check(self) -> None:
        """Raises InvalidInput for what cannot be together."""
        given = [
            name
            for name, value in (("--continue", self.newest), ("--resume", self.resume), ("--session", self.session))
            if value
        ]
        if len(given) > 1:
            raise InvalidInput("options", " and ".join(given), "one of --continue, --resume and --session")
        for named in (self.resume, self.session):
            if named is not None:
                check_session_id(named)


@dataclass(frozen=True, slots=True)
class Found:
    """A session as a chat enters it; `session` is None where nothing was said in it yet."""

    id: str
    session: Session | None = None
    messages: Sequence[Message] = ()
    #: What became of turns that did not end well, in words.
    ends: Mapping[int, str] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.messages[-1].seq if self.messages else 0

    @property
    def earlier(self) -> int:
        """How many messages came before."""
        return 0 if self.session is None else max(0, self.session.message_count - len(self.messages))


async def look(scope: Scope, id: str) -> Found:
    """A session with its last messages."""
    with suppress(SessionNotFound):
        session = await scope.get(id)
        messages = await scope.history(id, limit=SHOWN)
        return Found(id, session, messages, await ends_of(scope, id, messages))
    return Found(id)


async def ends_of(scope: Scope, id: str, messages: Sequence[Message]) -> Mapping[int, str]:
    """What became of those of the messages' turns that did not end well, in words."""
    ends: dict[int, str] = {}
    for number in dict.fromkeys(message.turn for message in messages):
        with suppress(TurnNotFound, InvalidInput):
            turn = await scope.turn(id, number)
            if turn.status is TurnStatus.CANCELLED:
                ends[number] = "cancelled"
            elif turn.status is TurnStatus.FAILED:
                ends[number] = f"the turn failed: {cut(turn.reason or '', MAX_FAILURE)}"
    return ends


async def choose(options: Options, configuration: Configuration | None) -> Found:
    """The session that the command line means, read before the agent is loaded. Raises Refusal for an unknown one."""
    address = address_of(configuration, options.storage)
    file = file_of(address)
    named = options.resume or options.session
    if (named or options.newest) and file is not None and file.exists():
        async with reading(address) as runtime:
            if options.newest:
                newest = (await runtime.sessions(limit=1)).sessions
                named = newest[0].id if newest else None
            found = await look(runtime, named) if named else None
            if found is not None and (found.session is not None or options.resume is None):
                return found
    if options.resume is not None:
        raise Refusal(
            f"no session {options.resume!r}; `sojourn sessions list` lists them, "
            f"`sojourn chat --session {options.resume}` begins it"
        )
    return Found(named or str(uuid.uuid4()))


class Agent:
    """The runtime, opened and closed by one task, while the person may type already."""

    def __init__(self, configuration: Configuration | None, storage: str | None) -> None:
        self._leaving = asyncio.Event()
        #: What the tools say of themselves, once it was asked for.
        self._tools: dict[str, str] | None = None
        self._ready: asyncio.Future[Sojourn] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live(configuration, storage), name="sojourn-chat-agent")

    @property
    def loaded(self) -> bool:
        """Whether it is ready."""
        return self._ready.done()

    async def ready(self) -> Sojourn:
        """The open runtime; raises whatever kept it from opening."""
        both: set[asyncio.Future[Any]] = {self._ready, self.task}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return self._ready.result()
        await self.task
        raise AssertionError("the runtime closed before it was open")

    async def about(self, tool: str) -> str:
        """What a tool says of itself; empty where that is not known, or not soon."""
        if self._tools is None:
            self._tools = {}
            with suppress(TimeoutError, SojournError):
                found = await asyncio.wait_for((await self.ready()).core.engine.tools(), _PATIENCE)
                self._tools = {one.name: one.description or "" for one in found}
        return self._tools.get(tool, "")

    async def close(self) -> None:
        """Let running turns end or hand them over, and close everything."""
        self._leaving.set()
        if not self._ready.done():
            self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _live(self, configuration: Configuration | None, storage: str | None) -> None:
        # a thread: the libraries of the models take a second to load
        runtime = await asyncio.to_thread(agent_runtime, configuration, storage)
        async with runtime:
            self._ready.set_result(runtime)
            await self._leaving.wait()
