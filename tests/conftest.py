from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ACCEPTANCE = TESTS / "acceptance"

#: They start processes, terminals, servers and threads, and wait for them by the wall clock, which on a crowded machine
#: is now and then too short: such a test is run once more, and the summary counts it. All others have one chance.
BY_THE_WALL_CLOCK = [TESTS / name for name in ("cli", "crash", "engine", "replay", "server")]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


# First, because the deselection by marker is a hook of this name too.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ACCEPTANCE):
            item.add_marker("acceptance")
        elif any(item.path.is_relative_to(folder) for folder in BY_THE_WALL_CLOCK):
            item.add_marker(pytest.mark.flaky(reruns=1))
