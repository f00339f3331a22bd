"""`sojourn run`: one thing said, the answer on standard output and everything else on standard error."""

from __future__ import annotations

import json
import os
import shlex
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sojourn.bootstrap import Sojourn
from sojourn.cli.exits import OK, USAGE, WAITS, Refusal
from sojourn.cli.following import Following, Screen
from sojourn.cli.notes import on_one_line, tell
from sojourn.cli.place import address_of, agent_runtime, configuration_of, options_of, shown_address
from sojourn.cli.shapes import reply_shape
from sojourn.errors import SessionNotFound, SojournError
from sojourn.records import SessionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `run` is asked for."""

    prompt: str | None
    session: str | None
    agent: Path | None
    storage: str | None
    json: bool = False
    #: Whether a turn that waits for people may be given up for this.
    supersede: bool = False


async def say_once(wanted: Wanted) -> int:
    """Say it, show the answer; Ctrl-C cancels the turn."""
    prompt = _prompt(wanted.prompt)
    configuration = configuration_of(wanted.agent)
    address = address_of(configuration, wanted.storage)
    if configuration is None and not wanted.json:
        where = shown_address(address)
        tell(f"demo agent, which is no language model, in {where}; `sojourn init` makes an agent of your own")
    session = wanted.session or str(uuid.uuid4())
    async with agent_runtime(configuration, wanted.storage) as runtime:
        if not wanted.supersede:
            await _refuse_waiting(runtime, session, wanted)
        key = f"run-{uuid.uuid4()}"  # tells this turn from others of the session before it has begun
        events = runtime.stream(session, prompt, key=key)
        said = Following(session, events, lambda: _cancel(runtime, session, key), Screen(json=wanted.json))
        code = await said.follow()
    if said.reply is not None and wanted.json:
        sys.stdout.write(json.dumps(reply_shape(session, said.reply), ensure_ascii=False) + "\n")
    elif code in {OK, WAITS} and address == "memory:":
        waited = "" if code == OK else f"the turn waited for people ({', '.join(one.tool for one in said.asked)}); "
        tell(f"{waited}the conversation was in memory only, and is gone")
    elif code == OK:
        tell(f"session {session}; go on with: {_again(wanted, session)} …")
    elif code == WAITS:
        from sojourn.cli.deciding import tell_waiting

        tell_waiting(said.asked, wanted.agent, wanted.storage)
    return code


async def _refuse_waiting(runtime: Sojourn, session: str, wanted: Wanted) -> None:
    """Raises Refusal if a turn of the session waits for people: what is said now would give it up."""
    with suppress(SessionNotFound):
        if (await runtime.get(session)).status is not SessionStatus.WAITING:
            return
        asked = await runtime.approvals(session)
        named = shlex.join(["sojourn", "approvals", "list", *options_of(wanted.agent, wanted.storage)])
        tools = on_one_line(", ".join(one.tool for one in asked))
        raise Refusal(
            f"session {session} waits for a decision about {tools}; decide with `sojourn approvals approve ID` or "
            f"`deny ID` (`{named}` shows the ids), or give --supersede to give the waiting turn up"
        )


async def _cancel(runtime: Sojourn, session: str, key: str) -> bool:
    """Cancel this turn and no other of the session; False if there is nothing to cancel yet."""
    with suppress(SojournError):
        for turn in await runtime.turns(session):
            if turn.key == key:
                await runtime.cancel(session, turn=turn.turn)
                return True
    return False


def _prompt(given: str | None) -> str:
    """What is to be said: the argument, or standard input where that is `-` or nothing and no terminal."""
    if given is None and sys.stdin.isatty():
        raise Refusal("nothing to say; give a prompt, or pipe one in: echo hello | sojourn run -", USAGE)
    piped = given in {None, "-"}
    where = "standard input" if piped else "the prompt"
    try:
        # not what the interpreter makes of it: that is text in any locale, and no UTF-8 any more
        text = sys.stdin.buffer.read().decode() if piped else os.fsencode(str(given)).decode()
    except UnicodeError as error:
        raise Refusal(f"{where} is no text in UTF-8", USAGE) from error
    if not text.strip():
        raise Refusal(f"{where} is empty; say something", USAGE)
    return text.removesuffix("\n").removesuffix("\r") if piped else text


def _again(wanted: Wanted, session: str) -> str:
    return shlex.join(["sojourn", "run", *options_of(wanted.agent, wanted.storage), "--session", session])
