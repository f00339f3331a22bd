"""How sessions and messages are shown to people: as wide as the terminal is, with ids that can be copied."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sojourn.cli.notes import on_one_line, visible
from sojourn.records import Approval, Message, QueuedInput, Role, SearchHit, Session, SessionStatus, Turn, Usage

#: What a title needs beside an id to be worth a column, characters.
_LEAST_TITLE = 16

#: What the other columns and the space between them take, characters.
_BESIDE = 24

#: No line is cut where the output is no terminal.
_UNBOUNDED = 400

_COLOURS = {Role.USER: "cyan", Role.ASSISTANT: "green", Role.TOOL: "magenta"}


def output() -> Console:
    """Standard output; without a terminal nothing is cut or wrapped."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNBOUNDED)


def show_sessions(console: Console, sessions: Sequence[Session], *, now: datetime) -> None:
    """A line for each session, or two in a terminal too narrow for its id and a piece of its title."""
    longest = max((len(session.id) for session in sessions), default=0)
    room = console.width - longest - _BESIDE
    if room < _LEAST_TITLE:
        _show_stacked(console, sessions, now)
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("ID", no_wrap=True, min_width=longest, overflow="ignore")
    table.add_column("TITLE", no_wrap=True, overflow="ellipsis", max_width=room)
    table.add_column("MSGS", no_wrap=True, justify="right")
    table.add_column("ACTIVE", no_wrap=True)
    for session in sessions:
        table.add_row(session.id, _title(session), str(session.message_count), _activity(session, now))
    console.print(table)


def _show_stacked(console: Console, sessions: Sequence[Session], now: datetime) -> None:
    for session in sessions:
        console.print(Text(session.id), soft_wrap=True)
        line = Text("  ") + _title(session)
        line.append(f" · {session.message_count} · ", "dim").append_text(_activity(session, now))
        line.truncate(console.width, overflow="ellipsis")
        console.print(line, no_wrap=True)


def show_session(console: Console, session: Session, *, now: datetime) -> None:
    """Everything about one session, a line each."""
    used = sum(session.usage.values(), Usage())
    facts = [
        ("id", session.id),
        ("title", on_one_line(session.title or "")),
        ("status", session.status.value),
        ("messages", str(session.message_count)),
        ("created", f"{_date(session.created)} ({ago(session.created, now)})"),
        ("last activity", f"{_date(session.last_activity)} ({ago(session.last_activity, now)})"),
        ("forked from", session.parent or ""),
        ("usage", _used(used) if used.requests else ""),
        *(
            (f"  {on_one_line(model)}", _used(found))
            for model, found in session.usage.items()
            if len(session.usage) > 1
        ),
    ]
    width = max(len(name) for name, value in facts if value)
    for name, value in facts:
        if value:
            console.print(Text(f"{name:<{width}}  ", "dim") + Text(value), soft_wrap=True)


def show_turns(console: Console, turns: Sequence[Turn], *, now: datetime) -> None:
    """What became of turns that did not simply end well."""
    for turn in turns:
        reason = f": {on_one_line(turn.reason)}" if turn.reason else ""
        line = Text(f"turn {turn.turn} ", "dim") + Text(f"{turn.status.value}{reason}", "yellow")
        console.print(line + Text(f" · {ago(turn.accepted, now)}", "dim"), soft_wrap=True)


def show_approvals(console: Console, approvals: Sequence[Approval], *, now: datetime) -> None:
    """Questions to people: two lines each, the first for what is asked."""
    for one in approvals:
        console.print(Text(on_one_line(f"{one.tool}({one.arguments})")), soft_wrap=True)
        line = Text(f"  {one.id}", "dim") + Text(f" {one.status.value}", "yellow")
        if one.reason:
            line.append(f": {on_one_line(one.reason)}")
        until = "" if one.expires is None or one.decided is not None else f", until {_date(one.expires)}"
        line.append(f" · session {one.session} · {ago(one.asked, now)}{until}", "dim")
        console.print(line, soft_wrap=True)


def show_inbox(console: Console, inbox: Sequence[QueuedInput]) -> None:
    """Input that is not in the history yet."""
    for item in inbox:
        text = item.content if isinstance(item.content, str) else "[parts]"
        held = ", held back" if item.held else ""
        line = Text(f"{item.position:>4}  ", "dim") + Text(f"{item.kind.value}{held}: ", "yellow")
        console.print(line + Text(on_one_line(text)), soft_wrap=True)


def show_messages(console: Console, messages: Iterable[Message]) -> None:
    """Messages as a conversation: who speaks stands before what is said."""
    for message in messages:
        colour = _COLOURS[message.role]
        head = Text(_speaker(message), f"bold {colour}") + Text(f"  {_date(message.created)} · {message.seq}", "dim")
        console.print(head, soft_wrap=True)
        for line in visible(message.text).splitlines():
            console.print(Text(f"  {line}", "dim" if message.role is Role.TOOL else ""), soft_wrap=True)
        for part in message.parts:
            if part.get("type") != "text" and message.role is Role.USER:
                console.print(Text(f"  [{on_one_line(str(part.get('type')))}]", "dim"), soft_wrap=True)
        for call in message.tool_calls:
            console.print(Text(f"  → {on_one_line(f'{call.name}({call.arguments})')}", "magenta"), soft_wrap=True)


def show_hits(console: Console, hits: Iterable[SearchHit]) -> None:
    """What was found: who said it, when and where, and the words as they stand there."""
    for hit in hits:
        if hit.message is None:
            continue
        head = Text(_speaker(hit.message), f"bold {_COLOURS[hit.message.role]}")
        head.append(f"  {_date(hit.message.created)} · {hit.session} · {hit.message.seq}", "dim")
        console.print(head, soft_wrap=True)
        line = Text(f"  {on_one_line(hit.context)}")
        line.highlight_words([on_one_line(hit.matched)] if hit.matched else [], "bold yellow")
        console.print(line, soft_wrap=True)


def ago(when: datetime, now: datetime) -> str:
    """How long ago something was, for people; a date where it is long ago."""
    seconds = (now - when) / timedelta(seconds=1)
    for limit, size, word in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (7 * 86_400, 86_400, "d")):
        if seconds < limit:
            return f"{int(seconds // size)} {word} ago" if seconds >= 1 else "now"
    return when.astimezone().strftime("%Y-%m-%d")


def right_now() -> datetime:
    """The time that `ago` counts from."""
    return datetime.now(UTC)


def _speaker(message: Message) -> str:
    if message.role is not Role.TOOL:
        return "you" if message.role is Role.USER else "agent"
    told = "" if message.outcome in {None, "success"} else f" ({message.outcome})"
    return f"tool {on_one_line(message.tool_name or '')}{told}"


def _title(session: Session) -> Text:
    return Text("(no title)", "dim") if session.title is None else Text(on_one_line(session.title))


def _activity(session: Session, now: datetime) -> Text:
    if session.status is SessionStatus.IDLE:
        return Text(ago(session.last_activity, now), "dim")
    return Text(session.status.value, "yellow")


def _date(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def _used(used: Usage) -> str:
    cost = "" if used.cost is None else f", ${used.cost:.4f}"
    requests = "1 request" if used.requests == 1 else f"{used.requests} requests"
    return f"{requests}, {used.input_tokens:,} tokens in, {used.output_tokens:,} out{cost}"
