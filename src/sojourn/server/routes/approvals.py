"""Questions to people: which there are, what was decided, and what is remembered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from sojourn.errors import InvalidInput
from sojourn.records import Remember
from sojourn.server import bodies, shapes, wire
from sojourn.server.calls import Calls
from sojourn.server.errors import Refused
from sojourn.server.routes.common import MadeId, OptionalSession, may_fail, note
from sojourn.server.service import Caller

router = APIRouter(prefix="/api", tags=["approvals"])


@router.get("/approvals", response_model=wire.ApprovalList, response_model_exclude_unset=True, responses=may_fail(404))
async def list_approvals(
    caller: Caller,
    session: OptionalSession = None,
    *,
    pending: Annotated[bool, Query(description="false: decided ones too")] = True,
    limit: Annotated[int, Query(ge=1, le=1000, description="how many at most")] = 100,
) -> wire.ApprovalList:
    """Questions, oldest first: of a session, or of all."""
    found = await caller.approvals(session, pending=pending, limit=limit)
    calls = {one: Calls(caller, one) for one in {approval.session for approval in found}}
    return wire.ApprovalList(
        ok=True, approvals=[shapes.approval(one, await calls[one.session].id_of(one)) for one in found]
    )


@router.post("/approvals/{approval_id}", response_model=wire.ApprovalAnswer, responses=may_fail(404, 409))
async def decide(
    approval_id: MadeId,
    body: bodies.Decision,
    request: Request,
    caller: Caller,
    session: OptionalSession = None,
) -> wire.ApprovalAnswer:
    """Decide a question. The same decision again changes nothing, another one is refused."""
    _check(body)
    name = body.session_id or session or (await caller.approval(approval_id)).session
    note(request, session=name)
    if body.status == "approved":
        remember = body.remember or (Remember.SESSION if body.remember_choice else None)
        await caller.approve(name, approval_id, arguments=body.arguments, remember=remember, by=body.by)
    else:
        reason = body.message or body.reason
        reason = reason or ("cancelled" if body.status == "cancelled" else None)
        await caller.deny(name, approval_id, reason=reason, by=body.by)
    return wire.ApprovalAnswer(ok=True, approval_id=approval_id, status=body.status)


@router.get("/remembered-approvals", response_model=wire.RememberedList, responses=may_fail(404))
async def list_remembered(caller: Caller, session: OptionalSession = None) -> wire.RememberedList:
    """What runs unasked because somebody allowed it: in a session alone, or everything."""
    return wire.RememberedList(remembered=[shapes.remembered(one) for one in await caller.remembered(session)])


@router.delete("/remembered-approvals/{remembered_id}", response_model=wire.RemovedAnswer, responses=may_fail(404))
async def forget(remembered_id: MadeId, caller: Caller) -> wire.RemovedAnswer:
    """Ask again from now on."""
    if not await caller.forget(remembered_id):
        raise Refused("remembered_not_found", "nothing is remembered by this id")
    return wire.RemovedAnswer(removed=True, id=remembered_id)


def _check(body: bodies.Decision) -> None:
    """What belongs to a yes is not sent with a no, nor the other way round."""
    if body.form_data is not None:
        raise InvalidInput("formData", "an object", "nothing: tools are asked about, not forms")
    yes = (("arguments", body.arguments), ("remember", body.remember), ("rememberChoice", body.remember_choice))
    no = (("reason", body.reason), ("message", body.message))
    for name, value in no if body.status == "approved" else yes:
        if value:
            raise InvalidInput(name, value, f"nothing where status is {body.status}")
