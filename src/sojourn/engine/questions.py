"""Questions to people in pydantic-ai's terms: which calls need one, what is asked, what is done with the answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic_ai.messages import ToolCallPart, ToolReturnPart
from pydantic_ai.tools import DeferredToolResults, ToolApproved, ToolDenied

from sojourn.abc import ApprovalRow, Ask
from sojourn.engine.steps import arguments_json, digest
from sojourn.records import ApprovalStatus

REFUSED = "The user denied this call, so it was not run."
REFUSED_BECAUSE = "The user denied this call, so it was not run: {reason}"
EXPIRED = "Nobody decided in time, so this call counts as denied and was not run."
ASKED_AGAIN = (
    "This call was allowed, but its tool asked for a person's approval again; a call is asked about only once."
)
CHANGED = "A person allowed this call with changed arguments: {arguments}"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is to become of the calls of the last response that have no result."""

    #: What pydantic-ai is told; None where nothing was to be decided.
    results: DeferredToolResults | None = None
    #: The ids of the calls that people allowed.
    allowed: Collection[str] = frozenset()
    #: The ids of the calls that are run again after they were cut off.
    repeated: Collection[str] = frozenset()
    #: The arguments that people changed, JSON, by the call's place.
    changed: Mapping[int, str] = field(default_factory=dict)

    def told(self, index: int, part: ToolReturnPart) -> ToolReturnPart:
        """The result as the model is told it: also of arguments that are not its own."""
        changed = self.changed.get(index)
        return part if changed is None or part.tool_kind is not None else _with_note(part, changed)


def verdicts(
    calls: Sequence[ToolCallPart],
    unanswered: Collection[int],
    decided: Iterable[ApprovalRow],
    repeated: Iterable[int] = (),
) -> Verdicts:
    """The verdicts about the calls of a response that have no result, by people or because they are run again."""
    rows = [row for row in decided if row.index in unanswered]
    again = [calls[index].tool_call_id for index in repeated if index in unanswered]
    if not rows and not again:
        return Verdicts()
    ids = {row.index: calls[row.index].tool_call_id for row in rows}
    approvals: dict[str, bool | ToolApproved | ToolDenied] = {call_id: ToolApproved() for call_id in again}
    approvals.update({ids[row.index]: _verdict(row) for row in rows})
    return Verdicts(
        DeferredToolResults(approvals=approvals),
        allowed=frozenset(ids[row.index] for row in rows if row.status is ApprovalStatus.APPROVED),
        repeated=frozenset(again),
        changed={row.index: row.changed for row in rows if row.changed is not None and _is_changed(row)},
    )


def _verdict(row: ApprovalRow) -> ToolApproved | ToolDenied:
    if row.status is ApprovalStatus.APPROVED:
        return ToolApproved(override_args=json.loads(row.changed) if row.changed and _is_changed(row) else None)
    if row.status is ApprovalStatus.DENIED:
        return ToolDenied(REFUSED_BECAUSE.format(reason=row.reason) if row.reason else REFUSED)
    return ToolDenied(EXPIRED)


def _is_changed(row: ApprovalRow) -> bool:
    """Whether it was allowed with other arguments than the model's own."""
    return row.status is ApprovalStatus.APPROVED and row.changed is not None and digest(row.changed) != row.digest


def _with_note(part: ToolReturnPart, changed: str) -> ToolReturnPart:
    # In the result and not beside it, so that the two are stored in one write.
    note = CHANGED.format(arguments=changed)
    if part.files:
        return replace(part, content=[note, *(part.content if isinstance(part.content, list) else [part.content])])
    said = part.model_response_str(wrap_if_error=False)
    return replace(part, content=f"{note}\n\n{said}" if said else note)


def asks_of(calls: Sequence[ToolCallPart], places: Iterable[int]) -> list[Ask]:
    """The questions about calls of a response, in the order of the calls."""
    return [
        Ask(place, calls[place].tool_name, arguments_json(calls[place].args), digest(calls[place].args))
        for place in sorted(places)
    ]
