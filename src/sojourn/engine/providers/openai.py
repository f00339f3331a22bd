"""OpenAI and everything that speaks as it does."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers import Provider
from pydantic_ai.providers.litellm import LiteLLMProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.providers.openrouter import OpenRouterProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import NO_KEY, optional_key, owning, required_key, required_url
from sojourn.engine.providers.streams import new_noticing_client
from sojourn.engine.wire import PlainClient

OPENAI = "https://api.openai.com/v1"
OPENROUTER = "https://openrouter.ai/api/v1"
GLAMA = "https://gateway.glama.ai/v1"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the providers openai, openai-compatible, openrouter, litellm and glama."""
    if llm.provider == "openai":
        return _openai(llm, settings)
    if llm.provider == "openrouter":
        client = _client(required_key(llm, "OPENROUTER_API_KEY"), llm.base_url or OPENROUTER)
        return OpenRouterModel(
            llm.model, provider=_owned(OpenRouterProvider(openai_client=client), client), settings=settings
        )
    provider: Provider[AsyncOpenAI]
    if llm.provider == "litellm":
        client = _client(optional_key(llm) or NO_KEY, required_url(llm, "http://127.0.0.1:4000/v1"))
        provider = LiteLLMProvider(openai_client=client)
    elif llm.provider == "glama":
        client = _client(required_key(llm, "GLAMA_API_KEY"), llm.base_url or GLAMA)
        provider = OpenAICompatibleProvider("glama", openai_client=client)
    else:
        client = _client(optional_key(llm) or NO_KEY, required_url(llm, "http://127.0.0.1:8080/v1"))
        provider = OpenAICompatibleProvider("openai-compatible", openai_client=client)
    return OpenAIChatModel(llm.model, provider=_owned(provider, client), settings=settings)


def _openai(llm: LLM, settings: ModelSettings) -> Model[Any]:
    url = llm.base_url or OPENAI
    client = _client(required_key(llm, "OPENAI_API_KEY"), url)
    provider = _owned(OpenAIProvider(openai_client=client), client)
    host = urlsplit(url).hostname or ""
    # Whoever else stands at an address speaks Chat Completions at least, and often nothing newer.
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return OpenAIResponsesModel(llm.model, provider=provider, settings=settings)
    return OpenAIChatModel(llm.model, provider=provider, settings=settings)


def _client(key: str, url: str) -> AsyncOpenAI:
    client = PlainClient(api_key=key, base_url=url, max_retries=0, http_client=new_noticing_client())
    # From OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_ADMIN_KEY, OPENAI_WEBHOOK_SECRET and OPENAI_CUSTOM_HEADERS.
    client.organization = client.project = client.admin_api_key = client.webhook_secret = None
    client._custom_headers = {}  # noqa: SLF001 - there is no argument that keeps the variable's out
    client._ambient_authorizations = frozenset()  # noqa: SLF001
    return client


def _owned(provider: Provider[AsyncOpenAI], client: AsyncOpenAI) -> Provider[AsyncOpenAI]:
    return owning(provider, client._client, new_noticing_client)  # noqa: SLF001 - the pool that it was given
