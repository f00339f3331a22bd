"""Groq."""

from __future__ import annotations

from typing import Any

from groq import AsyncGroq
from groq._compat import cached_property
from groq.resources.chat import AsyncChat, AsyncCompletions
from pydantic_ai.models import Model
from pydantic_ai.models.groq import GroqModel
from pydantic_ai.providers.groq import GroqProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import owning, past_the_walk, required_key
from sojourn.engine.providers.streams import new_noticing_legacy_client

URL = "https://api.groq.com"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider groq."""
    pool = new_noticing_legacy_client()
    client = PlainGroq(
        api_key=required_key(llm, "GROQ_API_KEY"), base_url=llm.base_url or URL, max_retries=0, http_client=pool
    )
    # From GROQ_CUSTOM_HEADERS.
    client._custom_headers = {}  # noqa: SLF001 - there is no argument that keeps the variable's out
    provider = owning(GroqProvider(groq_client=client), pool, new_noticing_legacy_client)
    return GroqModel(llm.model, provider=provider, settings=settings)


class PlainGroq(AsyncGroq):
    """Groq's client for callers whose messages and tools are JSON already."""

    @cached_property
    def chat(self) -> AsyncChat:
        return _Chat(self)


class _Chat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


class _Completions(AsyncCompletions):
    async def create(self, **arguments: Any) -> Any:
        return await super().create(**past_the_walk(arguments))
