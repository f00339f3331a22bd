"""An engine that runs nothing: for looking at stored sessions and putting them in order, without an agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sojourn.abc import Engine, Entry, History, Run, Step, ToolFinished
from sojourn.engine.shown import shown
from sojourn.errors import AgentUnsupported
from sojourn.records import Effect, Message


class Reader(Engine):
    """Shows what pydantic-ai's engine stored; the model classes are loaded only where a history is checked."""

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def history(self) -> History:
        from sojourn.engine.history import PydanticAIHistory  # noqa: PLC0415 - a second of imports

        return PydanticAIHistory()

    def run(self, run: Run) -> AsyncGenerator[Step]:
        raise _refusal()

    def unknown(self, history: History, call: Effect) -> ToolFinished:
        from sojourn.engine.history import PydanticAIHistory  # noqa: PLC0415 - see above
        from sojourn.engine.steps import unknown_result  # noqa: PLC0415

        if not isinstance(history, PydanticAIHistory):
            raise TypeError(f"expected a history of this engine, found {type(history).__name__}")
        return unknown_result(history, call)

    def interrupted(self, text: str) -> str:
        raise _refusal()

    def message(self, entry: Entry) -> Message | None:
        return shown(entry)


def _refusal() -> AgentUnsupported:
    return AgentUnsupported("this runtime only reads and administers sessions; open it with an agent to run turns")
