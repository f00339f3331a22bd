"""MCP servers over HTTP: the libraries' transports on a client that tells when a connection is no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from sojourn.config.schema import HTTPServer, SSEServer
from sojourn.engine.mcp_sending import sending

#: Seconds to tell a server that its session is over.
GOODBYE = 2.0
#: Bytes of one event; a picture is one.
LONGEST_EVENT = 64 * 1024 * 1024

#: Why a connection to a server that was started anew is of no use any more.
FORGOTTEN = "it does not know this connection any more"

_NOT_FOUND = 404
_ERRORS = 400

#: Failures before anything of a request went out.
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


def http(
    server: HTTPServer, *, timeout: float, lost: Callable[[str], None], suspect: Callable[[str], None]
) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    """Connect over streamable HTTP; the end of the stream of notifications is only a reason to look."""
    return _streamable(server, _Client(server, timeout, lost=lost, ended=suspect, broken=suspect))


def sse(
    server: SSEServer, *, timeout: float, lost: Callable[[str], None]
) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    """Connect over HTTP with server-sent events; the end of the stream is the end of the connection."""

    def client(*_: object, **__: object) -> _Client:
        return _Client(server, timeout, lost=lost, ended=lost, broken=lost)

    return sse_client(server.url, httpx_client_factory=client)


@asynccontextmanager
async def _streamable(server: HTTPServer, client: _Client) -> AsyncGenerator[tuple[Any, Any]]:
    async with (
        client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=LONGEST_EVENT) as streams,
    ):
        yield streams


def without_credentials(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def credentials(url: str) -> list[str]:
    """What `without_credentials` leaves out."""
    parts = urlsplit(url)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    return [text for text in (parts.username, parts.password, parts.query, parts.fragment, *values) if text]


class _Client(httpx2.AsyncClient):
    """Sees every request; reports which were sent, which were refused, and when the connection is gone."""

    def __init__(
        self,
        server: HTTPServer | SSEServer,
        timeout: float,
        *,
        lost: Callable[[str], None],
        ended: Callable[[str], None],
        broken: Callable[[str], None],
    ) -> None:
        super().__init__(
            headers=server.headers,
            # How long an answer may take is known where it is awaited; a limit here would end everybody's connection.
            timeout=httpx2.Timeout(None, connect=timeout),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self._lost, self._ended, self._broken = lost, ended, broken

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        state = sending()
        if state is not None and request.method == "POST":
            state.sent = True
        try:
            async with asyncio.timeout(GOODBYE if request.method == "DELETE" else None):
                response = await super().send(request, **options)
        except httpx2.RequestError as error:
            if state is not None and isinstance(error, _UNSENT):
                state.sent = False
            # Over streamable HTTP a stream of notifications that cannot be opened again is not the whole connection.
            (self._broken if request.method == "GET" else self._lost)(reason(error))
            raise
        if response.status_code >= _ERRORS:
            self._refused(request, response.status_code)
        elif request.method == "GET":
            response.stream = _Followed(response.stream, self._ended)
        return response

    def _refused(self, request: httpx2.Request, status: int) -> None:
        if request.method == "POST" and (state := sending()) is not None:
            state.status = status
        if status == _NOT_FOUND and "mcp-session-id" in request.headers:
            # To a GET it may only mean that the server has no notifications to send.
            (self._broken if request.method == "GET" else self._lost)(FORGOTTEN)


class _Followed(httpx2.AsyncByteStream):
    """A stream that tells when it has ended, unless it was closed by us."""

    def __init__(self, stream: Any, ended: Callable[[str], None]) -> None:
        self._stream, self._ended = stream, ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.RequestError as error:
            self._ended(reason(error))
            raise
        self._ended("it ended the connection")

    async def aclose(self) -> None:
        await self._stream.aclose()


def reason(error: BaseException) -> str:
    """Why a request failed, without the URL, which may hold a key."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered with HTTP status {error.response.status_code}"
    return {
        "ConnectError": "no connection",
        "ConnectTimeout": "no connection in time",
        "ReadError": "the connection broke",
        "RemoteProtocolError": "the connection broke",
    }.get(type(error).__name__, type(error).__name__)
