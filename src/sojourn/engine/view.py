"""The part of a long history that a model is sent: whole turns from the end that fit a number of tokens.

What is sent is a pure function of the log, the limit and what stands around the messages (instructions, tools), so a
turn that is taken up after a crash is shown the same. The newest turn is always whole, however long it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelMessage, ModelRequest, SystemPromptPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestContext

from sojourn.engine.tokens import parts_tokens, setting_tokens

if TYPE_CHECKING:
    from sojourn.engine.history import PydanticAIHistory

#: The view's beginning moves by this part of the limit at least, and rests meanwhile: providers charge little for a
#: request that begins as an earlier one did, and a view that moved with every turn would never begin so.
STRIDE = 8


class TurnMark(NamedTuple):
    """Where a turn begins: in which message, with which part, behind how many tokens."""

    place: int
    prompt: UserPromptPart
    before: int


def first_turn(turns: Sequence[TurnMark], total: int, limit: int, around: int = 0) -> int:
    """The first of the turns that are shown, of `total` tokens, where `around` tokens of the limit are spent already.

    Never shows less where less is spent around, so a view made without knowing that holds the one made with it.
    """
    over = total + around - limit
    if over <= 0:
        return 0
    stride = max(1, limit // STRIDE)
    cut = -(-over // stride) * stride
    return max(0, min(bisect_left(turns, cut, key=attrgetter("before")), len(turns) - 1))


def from_prompt(messages: Sequence[ModelMessage], prompt: UserPromptPart) -> list[ModelMessage]:
    """The messages from a turn's prompt on; what stood before it in the same request belonged to earlier turns.

    A system prompt at the very beginning stays there. A prompt that is not found cuts nothing.
    """
    for place, message in enumerate(messages):
        if not isinstance(message, ModelRequest):
            continue
        at = next((index for index, part in enumerate(message.parts) if part is prompt), None)
        if at is not None:
            standing = _standing(messages[0])
            if place == 0 and at == len(standing):
                break
            return [replace(message, parts=[*standing, *message.parts[at:]]), *messages[place + 1 :]]
    return list(messages)


def _standing(first: ModelMessage) -> list[Any]:
    """The system prompt where it is part of the messages: what a request begins with."""
    return [*takewhile(lambda part: isinstance(part, SystemPromptPart), first.parts)]


@dataclass
class View(AbstractCapability[Any]):
    """Cuts each request of a run to what fits; the history is as the core has extended it by then."""

    history: PydanticAIHistory
    limit: int

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        messages = request_context.messages
        around = setting_tokens(request_context.model_request_parameters) + parts_tokens(_standing(messages[0]))
        first = first_turn(self.history.turns, self.history.tokens, self.limit, around)
        if first == 0:
            return request_context
        return replace(request_context, messages=from_prompt(messages, self.history.turns[first].prompt))


def known_limit(model: Model, answer: int | None = None) -> int | None:
    """The input tokens that the model can take beside an answer, where pydantic-ai's table knows it; else None."""
    window = model.context_window
    return None if window is None else max(1, window - (answer or 0))
