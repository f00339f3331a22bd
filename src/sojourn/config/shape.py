"""What the schema says of a place: the words for what is allowed there, and the keys that are known."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sojourn.config.configuration import KeyPath
from sojourn.config.schema import AgentConfig
from sojourn.config.values import Allowed


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of the schema, without `None` and without what wraps it."""

    type: Any
    allowed: str | None = None
    #: The members of a union that is told apart by `type`, by its value.
    members: dict[str, type[BaseModel]] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The values of which it must be one; empty where there are others."""
        if self.members:
            return tuple(self.members)
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a mapping whose keys are known."""
        if not isinstance(self.type, type) or not issubclass(self.type, BaseModel):
            return ()
        return tuple(field.alias or name for name, field in self.type.model_fields.items())

    @property
    def expected(self) -> str:
        """What an error says behind "expected"."""
        if self.allowed:
            return self.allowed
        if not self.members and self.options:
            return "one of " + ", ".join(self.options)
        origin = get_origin(self.type) or self.type
        if origin is list:
            return "a list of " + {"a mapping": "mappings"}.get(kind_of(get_args(self.type)[0]).expected, "texts")
        return "a text" if origin is str else "a mapping"

    def step(self, part: str | int) -> Kind:
        """What lies one step down."""
        if isinstance(self.type, type) and issubclass(self.type, BaseModel):
            field = next(
                (field for name, field in self.type.model_fields.items() if (field.alias or name) == part), None
            )
            return _of_field(field) if field else ANYTHING
        arguments = get_args(self.type)
        if get_origin(self.type) in {list, dict}:
            return kind_of(arguments[-1])
        return ANYTHING


ANYTHING = Kind(Any, "something else")


def kind_of(annotation: Any, allowed: str | None = None) -> Kind:
    """The kind of an annotation."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        words = [entry.words for entry in metadata if isinstance(entry, Allowed)]
        return kind_of(inner, allowed or (words[-1] if words else None))
    if get_origin(annotation) in {Union, UnionType}:
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return kind_of(members[0], allowed)
        return Kind(annotation, allowed, {_tag(member): member for member in members})
    return Kind(annotation, allowed)


def locate(location: KeyPath) -> tuple[KeyPath, Kind]:
    """The path in the file that pydantic's location means, and what belongs there.

    Pydantic names the member of a union as a step of its own, which is no key of the file.
    """
    path: KeyPath = ()
    kind = ROOT
    for part in location:
        if kind.members and isinstance(part, str) and part in kind.members:
            kind = Kind(kind.members[part])
            continue
        path, kind = (*path, part), kind.step(part)
    return path, kind


def _of_field(field: FieldInfo) -> Kind:
    words = [entry.words for entry in field.metadata if isinstance(entry, Allowed)]
    return kind_of(field.annotation, words[-1] if words else None)


def _tag(member: type[BaseModel]) -> str:
    return str(get_args(member.model_fields["type"].annotation)[0])


ROOT = Kind(AgentConfig)
