"""What is known of one request on its way to an MCP server, and what must not reach a log of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

#: Where everything about MCP servers is logged.
log = logging.getLogger("sojourn.mcp")

#: Configured values shorter than this are words rather than secrets.
_SECRET_LENGTH = 6


@dataclass(slots=True)
class Sending:
    """How far a request came; a request that was not sent may be sent again, any other may not."""

    sent: bool = False
    #: The status of an HTTP answer that was an error.
    status: int | None = None


_sending: ContextVar[Sending | None] = ContextVar("sojourn_mcp_sending", default=None)


def sending() -> Sending | None:
    """What the running code sends, if anything: transports run in the context of whoever asked."""
    return _sending.get()


@contextmanager
def tracked() -> Iterator[Sending]:
    """Follow the one request that is made inside; the libraries below log nothing of it."""
    state = Sending()
    token = _sending.set(state)
    try:
        yield state
    finally:
        _sending.reset(token)


class _Discreet(logging.Filter):
    """Drops what the libraries log about our connections: URLs with keys in them, and whole messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _sending.get() is None


_DISCREET = _Discreet()


def keep_quiet() -> None:
    """Let the libraries log nothing about our connections; what matters is logged here."""
    for name in ("client", "mcp.client.sse", "mcp.client.streamable_http", "mcp.shared.jsonrpc_dispatcher", "httpx2"):
        logging.getLogger(name).addFilter(_DISCREET)


class Redactor:
    """Takes configured values (environment, headers, credentials of a URL) out of a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: one may be a part of another.
        self._secrets = sorted({text for text in secrets if len(text) >= _SECRET_LENGTH}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
