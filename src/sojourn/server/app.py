"""The application: every route over one runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from sojourn.errors import RuntimeClosed
from sojourn.server import errors
from sojourn.server.auth import LOCAL_ORIGIN, Gate
from sojourn.server.description import describe
from sojourn.server.limits import Limits
from sojourn.server.logs import RequestLog
from sojourn.server.routes import approvals, llm, messages, operation, queue, search, sessions, tools, transfer
from sojourn.server.service import Options, Service
from sojourn.sessions.runtime import Runtime

ABOUT = "Sessions of one AI agent: durable, one turn at a time. Dexto's paths and names, and what it has no names for."

#: Headers of ours that a web page may read.
_EXPOSED = ("etag", "retry-after", "x-trace-id", "x-turn")


def make_app(runtime: Runtime, *, options: Options | None = None) -> FastAPI:
    """The application. Served by itself it opens and closes the runtime, unless that is open when it starts."""
    options = options or Options()
    app = FastAPI(
        title="Sojourn",
        description=ABOUT,
        version="1",
        docs_url=None,
        openapi_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _app: _lifespan(runtime),
    )
    app.state.service = Service(runtime, options)
    errors.install(app)
    for module in (sessions, messages, queue, approvals, llm, tools, transfer, search):
        app.include_router(module.router)
    app.include_router(operation.router)
    app.include_router(operation.api)
    app.add_middleware(Limits, options=options)
    app.add_middleware(Gate, options=options)
    app.add_middleware(
        CORSMiddleware,
        # whoever has the key may use it from any page; without one, pages of this machine alone may ask
        allow_origin_regex=LOCAL_ORIGIN if options.api_key is None else ".*",
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestLog)
    _prepare(app)
    app.openapi = lambda: describe(app, with_key=options.api_key is not None)  # type: ignore[method-assign]
    return app


def _prepare(app: FastAPI) -> None:
    """Let the framework work out now what it otherwise does with the first request, while nobody waits for anything."""
    for route in app.router.routes:
        route.matches({"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []})


@asynccontextmanager
async def _lifespan(runtime: Runtime) -> AsyncIterator[None]:
    if _is_open(runtime):
        yield
        return
    async with runtime:
        yield


def _is_open(runtime: Runtime) -> bool:
    try:
        runtime.check_open()
    except RuntimeClosed:
        return False
    return True
