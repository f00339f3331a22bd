"""The person in front of a turn that stopped: each question is put, answered, left for later or found decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sojourn.cli.chat_questions import SHORT, Named, Question, Verb, named, numbered, pretty, understood, whole
from sojourn.errors import InvalidInput
from sojourn.records import Approval, Remember

if TYPE_CHECKING:
    from sojourn.cli.chat import Chat
    from sojourn.cli.chat_session import Conversation


async def put(chat: Chat, conversation: Conversation, open_: Sequence[Approval], count: int) -> None:
    """Put the first of the open questions, and do what the person answers. Raises as a chat's commands do."""
    question = open_[0]
    put_as = Question(question, count - len(open_) + 1, count, await chat.about(question.tool))
    settled = asyncio.create_task(conversation.settled(question), name="sojourn-chat-question")
    chat.screen.question(put_as)
    try:
        line = await chat.line_or(settled)
        over = settled.done()
    finally:
        settled.cancel()
        await asyncio.gather(settled, return_exceptions=True)
        chat.screen.no_question()
    if not over:
        if line is not None and line.strip():
            await _judge(chat, conversation, question, line)
        return
    chat.vanished = True
    if line is None:
        await _go_on(chat, conversation, question)
    elif line.strip():
        await chat.obey_or_say(line)


async def obey(chat: Chat, conversation: Conversation, decision: Named) -> None:
    """Do what a line decides that names its question, or "all". Raises InvalidInput, SojournError."""
    waiting = await conversation.questions()
    chosen = [one for one in waiting if decision.id in {"all", one.id}]
    chosen = chosen or [one for one in waiting if decision.id and one.id.startswith(decision.id)]
    if not chosen or (len(chosen) > 1 and decision.id != "all"):
        known = ", ".join(one.id[:SHORT] for one in waiting)
        raise InvalidInput("approval", decision.id, f"one of {known}, or all" if known else "none: nothing waits")
    for question in chosen:
        if decision.yes:
            always = decision.rest == "always"
            changed = _object(decision.rest) if decision.rest and not always else None
            await _approve(chat, conversation, question, changed, Remember.SESSION if always else None)
        else:
            await _deny(chat, conversation, question, decision.rest)


async def _judge(chat: Chat, conversation: Conversation, question: Approval, line: str) -> None:
    found = understood(line) if chat.screen.interactive else None
    if (decision := named(line)) is not None:
        await obey(chat, conversation, decision)
    elif found is None:
        await chat.obey_or_say(line)
    else:
        await _do(chat, conversation, question, *found)


async def _do(chat: Chat, conversation: Conversation, question: Approval, verb: Verb, rest: str) -> None:
    match verb:
        case Verb.YES | Verb.ALWAYS:
            remember = Remember.SESSION if verb is Verb.ALWAYS else None
            await _approve(chat, conversation, question, None, remember)
        case Verb.NO:
            reason = rest or await chat.screen.ask("why? the model is told (nothing: no reason)")
            await _deny(chat, conversation, question, reason)
        case Verb.EDIT:
            await _edit(chat, conversation, question)
        case Verb.SHOW:
            chat.screen.lines(whole(question))
        case Verb.LATER:
            conversation.deferred.add(question.id)
            chat.screen.note(f"{question.id[:SHORT]} waits; /approvals comes back to it")


async def _approve(
    chat: Chat,
    conversation: Conversation,
    question: Approval,
    changed: Mapping[str, Any] | None,
    remember: Remember | None,
) -> None:
    runtime = await chat.ready()
    conversation.decides(question)
    await runtime.approve(chat.id, question.id, arguments=changed, remember=remember)
    await _go_on(chat, conversation, question)


async def _deny(chat: Chat, conversation: Conversation, question: Approval, reason: str) -> None:
    runtime = await chat.ready()
    conversation.decides(question)
    await runtime.deny(chat.id, question.id, reason=reason or None)
    await _go_on(chat, conversation, question)


async def _edit(chat: Chat, conversation: Conversation, question: Approval) -> None:
    text: str | None = pretty(question.arguments)
    before = text
    while (text := await chat.screen.edit(text or "")) is not None:
        try:
            changed = _object(text)
        except InvalidInput as error:
            chat.screen.fault(str(error))
            continue
        await _approve(chat, conversation, question, None if text == before else changed, None)
        return
    chat.screen.note(f"the arguments stay as they are; `approve {question.id[:SHORT]} JSON` changes them too")


def _object(text: str) -> Mapping[str, Any]:
    """Arguments that a person wrote; raises InvalidInput."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput("arguments", text, f"a JSON object ({error})") from error
    if not isinstance(found, dict):
        raise InvalidInput("arguments", text, "a JSON object")
    return found


async def _go_on(chat: Chat, conversation: Conversation, question: Approval) -> None:
    """Behind the last decision the turn goes on, and is shown."""
    if not await conversation.questions():
        await chat.answer(conversation.shown(question.turn))


async def list_questions(chat: Chat, conversation: Conversation) -> None:
    """Show what waits, and put it again."""
    waiting = await conversation.questions()
    conversation.deferred.clear()
    if waiting:
        chat.screen.lines(numbered(waiting))
    else:
        chat.screen.note("nothing waits for a decision")
