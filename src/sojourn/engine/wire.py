"""OpenAI's client without its walk over every message."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI
from openai._compat import cached_property
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.resources.responses import AsyncResponses

from sojourn.engine.providers.common import past_the_walk


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
        return await super().create(**past_the_walk(arguments))


class _Responses(AsyncResponses):
    async def create(self, **arguments: Any) -> Any:
        return await super().create(**past_the_walk(arguments))
