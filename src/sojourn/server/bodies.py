"""What the server is sent. What else is in a body is ignored, as Dexto does, unless it says otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel

from sojourn.records import BusyPolicy, Remember
from sojourn.server import described
from sojourn.server.described import (
    By,
    Contributing,
    ContributorId,
    Flag,
    Number,
    Priority,
    Reason,
    SessionIdText,
    TitleText,
)


def _example(example: dict[str, Any], *, strict: bool = False, more: dict[str, Any] | None = None) -> ConfigDict:
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid" if strict else "ignore",
        json_schema_extra={"example": example, **(more or {})},
    )


#: A text, or parts: {"type": "text", …}, {"type": "image", …}, {"type": "file", …}.
#: Whatever else it may be is refused where it is stored, with a sentence of ours.
Said = Annotated[Any, WithJsonSchema(described.CONTENT)]


class NewSession(BaseModel):
    """Begin a session; without an id it gets one."""

    model_config = _example({"sessionId": "support-42", "title": "Support"})
    session_id: SessionIdText | None = None
    title: TitleText | None = None


class NewMessage(BaseModel):
    """Say something. A session that is not there yet is made."""

    model_config = _example({"content": "My favourite colour is teal.", "sessionId": "support-42"})
    content: Said
    session_id: SessionIdText
    busy: BusyPolicy | None = None


class Rename(BaseModel):
    """Give a session another title."""

    model_config = _example({"title": "Colours"})
    title: TitleText


class SessionName(BaseModel):
    """Which session."""

    model_config = _example({"sessionId": "support-42"})
    session_id: SessionIdText


class Fork(BaseModel):
    """Begin a session with the history of another one, up to the turn whose last message is `at`."""

    model_config = _example({"at": 3, "sessionId": "support-43"})
    at: Number | None = None
    session_id: SessionIdText | None = None
    title: TitleText | None = None


class Cancel(BaseModel):
    """Cancel a turn (the one that runs, unless another is named), and with `clearQueue` what is in line."""

    model_config = _example({"clearQueue": False}, strict=True)
    clear_queue: Flag = False
    turn: Number | None = None


class Discard(BaseModel):
    """Drop held turns, or one of them."""

    model_config = _example({"turn": 4})
    turn: Number | None = None


class State(BaseModel):
    """What the agent's tools are to keep of a session from now on."""

    model_config = _example({"state": {"basket": ["tea"]}})
    state: dict[str, Any]


class Queued(BaseModel):
    """Something to say into the running turn, or after it."""

    model_config = _example({"content": "Be brief."})
    content: Said
    kind: Literal["default", "background"] = "default"


class Decision(BaseModel):
    """What a person decided."""

    model_config = _example({"status": "approved", "rememberChoice": False}, strict=True, more=described.DECISION)
    status: Literal["approved", "denied", "cancelled"]
    form_data: Annotated[dict[str, Any] | None, WithJsonSchema({"type": "null"})] = None
    remember_choice: Flag | None = None
    reason: Reason | None = None
    message: Reason | None = None
    #: Ours: which session the question is of, changed arguments, for what else the yes holds, who decided.
    session_id: SessionIdText | None = None
    arguments: dict[str, Any] | None = None
    remember: Remember | None = None
    by: By | None = None


class SwitchLlm(BaseModel):
    """Another model for a session; without a provider and a model the agent's own again."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        json_schema_extra={"example": {"provider": "openai", "model": "gpt-5-mini", "sessionId": "support-42"}},
    )
    session_id: SessionIdText | None = None


class NewContributor(BaseModel):
    """A piece of a session's system prompt; without content, or not enabled, it is removed."""

    model_config = _example({"id": "tone", "content": "Be brief.", "priority": 45}, strict=True)
    id: ContributorId
    priority: Priority = 45
    enabled: Flag = True
    content: Contributing | None = None
