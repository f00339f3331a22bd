"""What the sections of an agent.yml are made of: the kinds of values, and how each is named in an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

#: The largest whole number that every reader of YAML and JSON keeps exactly.
LARGEST = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a value may be, as an error says it behind "expected"."""

    words: str


class Section(BaseModel):
    """A mapping of the file in which an unknown key is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=False, hide_input_in_errors=True
    )


class OpenSection(Section):
    """A mapping that may hold more than what is known here."""

    model_config = ConfigDict(extra="allow")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # What is not known here may be a secret.
        known = type(self).model_fields
        return [(name, value) for name, value in super().__repr_args__() if name in known]


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - pydantic turns only this into a finding
    return value


def _url(text: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - seldom needed

    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(mark.isspace() for mark in text):
        raise ValueError
    # Reading it is checking it.
    _ = parts.port
    return text


Bool = Annotated[bool, Field(strict=True), Allowed("true or false")]

#: A string that is not empty, without the space around it.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), Allowed("a text that is not empty")
]  # fmt: skip

URL = Annotated[Name, AfterValidator(_url), Allowed("a URL that begins with http:// or https://")]

KebabCase = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\z", max_length=64),
    Allowed("at most 64 small letters and digits, in words joined by -"),
]

#: A whole number that may also be written in quotes.
Count = Annotated[
    int, BeforeValidator(_no_bool), Field(gt=0, le=LARGEST), Allowed("a whole number greater than 0")
]  # fmt: skip
#: One that may not.
StrictCount = Annotated[int, Field(gt=0, le=LARGEST, strict=True), Allowed("a whole number greater than 0")]
#: One that may be 0.
Whole = Annotated[int, Field(ge=0, le=LARGEST, strict=True), Allowed("a whole number, 0 or greater")]
