"""Amazon Bedrock."""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]
from botocore.tokens import FrozenAuthToken  # type: ignore[import-untyped]
from pydantic_ai.models import Model
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider
from pydantic_ai.settings import ModelSettings

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import CONNECT_TIMEOUT, READ_TIMEOUT, required_key
from sojourn.errors import InvalidInput

REGION = "us-east-1"
#: The region in the name of one of Amazon's own servers.
_REGIONAL = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.")
#: An access key's id, which no Bedrock API key begins with.
_ACCESS_KEY = re.compile(r"A[KS]IA[A-Z0-9]{12,}:")
_KEY_FORMS = "ACCESS_KEY_ID:SECRET_ACCESS_KEY or ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN"

#: One thread waits for each answer, and the pool of threads is not larger.
_CONNECTIONS = 100


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider bedrock."""
    key, region = required_key(llm, "AWS_BEARER_TOKEN_BEDROCK"), _region(llm)
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "max_pool_connections": _CONNECTIONS,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "ignore_configured_endpoint_urls": True,
    }
    credentials: dict[str, str | None] = {}
    if _ACCESS_KEY.match(key):
        session, config["signature_version"] = _Session(None), "v4"
        credentials = _credentials(key)
    else:
        if llm.base_url is not None and not llm.base_url.startswith("https://"):
            raise InvalidInput("llm.baseURL", llm.base_url, "https://…: a Bedrock API key is only sent encrypted")
        session, config["signature_version"] = _Session(key), "bearer"
    client = session.create_client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=llm.base_url or f"https://bedrock-runtime.{region}.amazonaws.com",
        config=Config(**config),
        **credentials,
    )
    return BedrockConverseModel(llm.model, provider=_Provider(bedrock_client=client), settings=settings)


def _region(llm: LLM) -> str:
    found = _REGIONAL.search(urlsplit(llm.base_url or "").hostname or "")
    return found["region"] if found else REGION


def _credentials(key: str) -> dict[str, str | None]:
    parts = key.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidInput("llm.apiKey", "…", _KEY_FORMS)
    token = parts[2] if len(parts) > 2 else None  # noqa: PLR2004 - see _KEY_FORMS
    return {"aws_access_key_id": parts[0], "aws_secret_access_key": parts[1], "aws_session_token": token}


class _Session(Session):  # type: ignore[misc] # it has no types
    """A session that knows no environment and no files below the home directory."""

    def __init__(self, token: str | None) -> None:
        nowhere = {"config_file": os.devnull, "credentials_file": os.devnull}
        super().__init__(
            session_vars={
                name: (None, None, nowhere.get(name, default), conversion)
                for name, (_, _, default, conversion) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
                # Which certificates are trusted, like proxies, is a matter of the machine.
                if name != "ca_bundle"
            }
        )
        self._key = token

    def get_auth_token(self, **_options: Any) -> FrozenAuthToken | None:
        return FrozenAuthToken(self._key) if self._key else None

    def get_credentials(self) -> None:
        """None: those that there are are given to the client."""


class _Provider(BedrockProvider):
    """A provider that closes its connections; they are made anew when there is another request."""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        await super().__aexit__(exc_type, exc_val, exc_tb)
        if not self._entered_count:
            self.client.close()
        return None
