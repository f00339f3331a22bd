"""Anthropic."""

from __future__ import annotations

from typing import Any

from anthropic import AsyncAnthropic
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import owning, required_key
from sojourn.engine.providers.streams import new_noticing_client

URL = "https://api.anthropic.com"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider anthropic."""
    pool = new_noticing_client()
    client = AsyncAnthropic(
        api_key=required_key(llm, "ANTHROPIC_API_KEY"), base_url=llm.base_url or URL, max_retries=0, http_client=pool
    )
    # From ANTHROPIC_WEBHOOK_SIGNING_KEY and ANTHROPIC_CUSTOM_HEADERS.
    client.webhook_key = None
    client._custom_headers = {}  # noqa: SLF001 - there is no argument that keeps the variable's out
    provider = owning(AnthropicProvider(anthropic_client=client), pool, new_noticing_client)
    return AnthropicModel(llm.model, provider=provider, settings=settings)
