"""The application: every route over one runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from sojourn.errors import RuntimeClosed
from sojourn.server import errors
from sojourn.server.auth import LOCAL_ORIGIN, Gate
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
        allow_origin_regex=LOCAL_ORIGIN,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestLog)
    _prepare(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
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


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description, with the one shape of all errors in the place of FastAPI's own."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = found["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in found["paths"].values():
            for described in operations.values():
                _describe_errors(described["responses"])
        app.openapi_schema = found
    return app.openapi_schema


def _describe_errors(responses: dict[str, Any]) -> None:
    """Errors are JSON, also where a route's answers are not."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, told in responses.items():
        if status >= "400" and (content := told.get("content")):
            told["content"] = {"application/json": next(iter(content.values()))}
