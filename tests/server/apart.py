"""A server in a thread with a loop of its own, for clients that are not asyncio's."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sojourn import Sojourn
from sojourn.abc import Engine
from sojourn.server.app import make_app
from sojourn.server.running import Server, listen, make_server
from tests.server.kit import SOON

#: How long a reader of an endless stream stays, seconds.
STAY = 0.01


class LeavingSoon:
    """Whoever follows a session leaves after a moment, so that the answer has an end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return
        begun = ended = False

        async def sending(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async def leaving() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False) and not begun:
                return message
            await asyncio.sleep(STAY)
            return {"type": "http.disconnect"}

        await self._app(scope, leaving, sending)
        if begun and not ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Apart:
    """A server in a thread; what it logs and what broke in it is its own."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        self._engine, self._settings = engine, {"storage": "memory:", **settings}
        self._ready = threading.Event()
        self._server: Server | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="server-apart")
        self._thread.start()
        assert self._ready.wait(SOON)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.stop()
        self._thread.join(SOON)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        async with Sojourn(self._engine, **self._settings) as runtime:
            app = make_app(runtime)
            app.add_middleware(LeavingSoon)
            with listen("127.0.0.1", 0) as listening:
                self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                self._server = make_server(app, runtime)
                await self._server.run_until_told([listening], self._ready.set)
