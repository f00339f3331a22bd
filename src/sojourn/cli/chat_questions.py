"""A question about a tool's call, in words, and what a person answers to it; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sojourn.cli.chat_words import cut
from sojourn.cli.notes import on_one_line, visible
from sojourn.records import Approval, ApprovalStatus, InputKind, QueuedInput, Remembered

#: Of a call's arguments this many are shown, each in at most this many characters.
_SHOWN, _WIDE = 8, 200

#: As much of an id as tells it from others that wait.
SHORT = 8

HINT = "y yes · n no · a always · e edit · s show · l later"

_DECIDED = {
    ApprovalStatus.APPROVED: "allowed",
    ApprovalStatus.DENIED: "denied",
    ApprovalStatus.EXPIRED: "not decided in time",
    ApprovalStatus.SUPERSEDED: "not decided",
    ApprovalStatus.CANCELLED: "cancelled",
}

_KINDS = {
    InputKind.MESSAGE: "in line",
    InputKind.STEER: "said into the answer",
    InputKind.FOLLOW_UP: "for later",
}


class Verb(StrEnum):
    """What a person wants to be done about a question."""

    YES = "y"
    NO = "n"
    ALWAYS = "a"
    EDIT = "e"
    SHOW = "s"
    LATER = "l"


_WORDS = {
    **{verb.value: verb for verb in Verb},
    "yes": Verb.YES,
    "no": Verb.NO,
    "always": Verb.ALWAYS,
    "edit": Verb.EDIT,
    "show": Verb.SHOW,
    "later": Verb.LATER,
}


def understood(line: str) -> tuple[Verb, str] | None:
    """What a line answers to a question, and a refusal's reason; None for one that is no answer."""
    found = re.fullmatch(r"(\w+)(?:[\s,.:;]+(.*))?", line.strip(), re.DOTALL)
    if found is None:
        return None
    verb, rest = _WORDS.get(found[1].casefold()), (found[2] or "").strip()
    if verb is None or (rest and verb is not Verb.NO):
        return None
    return verb, rest


def is_answer(line: str) -> bool:
    """Whether the line can only be meant as an answer to a question."""
    found = understood(line)
    return found is not None and not found[1]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person, as one of those that wait."""

    approval: Approval
    number: int = 1
    count: int = 1
    #: What the tool says of itself; empty where that is not known.
    about: str = ""

    def card(self) -> list[str]:
        """The tool and its arguments, short."""
        which = f" ({self.number} of {self.count})" if self.count > 1 else ""
        about = [f"    {cut(self.about, _WIDE)}"] if self.about else []
        told = [f"    {line}" for line in arguments(self.approval.arguments)]
        return [f"? may {on_one_line(self.approval.tool)} run{which}", *about, *told]


def arguments(text: str) -> list[str]:
    """A call's arguments, a line each, short."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = text
    if not isinstance(found, dict):
        return [cut(str(found), _WIDE)]
    told = [
        cut(f"{name}: {json.dumps(value, ensure_ascii=False)}", _WIDE) for name, value in list(found.items())[:_SHOWN]
    ]
    return [*told, "…"] if len(found) > _SHOWN else told


def pretty(text: str) -> str:
    """Arguments as JSON on many lines; as they are where they are none."""
    try:
        return json.dumps(json.loads(text or "{}"), ensure_ascii=False, indent=2)
    except ValueError:
        return text


def whole(approval: Approval) -> list[str]:
    """Everything that is asked."""
    until = "" if approval.expires is None else f", until {approval.expires.astimezone():%Y-%m-%d %H:%M}"
    head = f"{on_one_line(approval.tool)}, asked {approval.asked.astimezone():%Y-%m-%d %H:%M}{until}, id {approval.id}"
    return [head, *visible(pretty(approval.arguments)).splitlines()]


def call(approval: Approval) -> str:
    """The call that a question is about, on one line."""
    told = ", ".join(arguments(approval.changed_arguments or approval.arguments))
    return f"{on_one_line(approval.tool)}({cut(told)})"


def decided_line(approval: Approval, *, own: bool) -> str:
    """How a question was decided."""
    where = "" if own or approval.status not in {ApprovalStatus.APPROVED, ApprovalStatus.DENIED} else " elsewhere"
    if approval.decided_by == "remembered":
        where = ", as remembered"
    changed = "" if approval.changed_arguments is None else " with changed arguments"
    reason = f": {cut(visible(approval.reason))}" if approval.reason else ""
    return f"{_DECIDED.get(approval.status, approval.status.value)}{where}{changed}: {call(approval)}{reason}"


def numbered(approvals: Sequence[Approval]) -> list[str]:
    """A line for each question that waits."""
    return [f"{one.id[:SHORT]}  {call(one)}" for one in approvals]


def remembered_lines(found: Sequence[Remembered]) -> list[str]:
    """A numbered line for each yes that holds for more."""
    return [
        f"{number:>3}  {on_one_line(one.tool)}"
        f"({'whatever the arguments' if one.arguments is None else cut(one.arguments)}), "
        f"{'in all sessions' if one.session is None else f'in session {one.session[:SHORT]}'}, "
        f"since {one.since.astimezone():%Y-%m-%d %H:%M}"
        for number, one in enumerate(found, 1)
    ]


def inbox_lines(inbox: Sequence[QueuedInput]) -> list[str]:
    """A line for each input that is not told yet, with the number by which it is removed."""
    return [f"{item.position:>4}  {pending_line(item)}" for item in inbox]


def pending_line(item: QueuedInput) -> str:
    """What becomes of an input that is not told yet."""
    text = item.content if isinstance(item.content, str) else "[parts]"
    return f"{'held back' if item.held else _KINDS[item.kind]}: {cut(text)}"


@dataclass(frozen=True, slots=True)
class Named:
    """A decision that names its approval: `approve ID [JSON or "always"]`, `deny ID [REASON]`."""

    yes: bool
    id: str
    rest: str


def named(line: str) -> Named | None:
    """The decision that a line names; None for another line."""
    found = re.fullmatch(r"/?(approve|deny)(?:\s+(\S+))?(?:\s+(.*))?", line.strip(), re.DOTALL)
    return None if found is None else Named(found[1] == "approve", found[2] or "", (found[3] or "").strip())
