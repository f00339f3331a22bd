"""A turn followed to its end on standard output: its answer there, everything else on standard error."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from sojourn.cli.exits import INTERRUPTED, OK, WAITS, Refusal
from sojourn.cli.notes import on_one_line, tell, visible
from sojourn.records import Approval, Event, EventKind, Reply, TurnStatus

#: No more of a tool's arguments or result is shown, characters.
_SHOWN = 200

#: What else is told of a turn while it runs.
_NOTED = {
    EventKind.MODEL_RETRY: "again: ",
    EventKind.TEXT_DROPPED: "what was written so far is void",
    EventKind.FEEDBACK: "told the model: ",
    EventKind.TURN_RESUMED: "interrupted before; goes on",
}


class Following:
    """One turn, followed until it ends or stops for people; Ctrl-C cancels it."""

    def __init__(
        self, session: str, events: AsyncIterator[Event], cancel: Callable[[], Awaitable[bool]], screen: Screen
    ) -> None:
        self._session, self._events, self._cancel, self._screen = session, events, cancel, screen
        self._interrupted = False
        #: How it ended, where it did so well or waits.
        self.reply: Reply | None = None

    @property
    def asked(self) -> Sequence[Approval]:
        """What the turn waits for."""
        return () if self.reply is None else self.reply.approvals

    async def follow(self) -> int:
        """Show the turn as it goes; gives the exit code. Raises Refusal for a turn that failed."""
        following = asyncio.create_task(self._show())
        with _on_interrupt(following, self._stop) as stopping:
            try:
                code = await following
            except asyncio.CancelledError:
                if not self._interrupted:
                    raise
                await self._stop()  # it may have been accepted at the last moment
                code = INTERRUPTED
            finally:
                await asyncio.gather(*stopping, return_exceptions=True)
        return INTERRUPTED if self._interrupted else code

    async def _show(self) -> int:
        last: Event | None = None
        async for event in self._events:
            self._screen.show(event)
            last = event
        self._screen.end()
        if last is not None and last.kind is EventKind.TURN_WAITING and last.reply is not None:
            self.reply = last.reply
            return WAITS
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
            gone = "reset" if last is not None and last.kind is EventKind.SESSION_RESET else "deleted"
            return f"the turn is gone: session {self._session} was {gone}"
        return f"the turn {last.status or 'ended'}: {on_one_line(last.text)}"

    async def _stop(self) -> bool:
        self._interrupted = True
        return await self._cancel()


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


class Screen:
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
