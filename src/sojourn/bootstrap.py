"""The only place that picks a store and an engine and puts them together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sojourn.abc import DepsFactory, Engine, SessionStore
from sojourn.clock import Clock
from sojourn.errors import InvalidInput
from sojourn.records import OnInterrupt
from sojourn.sessions.runtime import Runtime, Settings

if TYPE_CHECKING:
    from pydantic_ai import Agent  # noqa: TID251 - the type alone, never at run time

_STORAGE = "'sqlite:///PATH' (three slashes: relative, four: absolute) or 'memory:'"


class Sojourn(Runtime):
    """Runs an agent for many sessions at once; use it as `async with Sojourn(agent) as runtime:`.

    `agent` is a `pydantic_ai.Agent` (or an `Engine` of your own). `storage` is 'sqlite:///PATH' (relative),
    'sqlite:////PATH' (absolute) or 'memory:'. `deps` is called with the session for every run and gives the agent's
    deps; it may be async. Raises InvalidInput for settings that cannot be, AgentUnsupported for an agent that needs
    what this version cannot do.
    """

    def __init__(
        self,
        agent: Agent[Any, Any] | Engine,
        *,
        storage: str = "sqlite:///sojourn.db",
        deps: DepsFactory | None = None,
        max_sessions: int = 100,
        session_ttl: timedelta = timedelta(hours=1),
        admission_wait: timedelta = timedelta(seconds=10),
        on_interrupt: OnInterrupt | str = OnInterrupt.RESUME,
        close_wait: timedelta = timedelta(seconds=5),
        clock: Clock | None = None,
    ) -> None:
        settings = Settings(
            max_sessions=max_sessions,
            session_ttl=session_ttl,
            admission_wait=admission_wait,
            on_interrupt=_interrupt(on_interrupt),
            close_wait=close_wait,
        )
        super().__init__(open_store(storage), _engine(agent, deps), settings, clock=clock)


def open_store(storage: str) -> SessionStore:
    """The store that a storage address names, not yet opened; raises InvalidInput."""
    if storage == "memory:":
        from sojourn.stores.memory import MemoryStore

        return MemoryStore()
    scheme, _, path = str(storage).partition(":///")
    if scheme != "sqlite" or not path or path.startswith(":") or "?" in path:
        raise InvalidInput("storage", storage, _STORAGE)
    from sojourn.stores.sqlite.store import SqliteStore

    return SqliteStore(str(Path(unquote(path)).expanduser()))


def _engine(agent: Agent[Any, Any] | Engine, deps: DepsFactory | None) -> Engine:
    if deps is not None and not callable(deps):
        raise InvalidInput("deps", deps, "a function that is called with the session and gives the agent's deps")
    if isinstance(agent, Engine):
        return agent
    # provider libraries take a second to load: only when an agent is really run
    from sojourn.engine.agent import PydanticAIEngine

    return PydanticAIEngine(agent, deps=deps)


def _interrupt(value: OnInterrupt | str) -> OnInterrupt:
    try:
        return OnInterrupt(value)
    except ValueError as error:
        raise InvalidInput("on_interrupt", value, "'resume' or 'hold'") from error
