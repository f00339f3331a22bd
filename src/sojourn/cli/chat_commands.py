"""What a line that begins with a slash does."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sojourn.cli import chat_people
from sojourn.cli.chat_start import ends_of
from sojourn.cli.chat_words import as_markdown, chosen, cut, listed, name_of
from sojourn.errors import InvalidInput, SessionNotFound

if TYPE_CHECKING:
    from sojourn.cli.chat import Chat

#: How many sessions are listed to choose from.
LISTED = 20

#: How many messages /history shows unless it is told another number.
HISTORY = 1000

YES = frozenset({"y", "yes"})


class Leave(Exception):
    """The person wants to go."""


async def obey(chat: Chat, line: str) -> None:
    """Do what a line that begins with a slash says. Raises Leave, SojournError, OSError."""
    name, _, rest = line.strip().partition(" ")
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "/help lists the commands"
        chat.screen.fault(f"no command {cut(name, 40)}: {hint} (a message that begins with a slash is typed with two)")
        return
    await COMMANDS[name][0](chat, rest.strip())


async def _new(chat: Chat, _rest: str) -> None:
    await chat.enter(str(uuid.uuid4()))


async def _sessions(chat: Chat, words: str) -> None:
    runtime = await chat.ready()
    page = await runtime.sessions(query=words or None, limit=LISTED)
    if not page.sessions:
        chat.screen.note(f"no session has {words!r}" if words else "there are no sessions yet")
        return
    chat.screen.lines(listed(page.sessions))
    if page.next is not None:
        chat.screen.note(f"these are the newest {LISTED}; /sessions WORDS looks for others")
    answer = await chat.screen.ask("which one, by number or id (nothing: stay here)?")
    if not answer:
        return
    if (found := chosen(answer, page.sessions)) is None:
        chat.screen.fault(f"{cut(answer, 40)!r} is none of these, or more than one")
    else:
        await chat.enter(found.id)


async def _rename(chat: Chat, title: str) -> None:
    runtime = await chat.ready()
    if not title:
        raise InvalidInput("/rename", title, "a title behind it")
    session = await runtime.rename(chat.id, title)
    chat.screen.note(f"renamed to {name_of(session, 200)}")


async def _clear(chat: Chat, _rest: str) -> None:
    if not await chat.conversation().clear():
        chat.screen.note("nothing was said since the context was cleared")


async def _fork(chat: Chat, _rest: str) -> None:
    runtime = await chat.ready()
    await chat.enter((await runtime.fork(chat.id)).id)


async def _export(chat: Chat, name: str) -> None:
    runtime = await chat.ready()
    session = await runtime.get(chat.id)
    file = _file(name or f"conversation-{datetime.now().astimezone():%Y-%m-%d}-{chat.id[:6]}.md")
    if file.suffix == ".md":
        text = as_markdown(session, await runtime.history(chat.id))
    elif file.suffix == ".jsonl":
        text = "".join([line async for line in runtime.export(chat.id)])
    else:
        raise InvalidInput("/export", str(file), "a file name that ends with .md or .jsonl")
    _write(file, text)
    chat.screen.note(f"written to {file}")


def _file(name: str) -> Path:
    return Path(name).expanduser()


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as page:
            page.write(text)
    except FileExistsError as error:
        raise InvalidInput("/export", str(file), "the name of a file that is not there yet") from error


async def _history(chat: Chat, number: str) -> None:
    runtime = await chat.ready()
    limit = HISTORY
    if number:
        if not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= HISTORY):
            raise InvalidInput("/history", number, f"how many messages, 1 to {HISTORY}")
        limit = int(number)
    messages = await runtime.history(chat.id, limit=limit)
    chat.screen.past(messages, 0, await ends_of(runtime, chat.id, messages))
    more = (await runtime.get(chat.id)).message_count - len(messages)
    if number == "" and more > 0:
        chat.screen.note(f"these are the newest {HISTORY}; /export writes all into a file")


async def _delete(chat: Chat, _rest: str) -> None:
    runtime = await chat.ready()
    session = await runtime.get(chat.id)
    answer = await chat.screen.ask(
        f"delete {name_of(session)!r} with {session.message_count} messages, for good? [y/N]"
    )
    if answer.casefold() not in YES:
        chat.screen.note("nothing was deleted")
        return
    await chat.leave()
    await runtime.delete(session.id)
    chat.screen.note("deleted")
    await chat.enter(str(uuid.uuid4()))


async def _resume(chat: Chat, _rest: str) -> None:
    runtime = await chat.ready()
    turns = await runtime.resume(chat.id)
    if not turns:
        chat.screen.note("nothing is held back")
    for turn in turns:
        await chat.answer(chat.conversation().shown(turn))


async def _discard(chat: Chat, _rest: str) -> None:
    runtime = await chat.ready()
    turns = await runtime.discard(chat.id)
    chat.screen.note(f"dropped: {len(turns)}" if turns else "nothing is held back")


async def _help(chat: Chat, _rest: str) -> None:
    width = max(len(_usage(name)) for name in COMMANDS)
    keys = ["", "Alt-Enter, or a backslash at the end of a line, begins a new line. Up brings back what was said."]
    keys += ["While an answer is written, Enter says what was typed into it; /later says it afterwards."]
    keys += ["Ctrl-C cancels an answer or clears the line; Ctrl-D ends the chat. // sends a line that begins with /."]
    chat.screen.lines([*(f"{_usage(name):<{width}}  {help_}" for name, (_, _, help_) in COMMANDS.items()), *keys])


async def _exit(_chat: Chat, _rest: str) -> None:
    raise Leave


def _usage(name: str) -> str:
    return f"{name} {COMMANDS[name][1]}".strip()


#: In these the person goes elsewhere, and the answer that is written goes on unseen.
LEAVING = frozenset({"/new", "/sessions", "/fork", "/delete"})

Run: TypeAlias = "Callable[[Chat, str], Awaitable[None]]"

#: Name: what it does in code, what stands behind it, what it does in words.
COMMANDS: dict[str, tuple[Run, str, str]] = {
    "/new": (_new, "", "begin a new session"),
    "/sessions": (_sessions, "[WORDS]", "go to another session: the newest, or those with all these words"),
    "/rename": (_rename, "TITLE", "give this session a title"),
    "/clear": (_clear, "", "let the agent forget what was said here; /history still shows it"),
    "/fork": (_fork, "", "go on in a copy of this session"),
    "/export": (_export, "[FILE]", "write this session into a file, .md for people or .jsonl for `load`"),
    "/history": (_history, "[NUMBER]", "show what was said, or the last NUMBER messages"),
    "/approvals": (chat_people.approvals, "", "come back to the calls that wait for a decision"),
    "/approve": (
        chat_people.approve,
        "ID [always|JSON]",
        "let a call run, always in this session or with other arguments",
    ),
    "/deny": (chat_people.deny, "ID [REASON]", "refuse a call"),
    "/remembered": (chat_people.remembered, "", "show what runs unasked, and forget some of it"),
    "/later": (chat_people.later, "TEXT", "say it when the answer is over"),
    "/inbox": (chat_people.inbox, "", "show what is in line or held back"),
    "/remove": (chat_people.remove, "NUMBER", "take it out of the line"),
    "/model": (chat_people.model, "[PROVIDER/MODEL|back]", "show or change this session's model"),
    "/resume": (_resume, "", "let what is held back go on"),
    "/discard": (_discard, "", "drop what is held back"),
    "/delete": (_delete, "", "delete this session, after a question"),
    "/help": (_help, "", "show this"),
    "/exit": (_exit, "", "end the chat; the session stays"),
}


def missing(error: SessionNotFound, id: str) -> str:
    """The sentence for a command that needs a session in which nothing was said yet."""
    return "nothing was said in this session yet" if error.session == id else str(error)
