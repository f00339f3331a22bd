"""A conversation as plain lines, for pipes, scripts and terminals that can do no more."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from sojourn.cli.chat_questions import SHORT, Question
from sojourn.cli.chat_screen import Screen
from sojourn.cli.notes import visible
from sojourn.records import Message

PROMPT = "> "

HINT_PLAIN = "approve {0}, approve {0} always, approve {0} JSON (other arguments), or deny {0} REASON"


class PlainScreen(Screen):
    """Answers go to standard output, everything else to standard error; not one control character is written."""

    def __init__(self) -> None:
        super().__init__()
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self._typed = self.interactive = sys.stdin.isatty()
        #: Whether somebody sees the answer while it is written; a program that reads it wants no void text.
        self._watched = sys.stdout.isatty()
        self._waiting: list[str] = []
        #: Whether the last line on standard output has no end yet.
        self._open = False
        self._line: asyncio.Future[str] | None = None
        self._on_interrupt: Callable[[], None] | None = None
        self._warned = False
        #: The questions that were shown.
        self._put: set[str] = set()
        #: Ended by Ctrl-C where nobody types.
        self.interrupted = False

    # -- reading

    async def read(self) -> str:
        lines: list[str] = []
        while True:
            line = await self._read_line(PROMPT)
            if not line:
                if self._typed and self._watched:
                    self._write("\n")  # behind the prompt
                raise EOFError
            self._warned = False
            text = line.removesuffix("\n").removesuffix("\r")
            if not text.endswith("\\"):
                return visible("\n".join([*lines, text]))
            lines.append(text[:-1])

    async def ask(self, question: str) -> str:
        return (await self._read_line(f"{visible(question)} ")).strip()

    async def _read_line(self, prompt: str) -> str:
        """A line with its end; empty at the end of the input."""
        if self._typed and self._watched:
            self._write(prompt)
            self._open = False
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str] = loop.create_future()
        self._line = line

        def give(text: str) -> None:
            if not line.done():
                line.set_result(text)

        def wait() -> None:
            text = ""
            with suppress(OSError, ValueError):
                text = sys.stdin.readline()
            with suppress(RuntimeError):  # the loop is closed: the program ended while nobody typed
                loop.call_soon_threadsafe(give, text)

        # a daemon: a line that nobody will type must not keep the program
        threading.Thread(target=wait, name="sojourn-chat-input", daemon=True).start()
        try:
            return await line
        finally:
            self._line = None

    @contextmanager
    def answering(self, interrupt: Callable[[], None]) -> Iterator[None]:
        self._on_interrupt = interrupt
        try:
            yield
        finally:
            self._on_interrupt = None

    def interrupt(self) -> None:
        if not self._typed:
            self.interrupted = True
        if self._on_interrupt is not None:
            self._on_interrupt()
        if self._line is None or self._line.done():
            return
        if not self._typed or self._warned:
            self._line.set_result("")
        else:
            self._warned = True
            self.note("Ctrl-D or /exit ends the chat; Ctrl-C again does too")

    def remember(self, said: Sequence[str]) -> None:
        """Lines are not edited here."""

    # -- showing

    def note(self, text: str) -> None:
        self._end_line()
        self._err(visible(text))

    def fault(self, text: str) -> None:
        self._end_line()
        self._err(f"error: {visible(text)}")

    def lines(self, lines: Sequence[str]) -> None:
        self._end_line()
        for line in lines:
            self._write(visible(line) + "\n")

    def said(self, text: str) -> None:
        if self._watched:
            self._end_line()
            self._write(f"{PROMPT}{visible(text)}\n")

    def greet(self, text: str) -> None:
        if self._watched:
            super().greet(text)

    def past(self, messages: Sequence[Message], earlier: int, ends: Mapping[int, str]) -> None:
        if self._watched:  # a program that reads answers wants the new ones
            super().past(messages, earlier, ends)

    def question(self, question: Question) -> None:
        if question.approval.id not in self._put:
            self._put.add(question.approval.id)
            for line in question.card():
                self.note(line)
            self.note(f"  {HINT_PLAIN.format(question.approval.id[:SHORT])}")

    def _piece(self, text: str) -> None:
        if self._watched:
            self._write(text)
        else:
            self._waiting.append(text)

    def _settle(self) -> None:
        if self._waiting:
            self._write("".join(self._waiting))
            self._waiting.clear()
        self._end_line()

    def _void(self) -> None:
        if self._waiting:
            self._waiting.clear()
        elif self._watched:
            self.note("[what was written of this answer is void]")

    def _called(self, line: str) -> None:
        self.note(line)

    def _running(self, lines: Sequence[str]) -> None:
        """Calls are told when they have ended."""

    def _end_line(self) -> None:
        if self._open:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._open = not text.endswith("\n")

    def _err(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
