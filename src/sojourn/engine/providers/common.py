"""What all providers share: keys, addresses and HTTP clients, from the configuration and from nowhere else.

The providers' libraries look for keys, addresses and headers in the environment of the process. An agent's file may
say another key than the process has, and one process may serve several agents, so each client is made with everything
that its library would look for, and what cannot be given is taken away again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
from pydantic_ai.models import create_async_http_client, create_async_httpx2_client
from pydantic_ai.providers import Provider

from sojourn.config.schema import LLM
from sojourn.errors import InvalidInput

#: The arguments of a request that grow: with the history, and with the number of tools.
_LONG = ("messages", "input", "tools")

AnyProvider = TypeVar("AnyProvider", bound=Provider[Any])

#: Seconds until a connection stands.
CONNECT_TIMEOUT = 5
#: Seconds between two pieces of an answer.
READ_TIMEOUT = 600

#: What can be sent in a header. A client's complaint about anything else quotes it, and here that would be a key.
_KEY = re.compile(r"[\x21-\x7e]+")

#: What is sent where no key is needed; the clients insist on one.
NO_KEY = "no-key"


def required_key(llm: LLM, variable: str) -> str:
    """The configured key; raises InvalidInput that suggests the variable if there is none."""
    key = optional_key(llm)
    if key is None:
        raise InvalidInput("llm.apiKey", llm.api_key, f"a key for provider {llm.provider}, for example ${variable}")
    return key


def optional_key(llm: LLM) -> str | None:
    """The configured key or None; raises InvalidInput for one that cannot be sent."""
    key = (llm.api_key or "").strip()
    if not key:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput("llm.apiKey", "…", "a key of printable ASCII characters without spaces")
    return key


def required_url(llm: LLM, example: str) -> str:
    """The configured address; raises InvalidInput if there is none."""
    if llm.base_url is None:
        raise InvalidInput("llm.baseURL", None, f"the address of the {llm.provider} server, for example {example}")
    return llm.base_url


def new_client() -> httpx2.AsyncClient:
    """A connection pool."""
    return create_async_httpx2_client(timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT))


def new_legacy_client() -> Any:
    """A connection pool for a library that still needs one of httpx."""
    return create_async_http_client(timeout=READ_TIMEOUT, connect=CONNECT_TIMEOUT)


def past_the_walk(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a request, the long ones brought past the walk that OpenAI's and Groq's clients make over them.

    Before each request the clients compare the whole history, value by value, with the types that they declare, to
    rename keys and format dates and files. What pydantic-ai sends has nothing of the kind, and the walk is most of
    what a request with a long history costs. What a caller adds as `extra_body` is merged into the request behind the
    walk, so that is the way; an empty list holds the place, so that the bytes sent are the same.
    """
    long = {name: value for name in _LONG if isinstance(value := arguments.get(name), list)}
    # What the caller put there itself wins, as it does in the original.
    body = {**long, **(arguments.get("extra_body") or {})}
    return {**arguments, **{name: [] for name in long}, "extra_body": body}


def owning(provider: AnyProvider, pool: Any, factory: Callable[[], Any]) -> AnyProvider:
    """The provider, as if it had made the pool: it closes it on exit, and makes a new one when it is entered again.

    pydantic-ai gives that only to pools that it makes together with the library's client, which must be ours.
    """
    provider._own_http_client = pool  # noqa: SLF001 - see above
    provider._http_client_factory = factory  # noqa: SLF001
    return provider
