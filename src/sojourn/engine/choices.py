"""What the runs of one session use: the agent's own model, or another one that was chosen for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from pydantic_ai.models import Model

from sojourn.config import switching
from sojourn.config.rules import NEED_BASE_URL
from sojourn.config.schema import LLM, AgentConfig
from sojourn.engine.models import build_model, module_of
from sojourn.engine.prompts import Instructions
from sojourn.engine.view import known_limit
from sojourn.errors import InvalidInput

_log = logging.getLogger(__name__)

#: Models that are kept with their connections while no run uses them.
MAX_IDLE = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run uses beside the agent itself, and how far it may go."""

    max_requests: int
    #: None: the whole history is sent.
    max_input_tokens: int | None = None
    #: None: the agent's own.
    model: Model[Any] | None = None
    instructions: str | Instructions | None = None


def input_limit(llm: LLM, model: Model[Any]) -> int | None:
    """What a request may hold, in tokens: as configured, else as much as the model is known to take.

    A request that is longer fails. What stands behind an address of somebody's own may take another number, whatever
    its models are called.
    """
    if llm.max_input_tokens is not None or llm.provider in NEED_BASE_URL:
        return llm.max_input_tokens
    return known_limit(model, llm.max_output_tokens)


def told_model(model: object) -> dict[str, Any]:
    """The model of an agent, for people."""
    if isinstance(model, Model):
        return {"provider": model.system, "model": model.model_name}
    if isinstance(model, str):
        provider, _, name = model.rpartition(":")
        return {"provider": provider, "model": name} if provider else {"model": name}
    return {"model": "unknown"}


def whom(told: Mapping[str, Any], model: object) -> str:
    """A model's provider and its host, for people; nothing else of its address, which may hold a login."""
    provider, address = str(told.get("provider", "")), getattr(model, "base_url", None)
    try:
        parts = urlsplit(str(address or ""))
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        host = None
    return f"{provider} at {host}" if provider and host else provider or host or ""


class Models:
    """The models that sessions chose, each made once; those that were not used for longest are let go of."""

    def __init__(self, agent: AgentConfig, *, max_idle: int = MAX_IDLE) -> None:
        self._agent, self._max_idle = agent, max_idle
        #: By what was chosen, which holds no key; the one used last at the end.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Import the libraries of all providers that may be chosen, so that no session waits for that."""
        for provider in self._agent.sojourn.keys:
            with suppress(ImportError):  # it is reported to whoever chooses it
                await anyio.to_thread.run_sync(import_module, module_of(provider))

    def check(self, llm: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored of a choice; the model is made, so that all that is wrong is found now.

        Raises InvalidInput, AgentUnsupported.
        """
        kept = switching.check(self._agent, llm)
        self._get(kept)
        self._shrink()
        return kept

    def told(self, llm: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """A choice for people; None is the agent's own."""
        if llm is None:
            return switching.told(self._agent.llm)
        try:
            return switching.told(switching.completed(self._agent, llm))
        except InvalidInput:
            return llm  # the agent.yml was changed since: the next turn fails, and says why

    @asynccontextmanager
    async def use(self, llm: Mapping[str, Any]) -> AsyncGenerator[_Kept]:
        """The model of a choice, connected for as long as it is used; raises InvalidInput, AgentUnsupported."""
        kept = self._get(llm)
        kept.uses += 1
        try:
            await kept.entered()
            yield kept
        finally:
            kept.uses -= 1
            self._shrink()

    async def close(self) -> None:
        """Let go of all of them."""
        kept, self._kept = self._kept, OrderedDict()
        for one in kept.values():
            self._let_go(one)
        if self._closing:
            await asyncio.wait(self._closing)

    def _get(self, llm: Mapping[str, Any]) -> _Kept:
        name = json.dumps(llm, sort_keys=True)
        kept = self._kept.get(name)
        if kept is None:
            section = switching.completed(self._agent, llm)
            kept = self._kept[name] = _Kept(section, build_model(section))
        self._kept.move_to_end(name)
        return kept

    def _shrink(self) -> None:
        idle = [name for name, kept in self._kept.items() if not kept.uses]
        for name in idle[: max(0, len(idle) - self._max_idle)]:
            self._let_go(self._kept.pop(name))

    def _let_go(self, kept: _Kept) -> None:
        if kept.entering is not None:
            task = asyncio.create_task(kept.leave(), name="sojourn-model-close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Kept:
    """A model and its connections."""

    def __init__(self, llm: LLM, model: Model[Any]) -> None:
        self.llm, self.model = llm, model
        self.limit = input_limit(llm, model)
        #: Runs that use it.
        self.uses = 0
        self.entering: asyncio.Future[Any] | None = None

    async def entered(self) -> None:
        """Return when it is connected; whoever is cancelled meanwhile, it is entered once and counted once."""
        if self.entering is None:
            self.entering = asyncio.ensure_future(self.model.__aenter__())
        await asyncio.shield(self.entering)

    async def leave(self) -> None:
        """Close its connections."""
        try:
            if self.entering is not None:
                await self.entering
                await self.model.__aexit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - nobody uses it any more
            _log.warning("closing the connections of a model: %s", type(error).__name__)
