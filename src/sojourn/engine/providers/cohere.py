"""Cohere."""

from __future__ import annotations

from typing import Any

from cohere import AsyncClientV2
from pydantic_ai.models import Model
from pydantic_ai.models.cohere import CohereModel
from pydantic_ai.providers.cohere import CohereProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import READ_TIMEOUT, new_legacy_client, owning, required_key

URL = "https://api.cohere.com"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider cohere."""
    pool = new_legacy_client()
    client = AsyncClientV2(
        api_key=required_key(llm, "COHERE_API_KEY"),
        base_url=llm.base_url or URL,
        # Without one, requests are made without any timeout, whatever the pool has.
        timeout=READ_TIMEOUT,
        max_retries=0,
        httpx_client=pool,
    )
    provider = owning(CohereProvider(cohere_client=client), pool, new_legacy_client)
    return CohereModel(llm.model, provider=provider, settings=settings)
