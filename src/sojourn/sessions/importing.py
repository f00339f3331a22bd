"""Reading an exported session. Every field is checked, because whoever made the lines may not have been us. Pure.

What is wrong raises ValueError with what was expected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sojourn.abc import Engine, Entry, SessionRow, TurnRow
from sojourn.errors import InvalidInput
from sojourn.records import EntryKind, SessionStatus, TurnStatus, Usage, check_session_id
from sojourn.sessions.titles import MAX_TITLE, can_be_title
from sojourn.sessions.views import can_be_approval, encode_content, message_of

#: The end of the year 9999, milliseconds.
_LAST_TIME = 253_402_300_799_999

_LAST_NUMBER = 2**53


def parsed(line: object) -> Mapping[str, Any]:
    """A line as a JSON object."""
    if not isinstance(line, str):
        raise ValueError("a line of text")  # noqa: TRY004 - what is read is at fault
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("a JSON object") from error
    if not isinstance(data, dict):
        raise ValueError("a JSON object")  # noqa: TRY004 - see above
    return data


def session(data: Mapping[str, Any], user: str, id: str | None, newest_format: int) -> SessionRow:
    """The session of a first line."""
    _whole(data, "sojourn", 1, newest_format)
    title = data["title"]
    if title is not None:
        _require(isinstance(title, str) and 1 <= len(title) <= MAX_TITLE and can_be_title(title), '"title": a title')
    first = _whole(data, "first", 1)
    return SessionRow(
        key=0, user=user, id=_id(data) if id is None else id, title=title, parent=None, status=SessionStatus.IDLE,
        messages=0, usage=_usage(data), owner=None, fence=0, current=None, queued=0, held=0, first=first,
        created=_whole(data, "created", 0, _LAST_TIME), active=_whole(data, "active", 0, _LAST_TIME),
        version=_whole(data, "version", first - 1), turns=_whole(data, "turns", 0),
    )  # fmt: skip


def turn(data: Mapping[str, Any]) -> TurnRow:
    """The turn of a line."""
    status = TurnStatus(data["status"])
    _require(status.final, '"status": completed, failed or cancelled')
    _require(isinstance(data["cancel_requested"], bool), '"cancel_requested": true or false')
    key = _text(data, "key", optional=True)
    return TurnRow(
        turn=_whole(data, "turn", 1), status=status, attempts=_whole(data, "attempts", 0), key=key,
        digest=_text(data, "digest", optional=key is None), accepted=_whole(data, "accepted", 0, _LAST_TIME),
        started=_maybe(data, "started", _LAST_TIME), ended=_maybe(data, "ended", _LAST_TIME),
        reason=_text(data, "reason", optional=True), usage=_usage(data), opened_seq=_maybe(data, "opened_seq"),
        ended_seq=_maybe(data, "ended_seq"), cancel_requested=data["cancel_requested"],
    )  # fmt: skip


def entry(data: Mapping[str, Any]) -> Entry:
    """The entry of a line."""
    kind, text = EntryKind(data["kind"]), _text(data, "text") or ""
    found = data["body"]
    _require(isinstance(found, dict), '"body": an object')
    body = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    body.encode()  # a half of a character cannot be stored
    if kind in {EntryKind.TURN_OPENED, EntryKind.STEERED}:
        _check_said(found, text)
    elif kind is EntryKind.TURN_ENDED:
        _check_ended(found)
    elif kind in {EntryKind.APPROVAL_ASKED, EntryKind.APPROVAL_DECIDED}:
        _require(can_be_approval(found), '"body": an approval')
    return Entry(
        _whole(data, "seq", 1), kind, _whole(data, "turn", 0), body, text, _whole(data, "created", 0, _LAST_TIME)
    )


def check_whole(row: SessionRow, turns: Sequence[TurnRow], entries: Sequence[Entry], engine: Engine) -> None:
    """Whether these are one session, and one that the agent can read."""
    whole = [found.seq for found in entries] == list(range(row.first, row.first + len(entries)))
    _require(
        whole and len(entries) == row.version - row.first + 1,
        f"the entries {row.first} to {row.version}, each once and in order",
    )
    _check_order(row, entries)
    _check_turns(row, turns, {found.seq: found for found in entries})
    try:
        engine.history().extend(entries)
        for found in entries:
            message_of(engine, found)
    except Exception as error:
        raise ValueError(f"messages that this agent can read ({error})") from error


def _check_order(row: SessionRow, entries: Sequence[Entry]) -> None:
    running = 0
    for found in entries:
        expected = f"entry {found.seq} inside a turn from its opening to its end"
        if found.kind is EntryKind.SESSION_RESET:
            _require(found.seq == row.first and found.turn == 0, expected)
            continue
        if found.kind is EntryKind.STATE_CHANGED and found.turn == 0:
            continue  # set from outside, between turns or while one waits
        if found.kind is EntryKind.CONTEXT_CLEARED:
            _require(running == 0 == found.turn, f"entry {found.seq} between two turns")
            continue
        if found.kind is EntryKind.TURN_OPENED:
            _require(running == 0 < found.turn <= row.turns, expected)
            running = found.turn
        _require(found.turn == running > 0, expected)
        if found.kind is EntryKind.TURN_ENDED:
            running = 0
    _require(running == 0, "the end of the last turn")


def _check_turns(row: SessionRow, turns: Sequence[TurnRow], log: Mapping[int, Entry]) -> None:
    numbers, keys = [found.turn for found in turns], [found.key for found in turns if found.key is not None]
    _require(len(set(numbers)) == len(numbers) and len(set(keys)) == len(keys), "each turn and each key once")
    for found in turns:
        expected = f"turn {found.turn} as its entries tell it"
        _require(found.turn <= row.turns, expected)
        _require((found.opened_seq is None) is (found.ended_seq is None), expected)
        _require(found.opened_seq is not None or found.status is TurnStatus.CANCELLED, expected)
        for seq, kind in ((found.opened_seq, EntryKind.TURN_OPENED), (found.ended_seq, EntryKind.TURN_ENDED)):
            at = log.get(seq) if seq is not None else None
            _require(seq is None or (at is not None and (at.kind, at.turn) == (kind, found.turn)), expected)
            if at is not None and kind is EntryKind.TURN_ENDED:
                _require(json.loads(at.body)["status"] == found.status, expected)


def _check_said(body: Mapping[str, Any], text: str) -> None:
    if set(body) - {"content"}:
        raise ValueError('"body": what was said')
    try:
        # several inputs that were said as one may be larger together than each may be
        _, found = encode_content(body.get("content", text), bounded=False)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    _require(found == text, '"text": the text of what was said')


def _check_ended(body: Mapping[str, Any]) -> None:
    _require(TurnStatus(body["status"]).final, '"status": completed, failed or cancelled')
    _text(body, "reason", optional=True)
    _text(body, "finish_reason")
    _usage(body)


def _require(holds: object, expected: str) -> None:
    if not holds:
        raise ValueError(expected)


def _id(data: Mapping[str, Any]) -> str:
    try:
        return check_session_id(data["id"])
    except InvalidInput as error:
        raise ValueError('"id": a session id') from error


def _whole(data: Mapping[str, Any], name: str, low: int, high: int = _LAST_NUMBER) -> int:
    value = data[name]
    right = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(right, f'"{name}": a whole number from {low} to {high}')
    return int(value)


def _maybe(data: Mapping[str, Any], name: str, high: int = _LAST_NUMBER) -> int | None:
    return None if data[name] is None else _whole(data, name, 0, high)


def _text(data: Mapping[str, Any], name: str, *, optional: bool = False) -> str | None:
    value = data[name]
    if value is None and optional:
        return None
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(f'"{name}": a text')
    value.encode()  # a half of a character cannot be stored
    return value


def _usage(data: Mapping[str, Any]) -> str:
    found = data["usage"]
    right = isinstance(found, dict) and all(isinstance(model, str) for model in found)
    _require(right, '"usage": usage by model')
    for used in found.values():
        counts = {name: value for name, value in used.items() if name != "cost"}
        _require(Usage.from_json(used).to_json() == used, '"usage": usage by model')
        for name in counts:
            _whole(counts, name, 1)
    text = json.dumps(found, separators=(",", ":"), allow_nan=False)
    text.encode()
    return text
