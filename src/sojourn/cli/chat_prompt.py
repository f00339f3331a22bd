"""Where a person types: keys, the past inputs, completion of commands, the status line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.styles import Style

PROMPT = "\u203a "

_STYLE = Style.from_dict({"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold"})

#: Rows that the list of commands may take.
_MENU = 6


class Prompt:
    """Reads what is said; raises EOFError at Ctrl-D in an empty one, or at a second Ctrl-C."""

    def __init__(self, commands: Mapping[str, str], status: Callable[[int], str], warn: Callable[[], None]) -> None:
        self._status, self._warn = status, warn
        self._warned = False
        completing = Condition(lambda: _is_command(get_app().current_buffer.text))
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", PROMPT)],
            multiline=True,
            prompt_continuation=" " * len(PROMPT),
            history=InMemoryHistory(),
            completer=_Commands(commands),
            complete_while_typing=completing,
            reserve_space_for_menu=_MENU,
            bottom_toolbar=lambda: self._status(get_app().output.get_size().columns),
            key_bindings=self._keys(),
            style=_STYLE,
            color_depth=ColorDepth.from_env(),
        )

    async def read(self) -> str:
        """What was typed."""
        self._warned = False
        return await self._session.prompt_async(handle_sigint=False)

    def remember(self, said: Sequence[str]) -> None:
        """What Up brings back, oldest first."""
        history = InMemoryHistory(said)
        self._session.history = history
        self._session.default_buffer.history = history
        self._session.default_buffer.reset()

    def interrupt(self) -> None:
        """Ctrl-C that did not come as a key."""
        if self._session.app.is_running:
            self._session.app.key_processor.send_sigint()

    def refresh(self) -> None:
        """The status changed."""
        self._session.app.invalidate()

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.newline(copy_margin=False)
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @keys.add("c-c")
        @keys.add(Keys.SIGINT)
        def _(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            elif self._warned:
                event.app.exit(exception=EOFError)
            else:
                self._warned = True
                self._warn()

        return keys


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
