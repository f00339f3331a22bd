"""An MCP server that is a child process: JSON lines over its pipes, and its end, whatever becomes of us.

The child leads a session and process group of its own. At the end its stdin is closed, which is how MCP says goodbye;
what is left of the group then gets SIGTERM and at last SIGKILL. A tiny shell watches over us: when its pipe to us
closes without a word, however we died, it ends the groups that are left.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from sojourn.config.schema import StdioServer
from sojourn.engine.mcp_sending import Redactor, log, sending

#: What a child inherits of our environment; everything else it needs is in the configuration.
INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")

#: Seconds for a child to end by itself when its stdin closes.
GOODBYE = 2.0
#: Seconds for a process group to end after SIGTERM.
TERMINATION = 2.0
#: Seconds until we hear that a killed child has ended; a machine that is busy enough takes some.
BURIAL = 10.0
#: How much of these a child gets where we are being cancelled: everything ends, and waits for us.
HURRY = 0.2
#: Seconds for what a dead child still had in its pipe.
LAST_WORDS = 0.2
#: Seconds between two looks whether a process group is gone; nothing tells us.
_POLL = 0.01
#: Bytes of one message; more is no message.
LONGEST_LINE = 64 * 1024 * 1024
#: Characters of a line of a child's standard error that are logged.
LONGEST_LOGGED = 2000

_WATCH = """
while read -r what group; do
  case $what in
    +) groups="$groups $group" ;;
    -) left=; for one in $groups; do [ "$one" = "$group" ] || left="$left $one"; done; groups=$left ;;
  esac
done
[ -n "$groups" ] || exit 0
for one in $groups; do kill -s TERM -- "-$one"; done
sleep 1
for one in $groups; do kill -s KILL -- "-$one"; done
"""


class Watch:
    """A shell that ends process groups when this process is gone and could not."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        try:
            self._shell = subprocess.Popen(  # noqa: S603 - every word of it is ours
                ["/bin/sh", "-c", _WATCH],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath},
                start_new_session=True,  # a signal to our group would end it too early
            )
        except OSError as error:
            log.debug("nothing watches over MCP servers: %s", error.strerror)

    def add(self, group: int) -> None:
        self._tell(f"+ {group}\n")

    def remove(self, group: int) -> None:
        self._tell(f"- {group}\n")

    def _tell(self, line: str) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with suppress(OSError, ValueError):
                self._shell.stdin.write(line.encode())
                self._shell.stdin.flush()

    def close(self) -> None:
        """End the shell; groups that are still there are ended by it."""
        shell, self._shell = self._shell, None
        if shell is None or shell.stdin is None:
            return
        with suppress(OSError):
            shell.stdin.close()
        try:
            shell.wait(timeout=GOODBYE + TERMINATION)  # a millisecond, if nothing is left
        except subprocess.TimeoutExpired:
            shell.kill()
            shell.wait()


def environment(server: StdioServer, ours: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: a safe part of ours, and what the configuration names."""
    return {name: ours[name] for name in INHERITED if name in ours} | server.env


@asynccontextmanager
async def child(
    server: StdioServer, *, base: Path, watch: Watch, name: str, redact: Redactor, lost: Callable[[str], None]
) -> AsyncGenerator[tuple[Any, Any]]:
    """Run a server's process and give its messages; raises OSError if it cannot be started."""
    process = _Child(name, redact, lost)
    try:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: process,
            server.command,
            *server.args,
            cwd=base,
            env=environment(server, os.environ),
            start_new_session=True,
        )
        watch.add(transport.get_pid())
        try:
            yield process.incoming, process
        except asyncio.CancelledError:
            process.hurry = HURRY
            raise
        finally:
            try:
                await process.stop()
            finally:
                transport.close()
                watch.remove(transport.get_pid())
    finally:
        process.forget()


class _Child(asyncio.SubprocessProtocol):
    """The pipes of one process; itself the stream that messages are written to."""

    def __init__(self, name: str, redact: Redactor, lost: Callable[[str], None]) -> None:
        self._name, self._redact, self._lost = name, redact, lost
        self.hurry = 1.0
        self._arriving, self.incoming = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
        self._transport: asyncio.SubprocessTransport
        self._stdin: asyncio.WriteTransport
        self._lines = {1: _Lines(self._message), 2: _Lines(self._complaint)}
        self._exited = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stopping = False
        self._silent = False

    # -- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if isinstance(data, bytes) and not self._lines[fd].feed(data):
            self._end("it sent a line that never ends")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 2:  # noqa: PLR2004 - standard error
            self._lines[fd].feed(b"\n")
            return
        self._silent = self._silent or fd == 1
        if self._exited.is_set():
            self._end(self._how_it_ended())
        else:
            # A dying process closes its pipes first; a moment later there is more to say about it.
            asyncio.get_running_loop().call_later(LAST_WORDS, self._end, "it closed its pipes")

    def process_exited(self) -> None:
        self._exited.set()
        if self._silent:
            self._end(self._how_it_ended())
        else:
            # Something may still be in the pipe, and processes that it started may hold that open for ever.
            asyncio.get_running_loop().call_later(LAST_WORDS, self._end, self._how_it_ended())

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    def _end(self, why: str) -> None:
        """No message will come any more."""
        self._flowing.set()
        self._arriving.close()
        if not self._stopping:
            self._lost(why)

    def _how_it_ended(self) -> str:
        code = self._transport.get_returncode() or 0
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    # -- messages

    def _message(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            log.debug("%s wrote what is no message to stdout: %s", self._name, self._shown(line))
            return
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._arriving.send_nowait(SessionMessage(message))

    def _complaint(self, line: bytes) -> None:
        if text := self._shown(line):
            log.debug("%s: %s", self._name, text)

    def _shown(self, line: bytes) -> str:
        return self._redact(line[:LONGEST_LOGGED].decode("utf-8", "replace").rstrip())

    async def send(self, item: SessionMessage, /) -> None:
        await self._flowing.wait()
        if self._exited.is_set() or self._stdin.is_closing():
            raise anyio.BrokenResourceError
        if (state := sending()) is not None:
            state.sent = True
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        self._stdin.write(text.encode() + b"\n")

    async def aclose(self) -> None:
        """Messages end with the process."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *args: object) -> None:
        return None

    # -- the end

    async def stop(self) -> None:
        """Say goodbye, and make sure that nobody of the group is left; a cancel makes it short."""
        self._stopping = True
        group = self._transport.get_pid()
        try:
            if not self._exited.is_set():
                self._stdin.close()
                with suppress(TimeoutError):
                    async with asyncio.timeout(GOODBYE * self.hurry):
                        await self._exited.wait()
            _signal(group, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(TERMINATION * self.hurry):
                    while _there(group) or not self._exited.is_set():  # noqa: ASYNC110 - nobody tells it
                        await asyncio.sleep(_POLL)
        finally:
            if _there(group):
                _signal(group, signal.SIGKILL)
            # also where we are being cancelled: what is not awaited stays a zombie, and its end is told to nobody
            if not self._exited.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(BURIAL):
                        await self._exited.wait()

    def forget(self) -> None:
        """Let go of the streams."""
        self._arriving.close()
        self.incoming.close()


class _Lines:
    """Bytes in, whole lines out."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """Whether the line that has begun is not too long yet."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._take(b"".join([*self._begun, line]))
            self._begun, self._size = [], 0
        if rest:
            self._begun.append(rest)
            self._size += len(rest)
        if self._size <= LONGEST_LINE:
            return True
        self._begun, self._size = [], 0
        return False


def _signal(group: int, number: signal.Signals) -> None:
    # PermissionError: what is left of the group is no longer ours, or is being ended.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
