from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.backends import BACKENDS, Backend, Memory
from tests.unit.sessions.kit import Stage, World


@pytest.fixture(params=sorted(BACKENDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    backend: Backend = BACKENDS[request.param](tmp_path)
    world = World(backend)
    yield world
    await world.close()
    await backend.close()


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[World]:
    """For what does not depend on the store, or is too much for a disk."""
    world = World(Memory(tmp_path))
    yield world
    await world.close()


@pytest.fixture
def stage() -> Stage:
    return Stage()
