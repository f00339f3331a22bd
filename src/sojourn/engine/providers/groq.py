"""Groq."""

from __future__ import annotations

from typing import Any

from groq import AsyncGroq
from pydantic_ai.models import Model
from pydantic_ai.models.groq import GroqModel
from pydantic_ai.providers.groq import GroqProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import new_legacy_client, owning, required_key

URL = "https://api.groq.com"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider groq."""
    pool = new_legacy_client()
    client = AsyncGroq(
        api_key=required_key(llm, "GROQ_API_KEY"), base_url=llm.base_url or URL, max_retries=0, http_client=pool
    )
    # From GROQ_CUSTOM_HEADERS.
    client._custom_headers = {}  # noqa: SLF001 - there is no argument that keeps the variable's out
    provider = owning(GroqProvider(groq_client=client), pool, new_legacy_client)
    return GroqModel(llm.model, provider=provider, settings=settings)
