"""Whether the server lives, whether it can answer, and how full it is."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from sojourn.server import wire
from sojourn.server.routes.common import may_fail
from sojourn.server.service import Serving

router = APIRouter(tags=["operation"])
api = APIRouter(prefix="/api", tags=["operation"])


@router.get(
    "/health", response_class=PlainTextResponse,
    responses={200: {"description": "it lives", "content": {"text/plain": {"example": "OK"}}}},
)  # fmt: skip
async def health() -> PlainTextResponse:
    """Whether the process lives; it may still not be ready."""
    return PlainTextResponse("OK")


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """What the server can do. It takes a while to make the first time, so a thread makes it."""
    found = await asyncio.to_thread(request.app.openapi)
    if root := request.scope.get("root_path"):
        found = {**found, "servers": [{"url": root}]}  # mounted in another application, below a path of that one's
    return JSONResponse(found)


@router.get("/ready", response_model=wire.Ready, responses={503: may_fail(503)[503]})
async def ready(service: Serving) -> wire.Ready:
    """Whether requests can be answered: the storage is open and can be read."""
    await service.runtime.statistics()
    return wire.Ready(ready=True)


@api.get("/statistics", response_model=wire.StatisticsAnswer, responses=may_fail())
async def statistics(service: Serving) -> wire.StatisticsAnswer:
    """How many sessions are where, of all users."""
    found = await service.runtime.statistics()
    return wire.StatisticsAnswer(
        live=found.live,
        busy=found.busy,
        at_rest=found.at_rest,
        waiting=found.waiting,
        stored=found.stored,
        restored=found.restored,
        unloaded={reason.value: count for reason, count in found.unloaded.items()},
        max_sessions=found.max_sessions,
        sessionTTL=round(found.session_ttl * 1000),
    )


@api.get("/greeting", response_model=wire.Greeting, response_model_exclude_unset=True, responses=may_fail())
async def greeting(service: Serving) -> wire.Greeting:
    """What the agent says before anybody has spoken."""
    said = service.options.greeting
    return wire.Greeting() if said is None else wire.Greeting(greeting=said)
