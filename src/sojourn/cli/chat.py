"""`sojourn chat`: a conversation with the agent in the terminal, or line by line where there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from sojourn.bootstrap import Sojourn
from sojourn.cli.chat_commands import COMMANDS, Leave, missing, obey
from sojourn.cli.chat_plain import PlainScreen
from sojourn.cli.chat_screen import Screen
from sojourn.cli.chat_session import BUSY, HELD, Conversation
from sojourn.cli.chat_start import Agent, Found, Options, choose, look
from sojourn.cli.chat_words import Status, name_of, short, used
from sojourn.cli.exits import INTERRUPTED, OK
from sojourn.cli.place import configuration_of
from sojourn.errors import SessionNotFound, SojournError
from sojourn.records import Role, SessionStatus

if TYPE_CHECKING:
    from sojourn.config.configuration import Configuration

#: Behind this many presses of Ctrl-C that cancel nothing the program ends.
_PRESSES = 3


async def converse(options: Options) -> int:
    """The whole chat; its exit code."""
    options.check()
    configuration = configuration_of(options.agent)
    found = await choose(options, configuration)
    screen = _screen(options)
    chat = Chat(screen, Agent(configuration, options.storage), configuration, found.id)
    with _signals(screen) as ended, _logging(screen):
        try:
            await chat.run(found)
        except asyncio.CancelledError:
            if not ended:
                raise
        finally:
            await chat.close()
    if ended:
        return 128 + ended[0]
    if chat.spoken:
        with suppress(OSError):
            screen.note(f"go on with: {_again(options, chat.id)}")
    return INTERRUPTED if isinstance(screen, PlainScreen) and screen.interrupted else OK


def _screen(options: Options) -> Screen:
    drawn = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if options.plain or not drawn:
        return PlainScreen()
    from sojourn.cli.chat_terminal import TerminalScreen

    return TerminalScreen({name: help_ for name, (_, _, help_) in COMMANDS.items()})


class Chat:
    """What the person does, and in which session."""

    def __init__(self, screen: Screen, agent: Agent, configuration: Configuration | None, id: str) -> None:
        self.screen, self.id = screen, id
        #: Whether there is a session to come back to.
        self.spoken = False
        self._agent = agent
        self._greeting = None if configuration is None else configuration.agent.greeting
        self._model = "sojourn-demo" if configuration is None else configuration.agent.llm.model
        self._conversation: Conversation | None = None
        self._presses = 0

    # -- for the commands

    async def ready(self) -> Sojourn:
        """The open runtime."""
        return await self._agent.ready()

    async def enter(self, id: str) -> None:
        """Go to another session, and show what was said in it."""
        await self.leave()
        self.id = id
        found = await look(await self.ready(), id)
        self._greet(found)
        await self._attend(found)
        await self._catch_up()

    async def leave(self) -> None:
        """Show no more of this session."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            await conversation.leave()

    async def follow(self) -> None:
        """Show what runs in the session until it ends."""
        if self._conversation is not None:
            await self._answer(self._conversation.follow())

    # -- the story

    async def run(self, found: Found) -> None:
        """Until the person leaves."""
        self._greet(found)
        attending = asyncio.create_task(self._attend(found), name="sojourn-chat-start")
        try:
            if found.session is not None and found.session.status in BUSY:
                await attending
                await self._catch_up()
            while True:
                await self._hear(attending)
        except (EOFError, Leave):
            if attending.done():
                await attending  # an agent that cannot be loaded is told also to who has left
        finally:
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)

    async def close(self) -> None:
        """Close everything that is open."""
        await self.leave()
        await self._agent.close()

    def _greet(self, found: Found) -> None:
        session = found.session
        self.spoken = session is not None
        name = short(found.id) if session is None else name_of(session)
        self.screen.tell_status(Status(name=name, model=self._model, loading=not self._agent.loaded))
        self.screen.note(f"session {name} · /help tells what can be done")
        if session is None and self._greeting:
            self.screen.greet(self._greeting)
        self.screen.past(found.messages, found.earlier)
        self.screen.remember([message.text for message in found.messages if message.role is Role.USER])

    async def _attend(self, found: Found) -> None:
        """Show what happens in the session from now on."""
        conversation = Conversation(await self.ready(), self.screen, found.id)
        await conversation.watch(found.last)
        self._conversation = conversation
        await self._refresh()
        if found.session is not None and found.session.status is SessionStatus.HELD:
            self.screen.note(HELD)

    async def _catch_up(self) -> None:
        """Show what already runs in the session to its end."""
        conversation = self._conversation
        if conversation is not None and await conversation.busy():
            self.screen.note("a turn of this session is not over")
            await self._answer(conversation.follow())
            await self._refresh()
            if (await (await self.ready()).get(self.id)).status is SessionStatus.HELD:
                self.screen.note(HELD)

    async def _hear(self, attending: asyncio.Task[None]) -> None:
        reading = asyncio.create_task(self.screen.read(), name="sojourn-chat-read")
        waiting = {reading} if attending.done() else {reading, attending}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if attending.done():
                await attending
            line = await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if line.strip():
            await self._guarded(self._obey_or_say(line, attending))

    async def _obey_or_say(self, line: str, attending: asyncio.Task[None]) -> None:
        if line.startswith("/") and not line.startswith("//"):
            await attending
            await obey(self, line)
        else:
            await self._answer(self._say(line.removeprefix("/") if line.startswith("//") else line, attending))
        await self._refresh()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong is told, and the chat goes on."""
        try:
            await work
        except SessionNotFound as error:
            self.screen.fault(missing(error, self.id))
        except (SojournError, OSError) as error:
            if not self._agent.loaded:
                raise  # nothing can be said to an agent that cannot be loaded
            self.screen.fault(str(error))

    async def _say(self, text: str, attending: asyncio.Task[None]) -> None:
        await asyncio.shield(attending)
        if self._conversation is not None:
            self.spoken = True
            await self._conversation.say(text)

    async def _answer(self, work: Coroutine[Any, Any, None]) -> None:
        """Await an answer that Ctrl-C cancels."""
        task = asyncio.create_task(work, name="sojourn-chat-answer")
        cancelling: set[asyncio.Task[None]] = set()
        self._presses = 0

        def interrupt() -> None:
            self._presses += 1
            if self._presses >= _PRESSES:
                task.cancel()
            cancelling.add(asyncio.create_task(self._cancel(task), name="sojourn-chat-cancel"))

        with self.screen.answering(interrupt):
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.gather(task, *cancelling, return_exceptions=True)
        if task.cancelled():
            if self._presses >= _PRESSES:
                raise Leave
            self.screen.note("not sent")
        else:
            task.result()

    async def _cancel(self, answer: asyncio.Task[None]) -> None:
        conversation = self._conversation
        with suppress(SojournError):
            if conversation is not None and await conversation.cancel():
                return
        if conversation is None or conversation.sending:
            answer.cancel()  # it was not accepted yet

    async def _refresh(self) -> None:
        """What the status line tells."""
        runtime = await self.ready()
        statistics = await runtime.statistics()
        name, tokens, cost = short(self.id), 0, ""
        with suppress(SessionNotFound):
            session = await runtime.get(self.id)
            name, (tokens, cost) = name_of(session), used(session.usage)
        self.screen.tell_status(
            Status(name, statistics.live, statistics.stored, self._model, tokens, cost, loading=False)
        )


def _again(options: Options, id: str) -> str:
    kept = [] if options.agent is None else ["--agent", str(options.agent)]
    kept += [] if options.storage is None else ["--storage", options.storage]
    return shlex.join(["sojourn", "chat", *kept, "--resume", id])


@contextmanager
def _signals(screen: Screen) -> Iterator[list[int]]:
    """Ctrl-C goes to the screen; what ends the program ends it in order, and its number is in the list."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    ended: list[int] = []

    def end(number: int) -> None:
        ended.append(number)
        if me is not None:
            me.cancel()

    handlers: dict[int, Callable[[], None]] = {signal.SIGINT: screen.interrupt}
    handlers |= {number: partial(end, number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield ended
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


class _Notes(logging.Handler):
    """Log lines as notes of the chat, whichever thread they come from."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen, self._loop = screen, asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "sojourn.turns":  # how a turn ended is shown as its end
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._screen.note, f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def _logging(screen: Screen) -> Iterator[None]:
    """Log lines become notes, unless the agent's file sends them somewhere."""
    logger = logging.getLogger("sojourn")
    handler = _Notes(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
