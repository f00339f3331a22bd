"""Where a person types, all the time: keys, past inputs, completion, and above it what may still change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prompt_toolkit import ANSI, PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Point
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples, split_lines, to_formatted_text
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.controls import UIContent
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import Style

PROMPT = "\u203a "

#: The same while an answer is written, into which more can be said.
INTO = "\u00bb "

_STYLE = Style.from_dict({"status": "fg:ansibrightblack", "prompt": "bold"})

#: Rows that the list of commands may take.
_MENU = 6

#: Rows that stay free above: some terminals keep in their history what is erased from the first row on.
_FREE = 1


class View(Protocol):
    """What is shown around the line that is typed, and who hears of it."""

    @property
    def answering_now(self) -> bool:
        """Whether an answer is written."""

    def above(self) -> Sequence[str]:
        """Lines over the prompt, each as wide as the terminal at most; they may have colours."""

    def status_line(self, width: int) -> str:
        """The line under it."""

    def entered(self, text: str) -> None:
        """Something was said."""

    def interrupted(self) -> bool:
        """Ctrl-C; whether that cancelled something."""

    def warn(self) -> None:
        """Ctrl-C in an empty line: the next one ends the chat."""


@dataclass(slots=True)
class _Asked:
    """A question of the program, or a text to be edited, instead of what is said."""

    answer: asyncio.Future[str | None]
    edits: bool
    #: What was being typed when it came.
    before: Document


class Prompt:
    """An application that runs as long as the chat does; what is above it is printed over it."""

    def __init__(self, commands: Mapping[str, str], view: View) -> None:
        self._view = view
        self._warned = False
        self._asked: _Asked | None = None
        self._said: asyncio.Queue[str | BaseException] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        speaking = Condition(lambda: self._asked is None)
        completing = Condition(lambda: _is_command(get_app().current_buffer.text))
        self._session: PromptSession[str] = PromptSession(
            lambda: [("class:prompt", INTO if self._asked is None and view.answering_now else PROMPT)],
            multiline=True,
            prompt_continuation=" " * len(PROMPT),
            history=InMemoryHistory(),
            completer=_Commands(commands),
            complete_while_typing=completing & speaking,
            reserve_space_for_menu=_MENU,
            key_bindings=self._keys(),
            style=_STYLE,
            color_depth=ColorDepth.from_env(),
            output=_output(),
            erase_when_done=True,
        )
        self._lay_out()

    # -- reading

    async def read(self) -> str:
        """What was said next. Raises EOFError at Ctrl-D in an empty line, or at a second Ctrl-C."""
        self.start()
        said = await self._said.get()
        if isinstance(said, BaseException):
            self._said.put_nowait(said)  # the end stays the end
            raise said
        return said

    async def ask(self, *, text: str = "", edits: bool = False) -> str | None:
        """An answer instead of what is said; None for none. With `edits` the text is changed, line by line."""
        self.start()
        buffer = self._session.default_buffer
        self._asked = _Asked(asyncio.get_running_loop().create_future(), edits, buffer.document)
        buffer.reset(Document(text))
        self.refresh()
        try:
            return await self._asked.answer
        finally:
            before, self._asked = self._asked.before, None
            buffer.reset(before)
            self.refresh()

    def remember(self, said: Sequence[str]) -> None:
        """What Up brings back, oldest first."""
        history = InMemoryHistory(said)
        self._session.history = history
        buffer = self._session.default_buffer
        buffer.history = history
        buffer.reset(buffer.document)

    def interrupt(self) -> None:
        """Ctrl-C that did not come as a key."""
        if self.running:
            self._session.app.key_processor.send_sigint()
        else:
            self._said.put_nowait(EOFError())

    # -- showing

    @property
    def running(self) -> bool:
        """Whether it is on the screen."""
        return self._session.app.is_running

    def refresh(self) -> None:
        """Something around it changed."""
        self._session.app.invalidate()

    def above(self, write: Callable[[], None]) -> None:
        """Take the prompt away, let something be written that stays, and draw the prompt under it."""
        # not `run_in_terminal`: in its moment of cooked mode a Ctrl-D that is typed would be lost
        app = self._session.app
        app.renderer.erase()
        write()
        app.renderer.render(app, app.layout)

    # -- life

    def start(self) -> None:
        """Come up, if it is not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sojourn-chat-prompt")

    async def close(self) -> None:
        """Go away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        end: BaseException = EOFError()
        try:
            # whatever else writes, such as a library's warning, comes above the prompt
            with patch_stdout(raw=True):
                await self._session.prompt_async(handle_sigint=False)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever reads is told
            end = error
        finally:
            self._said.put_nowait(end)
            if self._asked is not None and not self._asked.answer.done():
                self._asked.answer.set_result(None)

    # -- how it is built

    def _lay_out(self) -> None:
        """The prompt of the session, between what may still change and the status line."""
        layout = self._session.layout
        layout.current_window.dont_extend_height = Condition(lambda: True)
        above = Window(_Tail(self._view.above), dont_extend_height=True)
        status = Window(
            FormattedTextControl(lambda: self._view.status_line(get_app().output.get_size().columns)),
            height=1,
            style="class:status",
        )
        rest = Window()
        self._session.app.layout = Layout(_Region([above, layout.container, status, rest]), layout.current_window)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        editing = Condition(lambda: self._asked is not None and self._asked.edits)
        empty = Condition(lambda: not get_app().current_buffer.text)

        @keys.add("enter", filter=~editing)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.newline(copy_margin=False)
            else:
                self._enter(buffer)

        @keys.add("escape", "enter", filter=editing)
        def _(event: KeyPressEvent) -> None:
            self._enter(event.current_buffer)

        @keys.add("enter", filter=editing)
        @keys.add("escape", "enter", filter=~editing)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @keys.add("c-d", filter=empty)
        def _(event: KeyPressEvent) -> None:
            if not self._answered(None):
                event.app.exit(exception=EOFError)

        @keys.add("c-c")
        @keys.add(Keys.SIGINT)
        def _(event: KeyPressEvent) -> None:
            self._press(event.current_buffer)

        return keys

    def _enter(self, buffer: Buffer) -> None:
        text, self._warned = buffer.text, False
        if self._answered(text):
            return
        buffer.append_to_history()
        buffer.reset()
        if text.strip():
            self._view.entered(text)
            self._said.put_nowait(text)

    def _answered(self, text: str | None) -> bool:
        """Answer what is asked, if anything is."""
        if self._asked is None:
            return False
        if not self._asked.answer.done():
            self._asked.answer.set_result(text)
        return True

    def _press(self, buffer: Buffer) -> None:
        """Ctrl-C."""
        if self._answered(None) or self._view.interrupted():
            return
        if buffer.text:
            buffer.reset()
        elif self._warned:
            self._session.app.exit(exception=EOFError)
        else:
            self._warned = True
            self._view.warn()


class _Region(HSplit):
    """All that is drawn anew, in fewer rows than the terminal has."""

    def preferred_height(self, width: int, max_available_height: int) -> Dimension:
        wanted = super().preferred_height(width, max_available_height)
        most = max(1, max_available_height - _FREE)
        return Dimension(min=min(wanted.min, most), preferred=min(wanted.preferred, most))


class _Tail(FormattedTextControl):
    """Lines of which the last are shown where there is no room for all."""

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        self._lines = lines
        self._of: Sequence[str] = ()
        self._text: list[StyleAndTextTuples] = []
        super().__init__(focusable=False, show_cursor=False)

    def preferred_height(self, width: int, max_available_height: int, *_: object) -> int | None:
        return len(self._lines())

    def create_content(self, width: int, height: int | None) -> UIContent:
        lines = self._lines()
        if lines is not self._of:
            self._of = lines
            self._text = list(split_lines(to_formatted_text(ANSI("\n".join(lines))))) if lines else []
        text = self._text
        last = Point(0, max(0, len(text) - 1))
        return UIContent(lambda number: text[number], len(text), cursor_position=last, show_cursor=False)


def _output() -> Output:
    output = create_output()
    if isinstance(output, Vt100_Output):
        # where the cursor is need not be asked, as nothing hangs on the screen's lower edge
        output.enable_cpr = False
    return output


class _Commands(Completer):
    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if _is_command(typed):
            for name, help_ in self._commands.items():
                if name.startswith(typed):
                    yield Completion(name, -len(typed), display_meta=help_)


def _is_command(text: str) -> bool:
    """Whether it may become a command's name."""
    return text.startswith("/") and not text.startswith("//") and " " not in text and "\n" not in text
