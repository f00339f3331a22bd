"""Google: the Gemini API, and the same models on Google Cloud (Vertex AI)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from google.genai import Client
from google.genai.types import HttpOptions
from google.oauth2.service_account import Credentials
from pydantic_ai.models import Model, get_user_agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.google_cloud import GoogleCloudProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import READ_TIMEOUT, new_client, owning, required_key
from sojourn.errors import InvalidInput

GEMINI = "https://generativelanguage.googleapis.com/"
VERTEX = "https://aiplatform.googleapis.com/"

#: Where the models are asked for when the address does not say.
LOCATION = "global"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: The location in the name of one of Google's own servers.
_REGIONAL = re.compile(r"(?:(?P<region>[a-z0-9-]+)-aiplatform|aiplatform\.(?P<area>[a-z]+)\.rep)\.googleapis\.com")


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the providers google and vertex."""
    pool = new_client()
    if llm.provider == "google":
        key = required_key(llm, "GOOGLE_GENERATIVE_AI_API_KEY")
        client = Client(vertexai=False, api_key=key, http_options=_options(llm, GEMINI, pool))
        provider: GoogleProvider | GoogleCloudProvider = GoogleProvider(client=client)
    else:
        client = _vertex(llm, pool)
        provider = GoogleCloudProvider(client=client)
    # Its client for calls without a loop, which are never made.
    client.close()
    return GoogleModel(llm.model, provider=owning(provider, pool, new_client), settings=settings)


def _vertex(llm: LLM, pool: Any) -> Client:
    options = _options(llm, VERTEX, pool)
    text = (llm.api_key or "").strip()
    if not text.startswith("{"):
        return Client(vertexai=True, api_key=required_key(llm, "VERTEX_API_KEY"), http_options=options)
    credentials, project = _service_account(text)
    return Client(
        vertexai=True, credentials=credentials, project=project, location=_location(llm), http_options=options
    )


def _service_account(text: str) -> tuple[Credentials, str]:
    try:
        account = json.loads(text)
        made: Credentials = Credentials.from_service_account_info(account, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
        return made, account["project_id"]
    except (ValueError, KeyError, TypeError):
        # What is wrong with it would be told with parts of it.
        raise InvalidInput("llm.apiKey", "…", "the JSON key file of a Google Cloud service account, whole") from None


def _location(llm: LLM) -> str:
    found = _REGIONAL.fullmatch(urlsplit(llm.base_url or "").hostname or "")
    return (found["region"] or found["area"]) if found else LOCATION


def _options(llm: LLM, url: str, pool: Any) -> HttpOptions:
    return HttpOptions(
        base_url=llm.base_url or url,
        headers={"user-agent": get_user_agent()},
        httpx_async_client=pool,
        # Milliseconds. Without it every request says that it has no timeout.
        timeout=READ_TIMEOUT * 1000,
    )
