"""What the commands of `sojourn sessions` do; each gives an exit code."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sojourn.cli import tables
from sojourn.cli.exits import FAILED, OK, USAGE, Refusal
from sojourn.cli.finding import every, find, find_all
from sojourn.cli.notes import errors, on_one_line, tell
from sojourn.cli.place import Opened, Place, file_of, opened, shown_address
from sojourn.cli.shapes import approval_shape, hit_shape, message_shape, queued_shape, session_shape, turn_shape
from sojourn.records import Direction, Message, Role, Session, SessionOrder, SessionStatus, TurnStatus
from sojourn.sessions.scope import Scope

#: How many lines of a table are drawn at once, so that the first of many come soon.
_DRAWN = 200

#: How many of a session's turns that did not end well `show` names.
_TROUBLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which sessions `list` is asked for."""

    query: str | None
    status: Sequence[SessionStatus] | None
    #: An id, or the beginning of one.
    parent: str | None
    active_since: datetime | None
    active_before: datetime | None
    order: SessionOrder
    reverse: bool
    limit: int
    after: str | None
    all: bool

    @property
    def chosen(self) -> bool:
        """Whether some are left out, whatever they say."""
        return any(one is not None for one in (self.status, self.parent, self.active_since, self.active_before))

    async def asked(self, scope: Scope) -> Mapping[str, Any]:
        """What `Scope.sessions` is asked for them; raises as `find` does."""
        turned = Direction.DESCENDING if self.order is SessionOrder.ID else Direction.ASCENDING
        return {
            "query": self.query, "status": self.status, "active_since": self.active_since,
            "active_before": self.active_before, "order": self.order, "direction": turned if self.reverse else None,
            "parent": None if self.parent is None else (await find(scope, self.parent)).id,
        }  # fmt: skip


async def list_sessions(place: Place, wanted: Listing) -> int:
    """Sessions, newest activity first or as they are wanted."""
    async with opened(place) as open_:
        asked = await wanted.asked(open_.scope)
        if wanted.all:
            return await _list_all(place, open_, asked)
        page = await open_.scope.sessions(**asked, limit=wanted.limit, after=wanted.after)
    if place.json:
        _print_json({"sessions": [session_shape(session) for session in page.sessions], "next": page.next})
        return OK
    _show_list(page.sessions)
    if not page.sessions:
        tell(_nothing(open_, wanted.query, chosen=wanted.chosen))
    if page.next is not None:
        tell(f"more with --after {page.next}, or all with --all")
    return OK


async def _list_all(place: Place, open_: Opened, asked: Mapping[str, Any]) -> int:
    """Every session, drawn or printed while the next are read."""
    if not place.json:
        pile: list[Session] = []
        async with aclosing(every(open_.scope, **asked)) as sessions:
            async for session in sessions:
                pile.append(session)
                if len(pile) == _DRAWN:
                    _show_list(pile)
                    pile.clear()
        _show_list(pile)
        return OK
    before = '{"sessions": ['
    async for session in every(open_.scope, **asked):
        sys.stdout.write(before + json.dumps(session_shape(session), ensure_ascii=False))
        before = ",\n"
    sys.stdout.write(("" if before == ",\n" else before) + '], "next": null}\n')
    return OK


def _show_list(sessions: Sequence[Session]) -> None:
    if sessions:
        tables.show_sessions(tables.output(), sessions, now=tables.right_now())


def _nothing(open_: Opened, query: str | None, *, chosen: bool = False) -> str:
    if not open_.exists:
        return f"no conversations yet: there is no {shown_address(open_.address)}"
    said = "" if query is None else f" has {on_one_line(query)!r}"
    if chosen:
        return f"no conversation of those asked for{said or ' is there'}"
    return f"no conversation{said}" if said else "no conversations yet"


async def show(place: Place, id: str) -> int:
    """One session."""
    async with opened(place) as open_:
        session = await find(open_.scope, id)
        turns, inbox = await open_.scope.turns(session.id), await open_.scope.inbox(session.id)
        asked, state = await open_.scope.approvals(session.id), await open_.scope.state(session.id)
    if place.json:
        _print_json({
            **session_shape(session), "turns": [turn_shape(turn) for turn in turns],
            "inbox": [queued_shape(item) for item in inbox],
            "approvals": [approval_shape(one) for one in asked], "state": state,
        })  # fmt: skip
        return OK
    console, now = tables.output(), tables.right_now()
    tables.show_session(console, session, now=now)
    troubles = [turn for turn in turns if turn.status is not TurnStatus.COMPLETED]
    tables.show_turns(console, troubles[-_TROUBLES:], now=now)
    if state:
        console.print("[dim]state[/dim]")
        console.print(f"  {on_one_line(json.dumps(state, ensure_ascii=False))}", markup=False, soft_wrap=True)
    if asked:
        console.print("[dim]waits for decisions[/dim]")
        tables.show_approvals(console, asked, now=now)
    if inbox:
        console.print("[dim]inbox[/dim]")
        tables.show_inbox(console, inbox)
    return OK


async def history(place: Place, id: str, *, limit: int, before: int | None, everything: bool) -> int:
    """Messages of a session, oldest first: the newest `limit` of those before the number `before`, or all."""
    async with opened(place) as open_:
        session = await find(open_.scope, id)
        found = await open_.scope.history(session.id, before=before, limit=None if everything else limit)
        older = await _older(open_.scope, session.id, found)
    if place.json:
        messages = [message_shape(message) for message in found]
        _print_json({"sessionId": session.id, "history": messages, "before": older})
        return OK
    tables.show_messages(tables.output(), found)
    if older is not None:
        tell(f"older ones with --before {older}, or all with --all")
    return OK


async def _older(scope: Scope, id: str, shown: Sequence[Message]) -> int | None:
    """Where the messages before these end; None if there are none."""
    if not shown or not await scope.history(id, before=shown[0].seq, limit=1):
        return None
    return shown[0].seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What `search` is asked for."""

    query: str
    session: str | None
    role: Role | None
    limit: int
    after: str | None


async def search(place: Place, wanted: Search) -> int:
    """Messages by their words, the last said first."""
    async with opened(place) as open_:
        session = None if wanted.session is None else (await find(open_.scope, wanted.session)).id
        found = await open_.scope.search(
            wanted.query, id=session, role=wanted.role, limit=wanted.limit, after=wanted.after
        )
    if place.json:
        results = [hit_shape(hit) for hit in found.hits]
        _print_json({"results": results, "total": found.total, "totalIsExact": found.exact, "next": found.next})
        return OK
    tables.show_hits(tables.output(), found.hits)
    if not found.hits:
        tell(_unsaid(open_, wanted))
    if found.next is not None:
        most = f"{found.total:,}" if found.exact else f"more than {found.total:,}"
        tell(f"{most} in all; more with --after {found.next}")
    return OK


def _unsaid(open_: Opened, wanted: Search) -> str:
    if wanted.role is Role.TOOL:
        return "what tools returned is not searched"
    if not open_.exists:
        return _nothing(open_, wanted.query)
    return f"no message has {on_one_line(wanted.query)!r}"


async def rename(place: Place, id: str, title: str) -> int:
    """Give a session a title."""
    async with opened(place) as open_:
        session = await open_.scope.rename((await find(open_.scope, id)).id, title)
    _report(place, session, f"session {session.id} is now {session.title!r}")
    return OK


async def fork(place: Place, id: str, *, at: int | None, new_id: str | None, title: str | None) -> int:
    """Begin a second session with the same history."""
    async with opened(place) as open_:
        parent = await find(open_.scope, id)
        session = await open_.scope.fork(parent.id, at=at, new_id=new_id, title=title)
    _report(place, session, f"{session.message_count} messages of {parent.id}: {session.title}")
    if not place.json:
        print(session.id)  # noqa: T201 - what a script takes from it
    return OK


async def unload(place: Place, id: str) -> int:
    """Say where a session could be unloaded: this process holds none."""
    async with opened(place) as open_:
        session = await find(open_.scope, id)
    raise Refusal(
        f"nothing was unloaded: only the process that serves session {session.id} can hold it in memory, and this "
        "command is another one; there it leaves by itself when it was idle for sessionTTL"
    )


async def delete(place: Place, ids: Sequence[str], *, yes: bool) -> int:
    """Remove sessions and every trace of them, when a person said yes."""
    async with opened(place) as open_:
        sessions = await find_all(open_.scope, ids)
        if not yes and not _agreed(sessions):
            tell("nothing was deleted")
            return FAILED
        gone = [session.id for session in sessions if await open_.scope.delete(session.id)]
        while await open_.runtime.core.store.purge():  # no trace is left when the command ends
            pass
    if place.json:
        _print_json({"deleted": gone})
    else:
        tell(f"deleted {', '.join(gone)}")
    return OK


def _agreed(sessions: Sequence[Session]) -> bool:
    if not sys.stdin.isatty():
        raise Refusal("deleting needs a yes, and there is no terminal to ask in; give --yes", USAGE)
    from rich.prompt import Confirm

    for session in sessions:
        errors().print(f"{session.id}  {on_one_line(session.title or '')}", markup=False)
    what = "this conversation" if len(sessions) == 1 else f"these {len(sessions)} conversations"
    # the event loop's own handler would wait for the line that is being asked for
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return Confirm.ask(f"Delete {what} for ever?", default=False, console=errors())
    except EOFError:
        return False
    finally:
        signal.signal(signal.SIGINT, handler)


async def stats(place: Place) -> int:
    """How many sessions are stored, and what bounds those in memory."""
    async with opened(place) as open_:
        stored = (await open_.runtime.statistics()).stored
    file = file_of(open_.address)
    size = file.stat().st_size if file is not None and file.exists() else 0
    bound, ttl = _bounds(open_)
    if place.json:
        _print_json({
            "totalSessions": stored, "inMemorySessions": None, "maxSessions": bound, "sessionTTL": ttl,
            "storage": open_.address, "storageBytes": size,
        })  # fmt: skip
        return OK
    facts = {
        "stored": f"{stored:,} of all users",
        "live": f"only the process that serves them knows; at most {bound:,}, idle ones for {ttl / 60_000:g} min",
        "database": f"{shown_address(open_.address)}, {size / 1024:,.0f} KiB",
    }
    console = tables.output()
    for name, value in facts.items():
        console.print(f"[dim]{name:<10}[/dim]", end="")
        console.print(value, markup=False, soft_wrap=True)
    return OK


def _bounds(open_: Opened) -> tuple[int, int]:
    """How many sessions the agent's process may hold, and how long an idle one, milliseconds."""
    if open_.configuration is not None:
        sessions = open_.configuration.agent.sessions
        return sessions.max_sessions, sessions.session_ttl
    settings = open_.runtime.settings
    return settings.max_sessions, round(settings.session_ttl.total_seconds() * 1000)


def _report(place: Place, session: Session, sentence: str) -> None:
    if place.json:
        _print_json(session_shape(session))
    else:
        tell(sentence)


def _print_json(shape: Any) -> None:
    json.dump(shape, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")
