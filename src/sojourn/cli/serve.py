"""`sojourn serve`: the HTTP server, and what it says when it is there."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sojourn.cli.exits import OK, USAGE, Refusal
from sojourn.cli.place import address_of, agent_runtime, configuration_of, shown_address

if TYPE_CHECKING:
    from sojourn.bootstrap import Sojourn

#: The environment's variable with the key that callers have to show.
KEY_VARIABLE = "SOJOURN_API_KEY"

_LEVELS = ("debug", "info", "warning", "error")

_TRY = """{"sessionId":"hello","content":"My favourite colour is teal."}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `serve` is asked for."""

    agent: Path | None
    host: str
    port: int
    storage: str | None
    log_level: str


async def serve(wanted: Wanted) -> int:
    """Serve until SIGTERM or Ctrl-C, and end in order."""
    level, key = _level(wanted.log_level), _key()
    from sojourn.server.auth import is_here

    local = is_here(wanted.host)
    if not local and key is None:
        raise Refusal(
            f"--host {wanted.host} would let every machine in that can reach this one; set {KEY_VARIABLE} to a key "
            "that callers have to send, or leave --host out",
            USAGE,
        )
    configuration = configuration_of(wanted.agent)
    with _listening(wanted.host, wanted.port) as listening:
        runtime = agent_runtime(configuration, wanted.storage)
        _log(level)
        await runtime.open()
        try:
            await _run(runtime, listening, wanted, key=key, local_only=local and key is None)
        finally:
            await runtime.close()
    return OK


async def _run(
    runtime: Sojourn, listening: socket.socket, wanted: Wanted, *, key: str | None, local_only: bool
) -> None:
    from sojourn.server.running import allow_files, make_server, pass_over_loaded

    allow_files()
    server = make_server(runtime.asgi(api_key=key, local_only=local_only), runtime)
    pass_over_loaded()
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    url = f"http://{host}:{listening.getsockname()[1]}"
    where = shown_address(address_of(runtime.configuration, wanted.storage))
    await server.run_until_told([listening], lambda: _greet(runtime, url, where, with_key=key is not None))


def _greet(runtime: Sojourn, url: str, where: str, *, with_key: bool) -> None:
    agent = "the demo agent, which is no language model; `sojourn init` makes an agent of your own"
    if runtime.configuration is not None:
        agent = f"agent {runtime.configuration.name}"
    shown = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if with_key else ""
    lines = [
        f"Sojourn serves {agent}",
        f"at {url}, with conversations in {where}",
        "Try it:",
        f"  curl -N {url}/api/message-stream{shown} -H 'content-type: application/json' -d '{_TRY}'",
    ]
    if not with_key:
        lines.append(f"It answers this machine alone, without a key; set {KEY_VARIABLE} to ask for one.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _listening(host: str, port: int) -> socket.socket:
    from sojourn.server.running import listen

    try:
        return listen(host, port)
    except socket.gaierror as error:
        raise Refusal(f"--host: found {host!r}, expected an address or a name of this machine", USAGE) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = (
                f"port {port} of {host} is in use; end what uses it, or choose another with --port (0: a free one)"
            )
        elif error.errno == errno.EADDRNOTAVAIL:
            sentence = f"{host} is no address of this machine; leave --host out, or name one of its addresses"
        else:
            sentence = f"cannot listen at port {port} of {host}: {(error.strerror or 'it failed').lower()}"
        raise Refusal(sentence) from error


def _level(name: str) -> str:
    """A level as logging knows it; raises Refusal."""
    if name not in _LEVELS:
        raise Refusal(f"--log-level: found {name!r}, expected {', '.join(_LEVELS)}", USAGE)
    return name.upper()


def _key() -> str | None:
    key = os.environ.get(KEY_VARIABLE, "")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise Refusal(f"{KEY_VARIABLE}: expected printable ASCII characters without spaces", USAGE)
    return key or None


def _log(level: str) -> None:
    """Lines of JSON: on standard error, unless the agent's file says where they go."""
    from sojourn.server.logs import JsonLines

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.setLevel(level)
    root, logger = logging.getLogger(), logging.getLogger("sojourn")
    if not root.handlers:
        root.addHandler(handler)  # what libraries warn of would come as plain text, and with what it quotes
    if logger.handlers or not logger.propagate:
        for other in logger.handlers:
            other.setFormatter(JsonLines())
        return
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
