"""Serving an application with uvicorn: from a socket that listens to an orderly end."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from sojourn.server.connections import Connection, Heads, Stalls
from sojourn.server.service import Options
from sojourn.sessions.runtime import Runtime

#: The largest head of a request, bytes.
MAX_HEADERS = 32 * 1024

#: How long streams have to send their ends once the runtime has closed, seconds.
LAST_WORDS = 2.0

#: How long a process has that was told twice to end, seconds, and its exit code where it takes longer.
FORCED, FORCED_EXIT = 2.0, 1

#: How long a connection may be idle, seconds: longer than clients keep one, or it would be closed under their feet.
KEEP_ALIVE = 75

#: After how many tenths of a second connections are looked at that take nothing, or say nothing.
LOOK_EVERY = 5

#: How many files are allowed to be open; systems often start with 1,024.
MAX_FILES = 65_536

#: How many connections may wait to be taken.
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named, because asyncio sends small answers at once only where it knows the protocol
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def allow_files(wanted: int = MAX_FILES) -> None:
    """Let this process have so many files open, or as many as it may: every reader's connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def pass_over_loaded() -> None:
    """Let garbage collection pass over what is loaded by now: a look at it holds the loop for a tenth of a second.

    For a process that does nothing but serve.
    """
    gc.freeze()


class Server(uvicorn.Server):
    """Closes the runtime as soon as it is told to end: nothing new is taken, and streams end when their turns do."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, options: Options) -> None:
        super().__init__(config)
        self._stalls, self._heads = Stalls(options.stall), Heads(options.body_timeout)
        self._runtime = runtime
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._cutting: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End, from any thread or signal; a second time at once, however long turns would have had."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hurry if self.force_exit else self._close)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is not raised again afterwards, as uvicorn would: an orderly end is no failure."""
        if self.should_exit and not self.force_exit:
            # what neither cancelling nor closing ends, a tool in a thread say, ends with the process
            last = threading.Timer(FORCED, os._exit, (FORCED_EXIT,))
            last.daemon = True
            last.start()
        self.stop()

    async def run_until_told(self, sockets: list[socket.socket], started: Callable[[], None]) -> None:
        """Serve, and return when everything has ended; the runtime is closed then."""
        self._loop = asyncio.get_running_loop()
        self._started = started
        try:
            await self.serve(sockets)
        finally:
            self._close()
            if self._closing is not None and self._cutting is not None:
                await self._closing
                self._cutting.cancel()
            if self.force_exit:
                self._abort()
                if self.server_state.tasks:
                    await asyncio.wait(self.server_state.tasks, timeout=FORCED / 2)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._started()

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn: ten times a second."""
        if counter % LOOK_EVERY == 0:
            connections, now = self.server_state.connections, time.monotonic()
            for connection in self._stalls.look(connections, now):
                connection.transport.abort()
            for connection in self._heads.look(connections, now):
                connection.give_up()
        return await super().on_tick(counter)

    def _close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._runtime.close(), name="sojourn-close")
            self._cutting = asyncio.create_task(self._cut(self._closing), name="sojourn-cut")

    async def _cut(self, closing: asyncio.Task[None]) -> None:
        """Cut the connections of readers that do not read, so that they do not hold up the end."""
        await asyncio.wait([closing])
        await asyncio.sleep(LAST_WORDS)
        self._abort()

    def _hurry(self) -> None:
        self._close()
        self._runtime.hurry()

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()


def make_server(app: FastAPI, runtime: Runtime) -> Server:
    """A server for the application; the runtime is opened by the caller and closed by the server."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        loop="asyncio",
        http=Connection,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_graceful_shutdown=math.ceil(runtime.settings.close_wait.total_seconds() + LAST_WORDS) + 2,
    )
    return Server(config, runtime, app.state.service.options)
