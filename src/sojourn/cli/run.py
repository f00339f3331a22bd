"""`sojourn run`: one thing said, the answer on standard output and everything else on standard error."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sojourn.bootstrap import Sojourn
from sojourn.cli.exits import INTERRUPTED, OK, USAGE, Refusal
from sojourn.cli.notes import on_one_line, tell, visible
from sojourn.cli.place import address_of, agent_runtime, configuration_of, shown_address
from sojourn.cli.shapes import reply_shape
from sojourn.errors import SojournError
from sojourn.records import Approval, Event, EventKind, Reply, TurnStatus

#: No more of a tool's arguments or result is shown, characters.
_SHOWN = 200

#: No exit code: the turn stopped for people.
WAITING = -1

#: What else is told of a turn while it runs.
_NOTED = {
    EventKind.MODEL_RETRY: "again: ",
    EventKind.TEXT_DROPPED: "what was written so far is void",
    EventKind.FEEDBACK: "told the model: ",
    EventKind.TURN_RESUMED: "interrupted before; goes on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `run` is asked for."""

    prompt: str | None
    session: str | None
    agent: Path | None
    storage: str | None
    json: bool = False


async def say_once(wanted: Wanted) -> int:
    """Say it, show the answer; Ctrl-C cancels the turn."""
    prompt = _prompt(wanted.prompt)
    configuration = configuration_of(wanted.agent)
    if configuration is None and not wanted.json:
        where = shown_address(address_of(configuration, wanted.storage))
        tell(f"demo agent, which is no language model, in {where}; `sojourn init` makes an agent of your own")
    session = wanted.session or str(uuid.uuid4())
    async with agent_runtime(configuration, wanted.storage) as runtime:
        said = _Said(runtime, session, prompt, _Screen(json=wanted.json))
        code = await said.follow()
    if said.reply is not None and wanted.json:
        sys.stdout.write(json.dumps(reply_shape(session, said.reply), ensure_ascii=False) + "\n")
    elif code == OK:
        tell(f"session {session}; go on with: {_again('run', wanted, session)} …")
    elif code == WAITING:
        told = ", ".join(on_one_line(f"{call.tool}({call.arguments})") for call in said.asked)
        raise Refusal(f"the turn waits for a person's approval of {told}; decide in: {_again('chat', wanted, session)}")
    return code


def _prompt(given: str | None) -> str:
    """What is to be said: the argument, or standard input where that is `-` or nothing and no terminal."""
    if given not in {None, "-"}:
        return str(given)
    if given is None and sys.stdin.isatty():
        raise Refusal("nothing to say; give a prompt, or pipe one in: echo hello | sojourn run -", USAGE)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Refusal("standard input is no text in UTF-8", USAGE) from error


def _again(command: str, wanted: Wanted, session: str) -> str:
    agent = "" if wanted.agent is None else f" --agent {shlex.quote(str(wanted.agent))}"
    storage = "" if wanted.storage is None else f" --storage {shlex.quote(wanted.storage)}"
    return f"sojourn {command}{agent}{storage} --session {session}"


class _Said:
    """One turn, followed to its end."""

    def __init__(self, runtime: Sojourn, session: str, prompt: str, screen: _Screen) -> None:
        self._runtime, self._session, self._prompt, self._screen = runtime, session, prompt, screen
        #: Tells this turn from others of the session before it has begun.
        self._key = f"run-{uuid.uuid4()}"
        self._interrupted = False
        self.reply: Reply | None = None
        #: What the turn waits for.
        self.asked: Sequence[Approval] = ()

    async def follow(self) -> int:
        """Show the turn as it goes; gives the exit code."""
        following = asyncio.create_task(self._show())
        with _on_interrupt(following, self._cancel) as stopping:
            try:
                code = await following
            except asyncio.CancelledError:
                if not self._interrupted:
                    raise
                await self._cancel()  # it may have been accepted at the last moment
                code = INTERRUPTED
            finally:
                await asyncio.gather(*stopping, return_exceptions=True)
        return INTERRUPTED if self._interrupted else code

    async def _show(self) -> int:
        last: Event | None = None
        async for event in self._runtime.stream(self._session, self._prompt, key=self._key):
            self._screen.show(event)
            last = event
        self._screen.end()
        if last is not None and last.kind is EventKind.TURN_WAITING and last.reply is not None:
            self.asked = last.reply.approvals
            return WAITING
        if last is not None and last.status is TurnStatus.COMPLETED:
            self.reply = last.reply
            self._screen.answer(last.reply)
            return OK
        if not self._interrupted:
            raise Refusal(self._why(last))
        tell("cancelled")
        return INTERRUPTED

    def _why(self, last: Event | None) -> str:
        if last is None or last.kind is not EventKind.TURN_ENDED:
            return f"the turn is gone: session {self._session} was deleted"
        return f"the turn {last.status or 'ended'}: {on_one_line(last.text)}"

    async def _cancel(self) -> bool:
        """Cancel this turn and no other of the session; False if there is nothing to cancel yet."""
        self._interrupted = True
        with suppress(SojournError):
            for turn in await self._runtime.turns(self._session):
                if turn.key == self._key:
                    await self._runtime.cancel(self._session, turn=turn.turn)
                    return True
        return False


@contextmanager
def _on_interrupt(
    following: asyncio.Task[int], cancel: Callable[[], Awaitable[bool]]
) -> Iterator[set[asyncio.Task[None]]]:
    """Ctrl-C cancels the turn; a second one, or one before the turn was accepted, ends the waiting for it."""
    loop, stopping = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def stop() -> None:
        if not await cancel():
            following.cancel()

    def interrupted() -> None:
        if stopping:
            following.cancel()
        else:
            stopping.add(asyncio.create_task(stop()))

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stopping
    finally:
        loop.remove_signal_handler(signal.SIGINT)


class _Screen:
    """Where a turn is shown: a terminal sees it being written, a file gets the answer alone."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._live = not json and sys.stdout.isatty()
        #: What stands on the terminal of the answer that is being written.
        self._shown = self._last = ""

    def show(self, event: Event) -> None:
        """An event of the turn."""
        if event.kind is EventKind.TEXT:
            self._write(event.text)
        elif event.kind is EventKind.MESSAGE and event.message is not None:
            if not self._shown and event.message.text and event.message.tool_calls:
                self._write(event.message.text)
            for call in event.message.tool_calls:
                self._note(f"→ {call.name}({call.arguments})")
        elif event.kind is EventKind.TOOL_RESULT and event.message is not None:
            self._note(f"← {event.message.tool_name}: {event.message.text}")
        elif event.kind in _NOTED:
            self._note(f"{_NOTED[event.kind]}{event.text}")

    def answer(self, reply: Reply | None) -> None:
        """The whole answer; a terminal may have seen it already."""
        if reply is None or self._json:
            return
        if not self._live:
            sys.stdout.write(reply.text.rstrip("\n") + "\n")
        elif self._last != reply.text:
            sys.stdout.write(visible(reply.text) + "\n")

    def end(self) -> None:
        """Nothing more comes."""
        self._last = self._shown
        self._break()

    def _write(self, text: str) -> None:
        if self._live:
            sys.stdout.write(visible(text))
            sys.stdout.flush()
            self._shown += text

    def _note(self, text: str) -> None:
        self._break()
        if not self._json:
            line = on_one_line(text)
            tell(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")

    def _break(self) -> None:
        """What follows stands on a line of its own."""
        if self._shown and not self._shown.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._shown = ""
