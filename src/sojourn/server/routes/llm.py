"""The model of a session, and its own pieces of the system prompt."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from sojourn.errors import InvalidInput
from sojourn.server import bodies, wire
from sojourn.server.routes.common import OptionalSession, SessionId, may_fail, note
from sojourn.server.service import Caller, Serving

router = APIRouter(prefix="/api", tags=["llm"])


@router.get("/llm/current", response_model=wire.LlmAnswer, response_model_exclude_unset=True, responses=may_fail(404))
async def current(caller: Caller, service: Serving, session: OptionalSession = None) -> wire.LlmAnswer:
    """The model of a session, or the agent's; never its key."""
    if session is None:
        config = dict(service.runtime.agent_model())
        return wire.LlmAnswer(config=config, routing={"viaDexto": False})
    config = dict(await caller.model(session))
    return wire.LlmAnswer(config=config, session_id=session, routing={"viaDexto": False})


@router.post("/llm/switch", response_model=wire.LlmAnswer, response_model_exclude_unset=True, responses=may_fail(404))
async def switch(body: bodies.SwitchLlm, request: Request, caller: Caller) -> wire.LlmAnswer:
    """Another model for a session, from its next turn on."""
    if body.session_id is None:
        raise InvalidInput("sessionId", None, "a session's id: the agent's own model is its agent.yml's")
    note(request, session=body.session_id)
    wanted: dict[str, Any] = dict(body.model_extra or {})
    config = dict(await caller.switch_model(body.session_id, wanted or None))
    return wire.LlmAnswer(config=config, session_id=body.session_id)


@router.get(
    "/sessions/{session_id}/system-prompt/contributors", response_model=wire.ContributorList,
    response_model_exclude_unset=True, responses=may_fail(404),
)  # fmt: skip
async def list_contributors(session_id: SessionId, caller: Caller) -> wire.ContributorList:
    """The session's own pieces of the system prompt, in their order."""
    found = await caller.contributors(session_id)
    return wire.ContributorList(
        contributors=[
            wire.ContributorInfo(
                id=one.id, priority=one.priority, enabled=one.enabled, content_length=len(one.content)
            )
            for one in found
        ]
    )  # fmt: skip


@router.post(
    "/sessions/{session_id}/system-prompt/contributors", response_model=wire.ContributorInfo,
    response_model_exclude_unset=True, responses=may_fail(404),
)  # fmt: skip
async def put_contributor(session_id: SessionId, body: bodies.NewContributor, caller: Caller) -> wire.ContributorInfo:
    """Put a piece in the place of the one with its id; without content, or not enabled, that one is removed."""
    if not body.enabled or body.content is None:
        removed = await caller.withdraw(session_id, body.id)
        return wire.ContributorInfo(id=body.id, enabled=False, removed=removed)
    replaced = any(one.id == body.id for one in await caller.contributors(session_id))
    made = await caller.contribute(session_id, body.id, body.content, priority=body.priority)
    return wire.ContributorInfo(
        id=made.id, enabled=True, priority=made.priority, replaced=replaced, content_length=len(made.content)
    )
