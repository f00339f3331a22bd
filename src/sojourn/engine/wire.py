"""OpenAI's client without its walk over every message.

Before each request the client compares the whole history, value by value, with the types that it declares, to rename
keys and format dates and files. What pydantic-ai sends has nothing of the kind, and the walk is most of what a request
with a long history costs. What a caller adds as `extra_body` is merged into the request behind the walk, so that is
the way that the long lists take here; an empty list holds their place, so that the bytes sent are the same.
"""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI
from openai._compat import cached_property
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.resources.responses import AsyncResponses

#: The arguments that grow: with the history, and with the number of tools.
_LONG = ("messages", "input", "tools")


class PlainClient(AsyncOpenAI):
    """OpenAI's client for callers whose messages and tools are JSON already."""

    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)

    @cached_property
    def responses(self) -> AsyncResponses:
        return _Responses(self)


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


class _Completions(AsyncCompletions):
    async def create(self, **arguments: Any) -> Any:
        return await super().create(**_past_the_walk(arguments))


class _Responses(AsyncResponses):
    async def create(self, **arguments: Any) -> Any:
        return await super().create(**_past_the_walk(arguments))


def _past_the_walk(arguments: dict[str, Any]) -> dict[str, Any]:
    long = {name: value for name in _LONG if isinstance(value := arguments.get(name), list)}
    # What the caller put there itself wins, as it does in the original.
    body = {**long, **(arguments.get("extra_body") or {})}
    return {**arguments, **{name: [] for name in long}, "extra_body": body}
