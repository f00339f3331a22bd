"""How calls, sessions and whole conversations are put into words; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sojourn.cli.notes import on_one_line
from sojourn.records import Message, Role, Session, ToolCall, Usage

#: A call's arguments, and what a failed one said, are cut behind this many characters.
MAX_SHOWN = 80

#: A failure is told in at most this many characters.
MAX_FAILURE = 600

#: What is read of a longer one.
_LOOK = 2000

_MARKS = {"success": "✓", "failed": "✗", "retried": "✗", "denied": "✗"}


def cut(text: str, limit: int = MAX_SHOWN) -> str:
    """The beginning of a text on one line."""
    line = on_one_line(text[:_LOOK])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def call_line(call: ToolCall) -> str:
    """A call with its arguments, short."""
    try:
        found = json.loads(call.arguments or "{}")
    except ValueError:
        found = call.arguments
    if isinstance(found, dict):
        told = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in found.items())
    else:
        told = str(found)
    return f"{on_one_line(call.name)}({cut(told)})"


def ended_line(call: ToolCall | None, result: Message) -> str:
    """A call that ended, and how."""
    what = call_line(call) if call is not None else on_one_line(result.tool_name or "a tool")
    outcome = result.outcome or "success"
    if outcome == "success":
        return f"✓ {what}"
    return f"{_MARKS.get(outcome, '?')} {what}: {cut(_failure(result.text)) or outcome}"


def _failure(text: str) -> str:
    """What a failed call said, out of the JSON object that it may stand in."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or "error" not in found:
        return text
    return found["error"] if isinstance(found["error"], str) else json.dumps(found["error"], ensure_ascii=False)


def attached(message: Message) -> list[str]:
    """What a message holds besides text."""
    return [
        f"[{part['type']}: {on_one_line(str(part.get('filename') or part.get('mimeType') or 'attached'))}]"
        for part in message.parts
        if part.get("type") in {"image", "file"}
    ]


def name_of(session: Session, limit: int = 40) -> str:
    """A session's title, or the beginning of its id."""
    return cut(session.title, limit) if session.title else short(session.id)


def short(id: str) -> str:
    """The beginning of an id, as much as tells it from others in a list."""
    return id[:8]


def listed(sessions: Sequence[Session]) -> list[str]:
    """A numbered line for each session."""
    return [
        f"{number:>3}  {short(one.id):<8}  {when(one.last_activity)}  {one.message_count:>4} messages  "
        f"{cut(one.title or '(no title)', 60)}"
        for number, one in enumerate(sessions, 1)
    ]


def when(time: datetime) -> str:
    """A moment in the time of the place."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M")


def chosen(answer: str, sessions: Sequence[Session]) -> Session | None:
    """The session that a number of the list, or the beginning of an id, means; None for none or several."""
    if answer.isascii() and answer.isdigit() and 1 <= int(answer[:9]) <= len(sessions):
        return sessions[int(answer) - 1]
    exact = [one for one in sessions if one.id == answer]
    found = exact or [one for one in sessions if answer and one.id.startswith(answer)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Status:
    """What the status line tells."""

    name: str = ""
    live: int = 0
    stored: int = 0
    model: str = ""
    tokens: int = 0
    #: US dollars, as they are shown; empty where no price is known.
    cost: str = ""
    loading: bool = True

    def line(self, width: int) -> str:
        """The status on one line; what does not fit is left out, the last first."""
        parts = [self.name]
        parts.append("loading the agent…" if self.loading else f"{self.live} live, {self.stored} stored")
        if self.model:
            parts.append(self.model)
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens" + (f", {self.cost}" if self.cost else ""))
        while len(parts) > 1 and len(" · ".join(parts)) + 2 > width:
            parts.pop()
        return " " + cut(" · ".join(parts), max(4, width - 2))


def used(usage: Mapping[str, Usage]) -> tuple[int, str]:
    """Tokens and cost of all models."""
    total = sum(usage.values(), Usage())
    cost = "" if total.cost is None else f"${total.cost:.4f}" if total.cost < 1 else f"${total.cost:.2f}"
    return total.input_tokens + total.output_tokens, cost


def as_markdown(session: Session, messages: Iterable[Message]) -> str:
    """A conversation as a page of Markdown."""
    page = [f"# {on_one_line(session.title or session.id)}", _about(session)]
    calls: dict[str, ToolCall] = {}
    for message in messages:
        if message.role is Role.TOOL:
            page.append(f"> {ended_line(calls.get(message.tool_call_id or ''), message)}")
            continue
        calls = {call.id: call for call in message.tool_calls}
        said = "\n\n".join(part for part in (message.text.strip("\n"), *attached(message)) if part)
        if said:
            page += ["## You" if message.role is Role.USER else "## Agent", said]
    return "\n\n".join(page) + "\n"


def _about(session: Session) -> str:
    begun = session.created.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Session `{session.id}`, begun {begun}, {session.message_count} messages."
