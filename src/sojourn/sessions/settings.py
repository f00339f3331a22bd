"""What is chosen for one session alone: its model, pieces of its system prompt. No key is ever among it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sojourn.abc import SessionRow
from sojourn.errors import InvalidInput
from sojourn.records import Contributor
from sojourn.sessions.checks import whole_number
from sojourn.sessions.live import Core
from sojourn.sessions.residency import Name

#: The longest piece of a system prompt, characters, how many a session may have, and the highest priority.
MAX_CONTENT, MAX_CONTRIBUTORS, MAX_PRIORITY = 120_000, 50, 1_000_000

_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")

#: JSON: `llm` is a mapping or missing, `contributors` a list of mappings.
Settings = dict[str, Any]


async def change(core: Core, name: Name, how: Callable[[Settings], None]) -> SessionRow:
    """Change the settings as they are at that moment, whoever else changes them too."""
    while True:
        revision, body = await core.store.settings(*name)
        settings: Settings = json.loads(body)
        how(settings)
        text = json.dumps(settings, separators=(",", ":"))
        row = await core.store.change_settings(*name, text, revision, core.clock.now_ms())
        if row is not None:
            core.residency.touch(name)
            return row


async def read(core: Core, name: Name) -> Settings:
    """The settings as they are."""
    settings: Settings = json.loads((await core.store.settings(*name))[1])
    return settings


def choose_model(core: Core, llm: Mapping[str, Any] | None) -> Callable[[Settings], None]:
    """Another model, or None for the agent's own; raises InvalidInput, AgentUnsupported."""
    if llm is None:
        return lambda settings: settings.pop("llm", None)
    if not isinstance(llm, Mapping):
        raise InvalidInput("model", llm, "a mapping with provider and model, or None for the agent's own")
    checked = dict(core.engine.check_model(llm))
    return lambda settings: settings.update(llm=checked)


def put(contributor: object, content: object, priority: object, enabled: object) -> Callable[[Settings], None]:
    """A piece of the system prompt, in the place of one of the same id; raises InvalidInput."""
    new = {
        "id": check_id(contributor),
        "content": _content(content),
        "priority": whole_number("priority", priority, 0, MAX_PRIORITY),
        "enabled": _flag(enabled),
    }

    def how(settings: Settings) -> None:
        others = [one for one in settings.get("contributors", ()) if one["id"] != new["id"]]
        if len(others) >= MAX_CONTRIBUTORS:
            raise InvalidInput("contributor", contributor, f"at most {MAX_CONTRIBUTORS} in a session; remove one first")
        settings["contributors"] = sorted([*others, new], key=lambda one: (one["priority"], one["id"]))

    return how


def take(settings: Settings, contributor: str) -> None:
    """Remove a piece of the system prompt."""
    settings["contributors"] = [one for one in settings.get("contributors", ()) if one["id"] != contributor]


def contributors_of(settings: Mapping[str, Any]) -> Sequence[Contributor]:
    """The session's own pieces of the system prompt, in their order."""
    return [Contributor(**one) for one in settings.get("contributors", ())]


def check_id(contributor: object) -> str:
    """The id itself, or InvalidInput."""
    if not isinstance(contributor, str) or not _ID.fullmatch(contributor):
        raise InvalidInput("contributor", contributor, "an id of 1 to 80 characters of a-z A-Z 0-9 . _ -")
    return contributor


def _content(content: object) -> str:
    if not isinstance(content, str) or not content.strip() or len(content) > MAX_CONTENT:
        raise InvalidInput("content", content, f"text of 1 to {MAX_CONTENT:,} characters")
    if not printable_text(content):
        raise InvalidInput("content", content, "text without NUL and half characters")
    return content


def printable_text(text: str) -> bool:
    """Whether the text can be stored and sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("enabled", value, "True or False")
    return value
