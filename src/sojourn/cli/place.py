"""Which agent a command runs, and where its conversations are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sojourn.bootstrap import Sojourn, default_storage, reading, storage_of

if TYPE_CHECKING:
    from sojourn.config.configuration import Configuration
    from sojourn.sessions.runtime import Runtime

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
