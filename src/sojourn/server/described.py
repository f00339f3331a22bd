"""What the API's description says of values that are checked elsewhere, so that whoever reads it sends no others."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema

#: Characters that a text on one line does not have.
_UNSHOWN = r"\x00-\x1f\x7f-\x9f\u2028\u2029"

_TEXT = {"type": "string", "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}

SESSION_ID: dict[str, Any] = {"type": "string", "pattern": r"^[A-Za-z0-9._:@-]{1,128}$"}

TITLE: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^[^{_UNSHOWN}]*[^\s{_UNSHOWN}][^{_UNSHOWN}]*$",
    "maxLength": 200,
}

KEY: dict[str, Any] = {"type": "string", "pattern": r"^[!-~]{1,255}$"}

EVENT_ID: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18}\.[0-9]{1,18})?$"}

#: An id that the server made, of a question or of a remembered answer.
MADE_ID: dict[str, Any] = {"type": "string", "pattern": r"^[!-~]{1,128}$"}


_BASE64 = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$",
}


def _part(kind: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """A part of what is said; its first field must be there."""
    properties = {"type": {"const": kind}, **fields}
    return {"type": "object", "properties": properties, "required": list(properties)[:2]}


def _file(kind: str, needed: str) -> dict[str, Any]:
    maybe = {"type": ["string", "null"]}
    return _part(kind, **{needed: _BASE64}, mimeType=maybe, filename=maybe)


CONTENT: dict[str, Any] = {
    "description": "a text, or a list of text, image and file parts",
    "anyOf": [
        _TEXT,
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    _part("text", text={"type": "string", "pattern": r"^[^\x00]*$"}),
                    _file("image", "image"),
                    _file("file", "data"),
                ]
            },
        },
    ],
}

_NOTHING = {"enum": [None, ""]}

#: What belongs to a yes is not sent with a no, nor the other way round.
DECISION: dict[str, Any] = {
    "oneOf": [
        {"properties": {"status": {"const": "approved"}, "reason": _NOTHING, "message": _NOTHING}},
        {
            "properties": {
                "status": {"enum": ["denied", "cancelled"]},
                "arguments": {"enum": [None, {}]},
                "remember": {"type": "null"},
                "rememberChoice": {"enum": [None, False]},
            }
        },
    ]
}

#: One event of a stream; `data` is a JSON object on one line.
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


def _whole(value: object) -> object:
    """JSON knows one kind of number: 2.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


SessionIdText = Annotated[str, WithJsonSchema(SESSION_ID)]
TitleText = Annotated[str, WithJsonSchema(TITLE)]
Contributing = Annotated[str, WithJsonSchema({**_TEXT, "maxLength": 120_000})]
ContributorId = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,80}$"})]
Reason = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]
By = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[ -~]{1,256}$"})]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
Priority = Annotated[Whole, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 1_000_000})]
#: A turn's number, a message's `seq`.
Number = Annotated[Whole, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 2**53})]
