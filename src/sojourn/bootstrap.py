"""The only place that picks a store and an engine and puts them together."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote

from sojourn.abc import DepsFactory, Engine, SessionStore
from sojourn.clock import Clock
from sojourn.errors import ConfigInvalid, InvalidInput
from sojourn.records import BusyPolicy, OnInterrupt
from sojourn.sessions.checks import one_of
from sojourn.sessions.runtime import Runtime, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic_ai import Agent  # noqa: TID251 - the type alone, never at run time

    from sojourn.config.configuration import Configuration

_log = logging.getLogger("sojourn.config")

_STORAGE = "'sqlite:///PATH' (three slashes: relative, four: absolute) or 'memory:'"


class Sojourn(Runtime):
    """Runs an agent for many sessions at once; use it as `async with Sojourn(agent) as runtime:`.

    `agent` is a `pydantic_ai.Agent` (or an `Engine` of your own). `storage` is 'sqlite:///PATH' (relative),
    'sqlite:////PATH' (absolute) or 'memory:'. `deps` is called with the session for every run and gives the agent's
    deps; it may be async. Raises InvalidInput for settings that cannot be.
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
        busy: BusyPolicy | str = BusyPolicy.QUEUE,
        max_inbox: int = 100,
        approval_timeout: timedelta | None = None,
        forget_allowed: bool = False,
        clock: Clock | None = None,
    ) -> None:
        settings = Settings(
            max_sessions=max_sessions,
            session_ttl=session_ttl,
            admission_wait=admission_wait,
            on_interrupt=one_of("on_interrupt", on_interrupt, OnInterrupt),
            close_wait=close_wait,
            busy=one_of("busy", busy, BusyPolicy),
            max_inbox=max_inbox,
            approval_timeout=approval_timeout,
            forget_allowed=forget_allowed,
        )
        super().__init__(open_store(storage), _engine(agent, deps, clock), settings, clock=clock)
        #: The agent.yml that it was made from.
        self.configuration: Configuration | None = None

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        storage: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """A runtime of the agent that an agent.yml describes; what has no effect is logged as a warning.

        `storage` replaces the file's own, `environ` the environment in which its variables are looked up. Raises
        ConfigInvalid with all that is wrong in the file, InvalidInput for a missing key, AgentUnsupported.
        """
        from sojourn.config.loader import load

        return cls.from_configuration(
            load(path, environ=os.environ if environ is None else environ), storage=storage, clock=clock
        )

    @classmethod
    def from_configuration(
        cls, configuration: Configuration, *, storage: str | None = None, clock: Clock | None = None
    ) -> Self:
        """A runtime of a configuration that was loaded before; see `from_file`."""
        from sojourn.config.logs import configure
        from sojourn.engine.configured import ConfiguredEngine

        agent, timeout = configuration.agent, configuration.agent.permissions.timeout
        if "logger" in agent.model_fields_set:
            configure(agent.logger, configuration.path.parent)
        for warning in configuration.warnings:
            _log.warning("%s", warning)
        runtime = cls(
            ConfiguredEngine(configuration),
            storage=storage_of(configuration) if storage is None else storage,
            max_sessions=agent.sessions.max_sessions,
            session_ttl=timedelta(milliseconds=agent.sessions.session_ttl),
            admission_wait=timedelta(milliseconds=agent.sojourn.admission_wait),
            on_interrupt=agent.sojourn.on_interrupt,
            close_wait=timedelta(milliseconds=agent.sojourn.close_wait),
            busy=agent.sojourn.busy,
            max_inbox=agent.sojourn.max_inbox,
            approval_timeout=None if timeout is None else timedelta(milliseconds=timeout),
            forget_allowed=agent.permissions.allowed_tools_storage == "memory",
            clock=clock,
        )
        runtime.configuration = configuration
        return runtime

    @property
    def greeting(self) -> str | None:
        """What the agent says before anybody has spoken, from its agent.yml."""
        return None if self.configuration is None else self.configuration.agent.greeting

    def asgi(self, *, api_key: str | None = None, local_only: bool = False) -> FastAPI:
        """The HTTP API as an application, which opens and closes the runtime where it is served by itself.

        Mounted in another application it does not: give that one `lifespan`. With an `api_key` every call has to
        show it; `local_only` answers under a name of this machine alone.
        """
        from sojourn.server.app import make_app
        from sojourn.server.service import Options

        return make_app(self, options=Options(greeting=self.greeting, api_key=api_key, local_only=local_only))

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Opens the runtime and closes it: the lifespan of an application that `asgi()` is mounted in."""
        async with self:
            yield


def reading(storage: str) -> Runtime:
    """A runtime without an agent: it reads, puts in order and removes sessions, and runs none of their turns."""
    from sojourn.engine.reader import Reader

    return Runtime(open_store(storage), Reader(), Settings(takes_up_work=False))


def data_folder() -> Path:
    """Where conversations are kept unless something else is said: SOJOURN_HOME, or the user's data directory; made."""
    import platformdirs

    folder = Path(os.environ.get("SOJOURN_HOME") or platformdirs.user_data_dir("sojourn")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput("SOJOURN_HOME", str(folder), f"a folder that can be made ({error.strerror})") from error
    return folder.absolute()


def default_storage(name: str = "sojourn") -> str:
    """The address of the database of this name in the data folder."""
    return f"sqlite:///{quote(str(data_folder() / f'{name}.db'))}"


def storage_of(configuration: Configuration) -> str:
    """The address of an agent.yml's storage; a relative path starts at the file's folder. Raises ConfigInvalid."""
    database = configuration.agent.storage.database
    if database is None or (database.type == "sqlite" and database.path is None):
        return default_storage(configuration.name)
    if database.type == "in-memory":
        return "memory:"
    if database.type == "sqlite" and database.path is not None:
        path = Path(database.path).expanduser()
        return f"sqlite:///{quote(str((configuration.path.parent / path).absolute()))}"
    raise ConfigInvalid(
        [f"{configuration.path}: storage.database.type: found 'postgres', which comes later; use sqlite or in-memory"]
    )


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


def _engine(agent: Agent[Any, Any] | Engine, deps: DepsFactory | None, clock: Clock | None) -> Engine:
    if deps is not None and not callable(deps):
        raise InvalidInput("deps", deps, "a function that is called with the session and gives the agent's deps")
    if isinstance(agent, Engine):
        return agent
    # provider libraries take a second to load: only when an agent is really run
    from sojourn.engine.agent import PydanticAIEngine

    return PydanticAIEngine(agent, deps=deps, clock=clock)
