"""What every route holds: the runtime, how the application behaves, and whose sessions a request is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from sojourn.records import LOCAL_USER
from sojourn.server.translations import Watched
from sojourn.sessions.runtime import Runtime
from sojourn.sessions.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the application behaves."""

    #: What the agent says before anybody has spoken.
    greeting: str | None = None
    #: What callers have to show; None: nothing, which is for loopback alone.
    api_key: str | None = None
    #: Whether requests are answered only under a name of this machine itself, such as localhost.
    local_only: bool = False
    #: The largest body of a request that says something, decides or imports, bytes.
    max_body: int = 10 * 1024 * 1024
    #: The largest body of any other, bytes.
    max_other_body: int = 1024 * 1024
    #: The largest headers, bytes.
    max_headers: int = 32 * 1024
    #: How long a request's head may take, and its body may stop coming, seconds.
    body_timeout: float = 30.0
    #: How often a silent stream says that it is alive, seconds.
    heartbeat: float = 15.0
    #: How long a reader may take nothing of what is ready for it, seconds; then its connection is cut.
    stall: float = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """What the application serves."""

    runtime: Runtime
    options: Options
    watched: Watched = field(default_factory=Watched)

    def scope(self, user: str = LOCAL_USER) -> Scope:
        """The sessions of a user: all that a route about sessions holds."""
        return self.runtime.for_user(user)


def path_of(scope: Mapping[str, Any]) -> str:
    """The path of a request (its ASGI scope) within the application, wherever that is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def service_of(request: Request) -> Service:
    """The service that the request came to."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Scope:
    """The sessions of whoever makes the request."""
    return service_of(request).scope(getattr(request.state, "user", LOCAL_USER))


Serving = Annotated[Service, Depends(service_of)]
Caller = Annotated[Scope, Depends(caller_of)]
