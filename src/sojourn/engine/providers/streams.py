"""Streams that stop without having ended.

A server or a gateway whose source fails may close the stream of an answer as if it were complete. The libraries take
what came for the whole answer then, so that half a sentence would be stored as the model's last word.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2

from sojourn.engine.providers.common import new_client, new_legacy_client

#: How the streams of Chat Completions, Responses and Messages say that they are complete.
_END = re.compile(
    rb'\[DONE\]|"finish_reason": ?"|response\.(?:completed|incomplete|failed|cancelled)|message_stop|"stop_reason": ?"'
)
#: The longest of these, which may be cut in two by the network.
_LONGEST = 32


def new_noticing_client() -> Any:
    """A connection pool to which a stream that stops without having ended is a connection that was lost."""
    return _noticing(new_client(), httpx2)


def new_noticing_legacy_client() -> Any:
    """The same for a library that still needs one of httpx."""
    import httpx  # noqa: PLC0415 - only there with such a library

    return _noticing(new_legacy_client(), httpx)


def _noticing(client: Any, library: Any) -> Any:
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks["response"], _notice(library)]}
    return client


def _notice(library: Any) -> Callable[[Any], Awaitable[None]]:
    """What replaces the stream of a response; httpx and its successor each accept only streams of their own."""

    class Noticing(library.AsyncByteStream):  # type: ignore[misc] # one of two libraries
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            seen, ended = b"", False
            async for piece in self._stream:
                seen += piece
                ended = ended or _END.search(seen) is not None
                seen = seen[-_LONGEST:]
                yield piece
            if not ended:
                raise library.RemoteProtocolError("the stream stopped before its end")

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def notice(response: Any) -> None:
        headers = response.headers
        # What is compressed cannot be read here.
        if headers.get("content-type", "").startswith("text/event-stream") and "content-encoding" not in headers:
            response.stream = Noticing(response.stream)

    return notice
