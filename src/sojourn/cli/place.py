"""Which agent a command runs, and where its conversations are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer

from sojourn.bootstrap import Sojourn, default_storage, reading, storage_of
from sojourn.cli.notes import tell

if TYPE_CHECKING:
    from sojourn.config.configuration import Configuration
    from sojourn.sessions.runtime import Runtime
    from sojourn.sessions.scope import Scope

#: What is taken where no file is named.
AGENT_FILE = "agent.yml"

AgentOption = Annotated[
    Path | None,
    typer.Option(
        "--agent", "-a", help=f"The agent's file; {AGENT_FILE} in this folder, or else the demo agent.", metavar="FILE"
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        help="Where conversations are kept, as sqlite:///PATH; the agent's file or SOJOURN_HOME says it otherwise.",
        metavar="URL",
    ),
]

UserOption = Annotated[
    str | None, typer.Option("--user", "-u", help="Whose sessions; the local user's without it.", metavar="NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Which sessions a command is about, and who reads what it prints."""

    agent: Path | None
    storage: str | None
    user: str | None
    json: bool = False


def options_of(agent: Path | None, storage: str | None, user: str | None = None) -> list[str]:
    """What a command line says to mean the same place again."""
    given = (("--agent", agent), ("--storage", storage), ("--user", user))
    return [word for name, value in given if value is not None for word in (name, str(value))]


def configuration_of(agent: Path | None) -> Configuration | None:
    """The named agent's configuration, or that of the folder's own; None for the demo agent. Raises ConfigInvalid."""
    file = Path(AGENT_FILE) if agent is None else agent
    if agent is None and not file.exists():
        return None
    from sojourn.config.loader import load

    return load(file)


def agent_runtime(configuration: Configuration | None, storage: str | None) -> Sojourn:
    """A runtime that runs the agent, not yet open."""
    if configuration is not None:
        return Sojourn.from_configuration(configuration, storage=storage)
    from sojourn.engine.demo import demo_agent

    return Sojourn(demo_agent(), storage=storage or address_of(None, None))


def reading_runtime(configuration: Configuration | None, storage: str | None) -> Runtime:
    """A runtime that looks at the agent's sessions and runs nothing, not yet open; fast, and needs no key."""
    return reading(address_of(configuration, storage))


def address_of(configuration: Configuration | None, storage: str | None) -> str:
    """Where the conversations are kept."""
    if storage is not None:
        return storage
    return default_storage() if configuration is None else storage_of(configuration)


def file_of(address: str) -> Path | None:
    """The database file that a storage address names; None for one that names no file."""
    scheme, _, path = address.partition(":///")
    return Path(unquote(path)).expanduser() if scheme == "sqlite" and path else None


def shown_address(address: str) -> str:
    """A storage address as people know it: the file's path, the home folder as `~`; the address where it is no file."""
    file = file_of(address)
    if file is None:
        return "memory only" if address == "memory:" else address
    home = Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)


@dataclass(frozen=True, slots=True)
class Opened:
    """The sessions of one user, open for reading and putting in order."""

    runtime: Runtime
    scope: Scope
    configuration: Configuration | None
    #: Where they are kept.
    address: str
    #: Whether there is a database already; what is read without one is empty.
    exists: bool


@asynccontextmanager
async def opened(place: Place, *, making: bool = False) -> AsyncIterator[Opened]:
    """The sessions of a place. A database that is not there yet is made only if `making`."""
    configuration = configuration_of(place.agent)
    address = address_of(configuration, place.storage)
    file = file_of(address)
    exists = file is None or file.exists()
    if configuration is None and not place.json:
        tell(f"demo agent's conversations, in {shown_address(address)}")
    runtime = reading_runtime(configuration, place.storage)
    if not exists and not making:
        runtime = reading("memory:")
    async with runtime:
        scope = runtime if place.user is None else runtime.for_user(place.user)
        yield Opened(runtime, scope, configuration, address, exists)
