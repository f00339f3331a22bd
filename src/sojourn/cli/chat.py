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
from sojourn.cli import chat_decide
from sojourn.cli.chat_commands import COMMANDS, LEAVING, YES, Leave, missing, obey
from sojourn.cli.chat_plain import PlainScreen
from sojourn.cli.chat_questions import is_answer, numbered
from sojourn.cli.chat_screen import Screen
from sojourn.cli.chat_session import BUSY, HELD, Conversation
from sojourn.cli.chat_start import Agent, Found, Options, choose, look
from sojourn.cli.chat_words import Status, name_of, short, used
from sojourn.cli.exits import INTERRUPTED, OK, WAITS
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
    if isinstance(screen, PlainScreen) and screen.interrupted:
        return INTERRUPTED
    return WAITS if chat.waits and not screen.interactive else OK


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
        self.model = "sojourn-demo" if configuration is None else configuration.agent.llm.model
        self._conversation: Conversation | None = None
        self._attending: asyncio.Task[None]
        #: The line that is being typed.
        self._reading: asyncio.Task[str] | None = None
        #: One that was typed, and is to be done when the answer is no longer watched.
        self._postponed: str | None = None
        self._presses = 0
        self._answering = self._left = False
        #: A question vanished while it was put: what is typed next may be meant for it.
        self.vanished = False
        #: Left while a turn waits for decisions.
        self.waits = False

    # -- for the commands

    async def ready(self) -> Sojourn:
        """The open runtime."""
        return await self._agent.ready()

    async def about(self, tool: str) -> str:
        """What a tool says of itself; empty where that is not known."""
        return await self._agent.about(tool)

    def conversation(self) -> Conversation:
        """The session that is watched; raises SessionNotFound where nothing was said in it yet."""
        if self._conversation is None or not self._conversation.following:
            raise SessionNotFound(self.id)
        return self._conversation

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

    async def later(self, text: str) -> None:
        """Say something behind what runs, or now where nothing does."""
        if self._answering and self._conversation is not None:
            await self._conversation.follow_up(text)
        else:
            await self._say_now(text)

    async def obey_or_say(self, line: str) -> None:
        """Do what a line says, whatever it is. Raises Leave, SojournError, OSError."""
        if self.vanished:
            self.vanished = False
            if is_answer(line):
                self.screen.note("that question was decided elsewhere; nothing was sent")
                return
        if line.startswith("/") and not line.startswith("//"):
            await self._attending
            await obey(self, line)
        elif self._answering and self._conversation is not None:
            await self._conversation.steer(_unslashed(line))
        else:
            await self._say_now(_unslashed(line))

    async def line_or(self, *others: asyncio.Future[Any]) -> str | None:
        """The next line, or None where one of the others is done first. Raises EOFError."""
        if self._postponed is not None:
            line, self._postponed = self._postponed, None
            return line
        if self._reading is None:
            self._reading = asyncio.create_task(self.screen.read(), name="sojourn-chat-read")
        await asyncio.wait({self._reading, *others}, return_when=asyncio.FIRST_COMPLETED)
        if not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    async def answer(self, work: Coroutine[Any, Any, None]) -> None:
        """Await an answer that Ctrl-C cancels; what is typed meanwhile is said into it, if the screen can read."""
        if self._answering:
            work.close()  # it is shown already
            return
        task = asyncio.create_task(self._whole(work), name="sojourn-chat-answer")
        cancelling: set[asyncio.Task[None]] = set()
        self._presses, self._answering, self._left = 0, True, False

        def interrupt() -> None:
            self._presses += 1
            if self._presses >= _PRESSES:
                task.cancel()
            cancelling.add(asyncio.create_task(self._cancel(task), name="sojourn-chat-cancel"))

        with self.screen.answering(interrupt):
            try:
                await self._meanwhile(task)
            finally:
                self._answering = False
                task.cancel()
                await asyncio.gather(task, *cancelling, return_exceptions=True)
        if not task.cancelled():
            task.result()
        elif self._presses >= _PRESSES:
            raise Leave
        else:
            self.screen.note("the answer goes on, unseen" if self._left else "not sent")

    # -- the story

    async def run(self, found: Found) -> None:
        """Until the person leaves."""
        self._greet(found)
        attending = self._attending = asyncio.create_task(self._attend(found), name="sojourn-chat-start")
        try:
            if found.session is not None and found.session.status in {*BUSY, SessionStatus.WAITING}:
                await attending  # what is asked comes first
                await self._catch_up()
            while True:
                await self._hear()
        except (EOFError, Leave):
            if attending.done():
                await attending  # an agent that cannot be loaded is told also to who has left
                await self._tell_waiting()
        finally:
            unread, self._reading = self._reading, None
            for task in (attending, unread):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Close everything that is open."""
        await self.leave()
        await self.screen.close()
        await self._agent.close()

    def _greet(self, found: Found) -> None:
        session = found.session
        self.spoken = session is not None
        name = short(found.id) if session is None else name_of(session)
        self.screen.tell_status(Status(name=name, model=self.model, loading=not self._agent.loaded))
        self.screen.note(f"session {name} · /help tells what can be done")
        if session is None and self._greeting:
            self.screen.greet(self._greeting)
        self.screen.past(found.messages, found.earlier, found.ends)
        self.screen.remember([message.text for message in found.messages if message.role is Role.USER])

    async def _attend(self, found: Found) -> None:
        """Show what happens in the session from now on."""
        conversation = Conversation(await self.ready(), self.screen, found.id)
        await conversation.watch(found.last, found.ends)
        self._conversation = conversation
        await self._refresh()
        if found.session is not None and found.session.status is SessionStatus.HELD:
            self.screen.note(HELD)

    async def _catch_up(self) -> None:
        """Show what already runs in the session to its end."""
        conversation = self._conversation
        if conversation is not None and await conversation.busy():
            self.screen.note("a turn of this session is not over")
            await self.answer(conversation.follow())
            await self._refresh()

    async def _hear(self) -> None:
        """One line, or one question."""
        attending, conversation = self._attending, self._conversation
        if attending.done():
            await attending
            if conversation is not None and (waiting := await conversation.questions()):
                open_ = [one for one in waiting if one.id not in conversation.deferred]
                if open_:
                    await self._guarded(chat_decide.put(self, conversation, open_, len(waiting)))
                    return
        asking = None
        if conversation is not None:
            asking = asyncio.create_task(conversation.asking.wait(), name="sojourn-chat-asking")
        try:
            line = await self.line_or(*([asking] if asking else []), *([] if attending.done() else [attending]))
        finally:
            if asking is not None:
                asking.cancel()
        if line is not None and line.strip():
            await self._guarded(self.obey_or_say(line))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong is told, and the chat goes on."""
        try:
            await work
            await self._refresh()
        except SessionNotFound as error:
            self.screen.fault(missing(error, self.id))
        except (SojournError, OSError) as error:
            if not self._agent.loaded:
                raise  # nothing can be said to an agent that cannot be loaded
            self.screen.fault(str(error))

    async def _say_now(self, text: str) -> None:
        if self._attending.done() and not await self._may_supersede():
            return
        await self.answer(self._say(text))

    async def _may_supersede(self) -> bool:
        """Whether a message may take the place of decisions that are waited for."""
        waiting = () if self._conversation is None else await self._conversation.questions()
        if not waiting:
            return True
        calls = f"{len(waiting)} call{'s wait' if len(waiting) > 1 else ' waits'} for a decision"
        if not self.screen.interactive:
            self.screen.fault(f"not sent, as {calls}: approve ID or deny ID first")
            return False
        answer = await self.screen.ask(f"{calls}; send this instead, so that nothing of that runs? [y/N]")
        if answer.casefold() in YES:
            return True
        self.screen.note("not sent")
        return False

    async def _say(self, text: str) -> None:
        await asyncio.shield(self._attending)
        if self._conversation is not None:
            self.spoken = True
            await self._conversation.say(text)

    async def _whole(self, work: Coroutine[Any, Any, None]) -> None:
        """An answer, and where more may be said into it what comes of that."""
        await work
        conversation = self._conversation
        if self.screen.steers and conversation is not None:
            await conversation.follow()
            if await conversation.status() is SessionStatus.HELD:
                self.screen.note(HELD)

    async def _meanwhile(self, answer: asyncio.Task[None]) -> None:
        """Read while an answer is written."""
        while not answer.done():
            if not self.screen.steers:
                await asyncio.wait({answer})
                return
            line = await self.line_or(answer)
            if line is None or not line.strip():
                continue
            if line.split()[0] in LEAVING:
                self._postponed, self._left = line, True
                return
            await self._guarded(self.obey_or_say(line))

    async def _cancel(self, answer: asyncio.Task[None]) -> None:
        conversation = self._conversation
        with suppress(SojournError):
            if conversation is not None and await conversation.cancel():
                return
        if conversation is None or conversation.sending:
            answer.cancel()  # it was not accepted yet

    async def _tell_waiting(self) -> None:
        """Say what is left undecided, and how it can be decided without a chat."""
        waiting = () if self._conversation is None else await self._conversation.questions()
        self.waits = bool(waiting)
        if waiting:
            self.screen.note("not decided yet: " + ", ".join(numbered(waiting)) + "; see `sojourn approvals --help`")

    async def _refresh(self) -> None:
        """What the status line tells."""
        runtime = await self.ready()
        statistics = await runtime.statistics()
        name, tokens, cost = short(self.id), 0, ""
        with suppress(SojournError):
            session = await runtime.get(self.id)
            name, (tokens, cost) = name_of(session), used(session.usage)
            self.model = str((await runtime.model(self.id)).get("model") or self.model)
        self.screen.tell_status(
            Status(name, statistics.live, statistics.stored, self.model, tokens, cost, loading=False)
        )


def _unslashed(line: str) -> str:
    """A line as it is meant: two slashes at its beginning are one."""
    return line.removeprefix("/") if line.startswith("//") else line


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
