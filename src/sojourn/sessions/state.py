"""A session's state: JSON that the agent's tools read and change, stored with their results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sojourn.errors import InvalidInput

#: The largest state, bytes of its JSON.
MAX_STATE = 256 * 1024

EMPTY = "{}"


class State:
    """The state as a turn's tools have it; whoever never looks at it costs nothing."""

    __slots__ = ("_open", "_stored")

    def __init__(self, stored: str = EMPTY) -> None:
        self._stored = stored
        self._open: dict[str, Any] | None = None

    def open(self) -> dict[str, Any]:
        """The mapping itself, to be read and changed."""
        if self._open is None:
            self._open = json.loads(self._stored)
        return self._open

    def change(self) -> str | None:
        """The state as JSON where it is not what is stored; raises InvalidInput for what cannot be stored."""
        if self._open is None:
            return None
        try:
            found = encoded(self._open)
        except InvalidInput:
            self._open = None  # it is told once, and what is stored still holds
            raise
        return None if found == self._stored else found

    def stored(self, body: str) -> None:
        """It is stored like this now."""
        self._stored = body


def encoded(state: Mapping[str, Any]) -> str:
    """A state as JSON, the same state always in the same way; raises InvalidInput."""
    if not isinstance(state, Mapping):
        raise InvalidInput("state", state, "a mapping of JSON values")
    try:
        text = json.dumps(state, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("state", state, f"JSON values only ({error})") from error
    if not all(isinstance(key, str) for key in state):
        raise InvalidInput("state", state, "keys that are strings")
    if len(text) > MAX_STATE:
        raise InvalidInput("state", f"{len(text):,} bytes", f"at most {MAX_STATE:,} bytes of JSON")
    return text
