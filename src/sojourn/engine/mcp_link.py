"""One MCP server: a task of its own connects, keeps what the server offers, and connects again when it was lost.

Runs never open or close a connection; they read what is known here and send calls. So a cancelled run can break nothing
for others. A call is sent once at most: what may have reached the server is never repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError
from pydantic_ai.exceptions import ToolFailed

from sojourn.engine.mcp_http import reason
from sojourn.engine.mcp_sending import Redactor, Sending, log, sending, tracked

#: What a model is told of a call that failed.
UNKNOWN = "the outcome is unknown: it may or may not have happened; check before you do it again"
NOT_SENT = "the call was not sent, so nothing has happened"
REFUSED = "the call was not carried out"

#: Pages of a list of tools; more is a server that counts for ever.
_MAX_PAGES = 1000
_SERVER_ERRORS = 500
_CLIENT = types.Implementation(name="sojourn", version="1")


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly a lost server is looked for; seconds."""

    #: Between the first attempts; doubled after each that fails.
    first: float = 0.5
    longest: float = 30.0
    #: A connection that lived this long is taken for a good one.
    proven: float = 10.0
    #: How long runs, and the opening of the engine, wait for a server that is about to be there.
    grace: float = 5.0


#: Opens a transport; is given what to call when it is lost, and what when it should be looked at.
Opener = Callable[[Callable[[str], None], Callable[[str], None]], AbstractAsyncContextManager[tuple[Any, Any]]]


class Link:
    """The connection to one server, over all its lives."""

    def __init__(self, name: str, opener: Opener, *, timeout: float, pace: Pace, redact: Redactor) -> None:
        self.name = name
        #: What the server offers; empty while it is not there.
        self.tools: Sequence[types.Tool] = ()
        #: Counts the changes of `tools`.
        self.version = 0
        #: Why the last attempt failed or the connection was lost.
        self.failure = "it was not opened"
        self._opener, self._timeout, self._pace, self._redact = opener, timeout, pace, redact
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[Any]] = set()
        self._check: asyncio.Task[Any] | None = None
        self._refresh: asyncio.Task[Any] | None = None
        self._outdated = False
        #: Limits the attempt that runs.
        self._limit: asyncio.Timeout | None = None
        self._closing = self._reported = False
        self._failures = 0
        self._delay = 0.0
        self._up_since = self._news_since = 0.0
        self._gone = asyncio.Event()
        self._hurry = asyncio.Event()
        #: Set unless news are about to come: of the first attempt, of the first after a loss, of a new list.
        self._known = asyncio.Event()
        self._verdict: asyncio.Future[None] | None = None

    @property
    def up(self) -> bool:
        """Whether a call could be sent now."""
        return self._session is not None

    def start(self) -> asyncio.Future[None]:
        """Begin to connect; what is given is done when the first attempt has ended, either way."""
        self._expect_news()
        self._verdict = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(), name=f"MCP server {self.name}")
        return self._verdict

    async def settled(self) -> None:
        """Wait a short time for news that are about to come."""
        left = self._news_since + self._pace.grace - asyncio.get_running_loop().time()
        if not self._known.is_set() and left > 0:
            await _within(left, self._known.wait())

    def close(self) -> asyncio.Task[None] | None:
        """Begin to disconnect; gives the task to wait for, which may be cancelled to make it short."""
        self._closing = True
        self._session = None
        self._offers(())
        self._decide()
        self._gone.set()
        self._hurry.set()
        self._abort()
        return self._task

    # -- calls

    async def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Call a tool; raises ToolFailed with what the model should know."""
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        with tracked() as state:
            session = await self._usable()
            try:
                return await self._send(session, request)
            except MCPError as error:
                if state.sent:
                    raise self._call_failed(session, state, error) from error
                self._found_closed(session)
            # Not a byte of it went out, so it may go out over another connection.
            session = await self._usable()
            try:
                return await self._send(session, request)
            except MCPError as error:
                raise self._call_failed(session, state, error) from error

    async def _usable(self) -> ClientSession:
        if self._check is not None:
            await asyncio.wait([self._check])
        if self._session is None and self._verdict is not None and not self._closing:
            self._hurry.set()
            await asyncio.wait([self._verdict], timeout=self._timeout)
        if self._session is None:
            raise self._failed(f"{self.failure}; {NOT_SENT}")
        return self._session

    async def _send(self, session: ClientSession, request: types.CallToolRequest) -> types.CallToolResult:
        state = sending()
        try:
            async with asyncio.timeout(self._timeout):
                return await session.send_request(request, types.CallToolResult)
        except TimeoutError as error:
            self._suspect("it does not answer")
            known = UNKNOWN if state is None or state.sent else NOT_SENT
            raise self._failed(f"no answer within {self._timeout:g} s; {known}") from error
        except ValidationError as error:
            raise self._failed(f"its answer is not valid MCP; {UNKNOWN}") from error

    def _call_failed(self, session: ClientSession, state: Sending, error: MCPError) -> ToolFailed:
        if not state.sent:
            self._found_closed(session)
            return self._failed(f"{self.failure}; {NOT_SENT}")
        if state.status is not None and state.status < _SERVER_ERRORS:
            return self._failed(f"it answered with HTTP status {state.status} ({error.message}); {REFUSED}")
        if state.status is not None or error.code == types.CONNECTION_CLOSED:
            self._suspect("it does not answer as it should")
            lost = self.failure if self._gone.is_set() else "the connection was lost"
            why = f"it answered with HTTP status {state.status}" if state.status is not None else lost
            return self._failed(f"{why}; {UNKNOWN}")
        return ToolFailed(self._redact(error.message))

    def _failed(self, text: str) -> ToolFailed:
        return ToolFailed(self._redact(f"MCP server {self.name}: {text}"))

    def _found_closed(self, session: ClientSession) -> None:
        if session is self._session:
            self._lost("the connection is closed")

    # -- the life of a connection

    async def _live(self) -> None:
        with tracked() as state:  # also keeps the libraries from logging what this task begins
            while not self._closing:
                state.status = None
                try:
                    await self._connection()
                except asyncio.CancelledError:
                    if _is_cancelled():
                        raise
                    self._lost("its connection was cancelled")  # by the libraries, for nobody asked us to end
                except Exception as error:  # noqa: BLE001 - whatever keeps the server away, it is tried again
                    self._lost(_why(error))
                finally:
                    self._session = None
                    self._drop_chores()
                if not self._closing:
                    self._hurry.clear()
                    await _within(self._delay, self._hurry.wait())

    async def _connection(self) -> None:
        self._gone.clear()
        self._outdated = False
        async with AsyncExitStack() as stack:
            try:
                session, tools = await self._attempt(stack)
            except TimeoutError:
                self._lost(f"no answer within {self._timeout:g} s")
            except Exception as error:  # noqa: BLE001 - told before the rest is cleared away, which takes its time
                self._lost(_why(error))
            else:
                if not self._gone.is_set():
                    self._is_up(session, tools)
                    await self._gone.wait()

    async def _attempt(self, stack: AsyncExitStack) -> tuple[ClientSession, list[types.Tool]]:
        try:
            async with asyncio.timeout(self._timeout) as self._limit:
                session = await self._connect(stack)
                return session, await self._list(session)
        finally:
            self._limit = None

    async def _connect(self, stack: AsyncExitStack) -> ClientSession:
        read, write = await stack.enter_async_context(self._opener(self._lost, self._suspect))
        session = ClientSession(read, write, message_handler=self._notified, client_info=_CLIENT)
        await stack.enter_async_context(session)
        await session.initialize()
        return session

    async def _list(self, session: ClientSession) -> list[types.Tool]:
        capabilities = session.server_capabilities
        if capabilities is None or capabilities.tools is None:
            return []
        found: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def _is_up(self, session: ClientSession, tools: Sequence[types.Tool]) -> None:
        self._session = session
        self._up_since = asyncio.get_running_loop().time()
        self._offers(tools)
        if self._reported:
            self._reported = False
            log.warning("MCP server %s is back, with %d tools", self.name, len(tools))
        else:
            log.info("MCP server %s is there, with %d tools", self.name, len(tools))
        self._decide()
        if self._outdated:
            self._look_again(session)

    def _lost(self, why: str) -> None:
        """Note that there is no connection, or no more; the first reason counts."""
        if self._closing or self._gone.is_set():
            return
        self._gone.set()
        self.failure = self._redact(why)
        if not self._reported:
            self._reported = True
            log.warning("MCP server %s is missing, and so are its tools: %s", self.name, self.failure)
        if self._session is None:
            self._attempt_failed()
        else:
            self._connection_lost()

    def _attempt_failed(self) -> None:
        self._failures += 1
        self._delay = self._back_off()
        self._decide()
        self._verdict = asyncio.get_running_loop().create_future()
        self._abort()

    def _connection_lost(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._up_since >= self._pace.proven:
            self._failures = 0
        self._delay = self._back_off() if self._failures else 0.0
        self._failures += 1
        self._session = None
        self._offers(())
        self._verdict = asyncio.get_running_loop().create_future()
        self._expect_news()

    def _back_off(self) -> float:
        doubled = self._pace.first * 2.0 ** min(self._failures - 1, 30)
        return min(self._pace.longest, doubled) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def _abort(self) -> None:
        """End the attempt to connect that runs, if one does."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _offers(self, tools: Sequence[types.Tool]) -> None:
        self.tools = tools
        self.version += 1

    def _decide(self) -> None:
        self._known.set()
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(None)

    def _expect_news(self) -> None:
        self._known.clear()
        self._news_since = asyncio.get_running_loop().time()

    # -- while it is up

    async def _notified(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._outdated = True
            if self._session is not None and self._refresh is None:
                self._look_again(self._session)

    def _look_again(self, session: ClientSession) -> None:
        self._expect_news()
        self._refresh = self._chore(self._renew(session))

    async def _renew(self, session: ClientSession) -> None:
        try:
            while self._outdated:
                self._outdated = False
                async with asyncio.timeout(self._timeout):
                    tools = await self._list(session)
                if session is self._session:
                    self._offers(tools)
        except (TimeoutError, MCPError, ValidationError) as error:
            log.warning("MCP server %s: its new list of tools cannot be had: %s", self.name, type(error).__name__)
        finally:
            self._refresh = None
            if session is self._session:
                self._known.set()

    def _suspect(self, why: str) -> None:
        """Look whether the server still answers; calls wait for that."""
        if self._session is not None and self._check is None:
            self._check = self._chore(self._ping(self._session, why))

    async def _ping(self, session: ClientSession, why: str) -> None:
        with tracked() as state:
            try:
                async with asyncio.timeout(self._timeout):
                    await session.send_ping()
                alive = True
            except MCPError as error:
                # An error is an answer too, if it is the server's own.
                alive = state.status is None and error.code != types.CONNECTION_CLOSED
            except ValidationError:
                alive = True
            except TimeoutError:
                alive = False
            finally:
                self._check = None
        if not alive and session is self._session:
            self._lost(why)

    def _chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    def _drop_chores(self) -> None:
        for task in self._chores:
            task.cancel()
        self._check = self._refresh = None


async def _within(seconds: float, event: Coroutine[Any, Any, Any]) -> None:
    """Wait for something, but not longer."""
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        pass


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _why(error: BaseException) -> str:
    """Why there is no connection, in words that hold no URL."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        state = sending()
        if state is not None and state.status is not None:
            return f"it answered with HTTP status {state.status}"
        return "it ended the connection" if error.code == types.CONNECTION_CLOSED else f"it answered: {error.message}"
    if isinstance(error, ValidationError):
        place = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        return f"its answer is not valid MCP, at {place}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{str(error.strerror).lower()}: {error.filename!r}"
    if isinstance(error, RuntimeError):
        return str(error)
    return reason(error)
