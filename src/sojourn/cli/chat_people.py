"""The commands of a chat about what a person decides beside talking: approvals, what is in line, the model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sojourn.cli import chat_decide
from sojourn.cli.chat_questions import Named, inbox_lines, remembered_lines
from sojourn.cli.notes import on_one_line
from sojourn.errors import InvalidInput, SessionExists, SessionNotFound

if TYPE_CHECKING:
    from sojourn.cli.chat import Chat

#: What is said behind /model to use the agent's own again.
_BACK = "back"


async def approvals(chat: Chat, _rest: str) -> None:
    """Show what waits, and put it again."""
    await chat_decide.list_questions(chat, chat.conversation())


async def approve(chat: Chat, rest: str) -> None:
    """Let a call run."""
    await _decide(chat, rest, yes=True)


async def deny(chat: Chat, rest: str) -> None:
    """Refuse a call."""
    await _decide(chat, rest, yes=False)


async def _decide(chat: Chat, rest: str, *, yes: bool) -> None:
    which, _, more = rest.partition(" ")
    await chat_decide.obey(chat, chat.conversation(), Named(yes, which, more.strip()))


async def remembered(chat: Chat, _rest: str) -> None:
    """Show what runs unasked, and forget some of it."""
    runtime = await chat.ready()
    found = list(await runtime.remembered())
    if not found:
        chat.screen.note("nothing runs unasked")
        return
    chat.screen.lines(remembered_lines(found))
    if not chat.screen.interactive:
        return
    answer = await chat.screen.ask("forget which, by numbers (nothing: keep all)?")
    for word in answer.replace(",", " ").split():
        number = _number("/remembered", word, len(found))
        if await runtime.forget(found[number - 1].id):
            chat.screen.note(f"{on_one_line(found[number - 1].tool)} is asked about again")


async def later(chat: Chat, text: str) -> None:
    """Say something behind what runs."""
    if not text:
        raise InvalidInput("/later", text, "what is to be said, behind it")
    await chat.later(text)


async def inbox(chat: Chat, _rest: str) -> None:
    """Show what is in line and what is held back."""
    runtime = await chat.ready()
    found = await runtime.inbox(chat.id)
    if found:
        chat.screen.lines(inbox_lines(found))
    else:
        chat.screen.note("nothing is in line or held back")


async def remove(chat: Chat, rest: str) -> None:
    """Take something out of the line."""
    runtime = await chat.ready()
    if not (rest.isascii() and rest.isdigit()):
        raise InvalidInput("/remove", rest, "a number that /inbox shows")
    removed = await runtime.remove(chat.id, int(rest[:15]))
    chat.screen.note("removed" if removed else f"there is no {rest}; /inbox shows what there is")
    await chat.conversation().look_at_inbox()


async def model(chat: Chat, wanted: str) -> None:
    """Show the session's model, or use another one."""
    runtime = await chat.ready()
    if not wanted:
        try:
            found = await runtime.model(chat.id)
        except SessionNotFound:
            found = {"model": chat.model}
        chat.screen.note(
            f"the model is {_named(found)}; /model PROVIDER/MODEL changes it, /model {_BACK} takes it back"
        )
        return
    with suppress(SessionExists):
        await runtime.create(chat.id)
    llm: dict[str, Any] | None = None
    if wanted != _BACK:
        provider, _, name = wanted.partition("/")
        if not name:
            raise InvalidInput("/model", wanted, f"PROVIDER/MODEL, or {_BACK}")
        llm = {"provider": provider.strip(), "model": name.strip()}
    found = await runtime.switch_model(chat.id, llm)
    chat.screen.note(f"from the next turn on the model is {_named(found)}")


def _named(found: Mapping[str, Any]) -> str:
    return on_one_line("/".join(str(found[key]) for key in ("provider", "model") if found.get(key)))


def _number(what: str, word: str, most: int) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= most):
        raise InvalidInput(what, word, f"a number from 1 to {most}")
    return int(word)
