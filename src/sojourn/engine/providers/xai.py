"""xAI, over gRPC."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pydantic_ai.models import Model
from pydantic_ai.models.xai import XaiModel
from pydantic_ai.providers.xai import XaiProvider
from pydantic_ai.settings import ModelSettings
from xai_sdk import AsyncClient  # type: ignore[import-untyped]

from sojourn.config.schema import LLM
from sojourn.engine.providers.common import NO_KEY, READ_TIMEOUT, required_key
from sojourn.errors import InvalidInput

URL = "https://api.x.ai"


def build(llm: LLM, settings: ModelSettings) -> Model[Any]:
    """The model of the provider xai."""
    url = urlsplit(llm.base_url or URL)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise InvalidInput("llm.baseURL", llm.base_url, "https://HOST or http://HOST:PORT")
    options: dict[str, Any] = {
        "api_key": required_key(llm, "XAI_API_KEY"),
        # Never used; given so that no other is looked for.
        "management_api_key": NO_KEY,
        "api_host": url.netloc,
        "use_insecure_channel": url.scheme == "http",
        "timeout": READ_TIMEOUT,
        "channel_options": [("grpc.enable_retries", 0), ("grpc.service_config", "{}")],
    }
    return XaiModel(llm.model, provider=_Provider(options), settings=settings)


class _Provider(XaiProvider):
    """A provider whose client is made on the loop that uses it, as gRPC needs it, and closed."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(api_key=options["api_key"])
        self._options = options
        self._made: AsyncClient | None = None
        self._made_on: asyncio.AbstractEventLoop | None = None

    @property
    def client(self) -> AsyncClient:
        loop = asyncio.get_running_loop()
        if self._made is None or self._made_on is not loop:
            self._made, self._made_on = AsyncClient(**self._options), loop
        return self._made

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        await super().__aexit__(exc_type, exc_val, exc_tb)
        if not self._entered_count and self._made is not None:
            made, self._made = self._made, None
            await made.close()
        return None
