"""From what is stored to what people are shown. Pure."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from typing import Any

from sojourn.abc import MESSAGE_KINDS, ApprovalRow, Engine, Entry, InputRow, RememberedRow, SessionRow, TurnRow
from sojourn.clock import from_ms
from sojourn.errors import ContentTooLarge, InvalidInput
from sojourn.records import (
    MAX_CONTENT_BYTES,
    Approval,
    ApprovalStatus,
    Content,
    EntryKind,
    Event,
    EventKind,
    Message,
    QueuedInput,
    Remembered,
    Reply,
    Role,
    Session,
    Turn,
    TurnStatus,
    Usage,
)

_SAID = frozenset({EntryKind.TURN_OPENED, EntryKind.STEERED})

_APPROVALS = frozenset({EntryKind.APPROVAL_ASKED, EntryKind.APPROVAL_DECIDED})

_PART_TYPES = ("text", "image", "file")

# json.dumps with options builds an encoder for each call
_compact = json.JSONEncoder(separators=(",", ":")).encode


def session_of(row: SessionRow) -> Session:
    """A session as its owner sees it."""
    return Session(
        id=row.id,
        user=row.user,
        title=row.title,
        created=from_ms(row.created),
        last_activity=from_ms(row.active),
        message_count=row.messages,
        parent=row.parent,
        status=row.status,
        usage=usage_of(row.usage),
    )


def turn_of(row: TurnRow) -> Turn:
    """A turn as its owner sees it."""
    return Turn(
        turn=row.turn,
        status=row.status,
        # an attempt that ends in order, by a question or a hand-over, is not counted; people ask how often it ran
        attempts=row.attempts if row.started is None else max(1, row.attempts),
        key=row.key,
        accepted=from_ms(row.accepted),
        started=None if row.started is None else from_ms(row.started),
        ended=None if row.ended is None else from_ms(row.ended),
        reason=row.reason,
        usage=usage_of(row.usage),
    )


def usage_of(text: str) -> Mapping[str, Usage]:
    """Usage by model from its JSON."""
    return {model: Usage.from_json(found) for model, found in json.loads(text).items()} if text != "{}" else {}


def usage_json(usage: Mapping[str, Usage]) -> str:
    """The inverse of `usage_of`."""
    return _compact({model: found.to_json() for model, found in usage.items()}) if usage else "{}"


def encode_content(content: Content, *, bounded: bool = True) -> tuple[str, str]:
    """The body and the text of an entry with this content; raises InvalidInput, and ContentTooLarge if `bounded`."""
    if isinstance(content, str):
        if not content.strip():
            raise InvalidInput("content", content, "text that is not blank, or parts")
        body, text = "{}", content
    else:
        parts = [_part(index, part) for index, part in enumerate(_parts(content))]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        try:
            body = json.dumps({"content": parts}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput("content", str(error), "parts that are JSON") from error
    # a lone surrogate cannot be stored as UTF-8, and would come back as something else
    try:
        size = len(body.encode()) + len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput("content", error.object[error.start : error.end], "text that can be encoded") from error
    if bounded and size > MAX_CONTENT_BYTES:
        raise ContentTooLarge(size, MAX_CONTENT_BYTES)
    if "\x00" in text:
        raise InvalidInput("content", "a NUL character", "text without NUL characters")
    return body, text


def _parts(content: object) -> list[Any]:
    if not isinstance(content, list | tuple) or not content:
        raise InvalidInput("content", content, "text, or a list of parts")
    return list(content)


def _part(index: int, part: object) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in _PART_TYPES:
        raise InvalidInput(f"content[{index}].type", kind if isinstance(part, Mapping) else part, "text, image or file")
    needed = {"text": "text", "image": "image", "file": "data"}[str(kind)]
    if not isinstance(part.get(needed), str):
        raise InvalidInput(f"content[{index}].{needed}", part.get(needed), "a string")
    if kind != "text":
        _check_file(f"content[{index}]", part, needed)
    return dict(part)


def _check_file(place: str, part: Mapping[str, Any], needed: str) -> None:
    # what cannot be told to a model would stop this turn, and each one after it
    for name in ("mimeType", "filename"):
        if not isinstance(part.get(name), str | None):
            raise InvalidInput(f"{place}.{name}", part[name], "a string")
    if len(part[needed]) <= MAX_CONTENT_BYTES and not _is_base64(part[needed]):
        raise InvalidInput(f"{place}.{needed}", part[needed], "base64")


def _is_base64(text: str) -> bool:
    """Whether it is some; line breaks may be in it."""
    try:
        return bool(binascii.a2b_base64("".join(text.splitlines()), strict_mode=True))
    except ValueError:
        return False


def decode_content(body: str, text: str) -> Content:
    """The content that an entry or a queued input was made of."""
    if body == "{}":
        return text
    found: Content = json.loads(body).get("content", text)
    return found


def queued_of(row: InputRow) -> QueuedInput:
    """A queued input as its owner sees it."""
    content = decode_content(row.body, row.text)
    return QueuedInput(
        position=row.position,
        turn=row.turn,
        kind=row.kind,
        content=content,
        held=row.held,
        accepted=from_ms(row.accepted),
    )


def message_of(engine: Engine, entry: Entry) -> Message | None:
    """What a person sees of an entry; None for one that shows nothing."""
    if entry.kind not in _SAID:
        return engine.message(entry)
    content = decode_content(entry.body, entry.text)
    return Message(
        seq=entry.seq,
        turn=entry.turn,
        role=Role.USER,
        text=entry.text,
        parts=() if isinstance(content, str) else tuple(content),
        created=from_ms(entry.created),
    )


def event_of(engine: Engine, session: str, entry: Entry, reply: Reply | None = None) -> Event:
    """The durable event that an entry is; `reply` belongs to a completed turn's end."""
    status = None
    if entry.kind is EntryKind.TURN_ENDED:
        status = TurnStatus(json.loads(entry.body)["status"])
    spoken = entry.kind in MESSAGE_KINDS
    return Event(
        kind=EventKind(entry.kind.value),
        id=str(entry.seq),
        seq=entry.seq,
        turn=entry.turn or None,
        text=entry.text,
        message=message_of(engine, entry) if spoken else None,
        approval=approval_in(entry, session) if entry.kind in _APPROVALS else None,
        status=status,
        reply=reply,
    )


def reply_of(entry: Entry, text: str) -> Reply:
    """The reply of a completed turn from its TURN_ENDED entry and its last answer's text."""
    body = json.loads(entry.body)
    return Reply(
        text=text,
        output=body.get("output", text),
        turn=entry.turn,
        usage={model: Usage.from_json(found) for model, found in body.get("usage", {}).items()},
        finish_reason=body.get("finish_reason", ""),
    )


def approval_of(row: ApprovalRow) -> Approval:
    """A question as its owner sees it."""
    return Approval(
        id=row.id,
        session=row.session,
        turn=row.turn,
        seq=row.seq,
        index=row.index,
        tool=row.tool,
        arguments=row.arguments,
        status=row.status,
        asked=from_ms(row.asked),
        expires=None if row.expires is None else from_ms(row.expires),
        decided=None if row.decided is None else from_ms(row.decided),
        decided_by=row.by,
        reason=row.reason,
        changed_arguments=row.changed,
    )


def approval_in(entry: Entry, session: str) -> Approval:
    """The question that an APPROVAL_ASKED or APPROVAL_DECIDED entry tells of."""
    body = json.loads(entry.body)
    body["status"] = ApprovalStatus(body["status"])
    return approval_of(ApprovalRow(user="", session=session, turn=entry.turn, **body))


def can_be_approval(body: Mapping[str, Any]) -> bool:
    """Whether this is the body of an entry that tells of a question."""
    try:
        approval_of(ApprovalRow(user="", session="", turn=0, **{**body, "status": ApprovalStatus(body["status"])}))
    except (TypeError, ValueError, KeyError, OverflowError, OSError):
        return False
    return True


def remembered_of(row: RememberedRow) -> Remembered:
    """What is remembered, as its owner sees it."""
    return Remembered(
        id=row.id, session=row.session, tool=row.tool, arguments=row.arguments, since=from_ms(row.since), by=row.by
    )
