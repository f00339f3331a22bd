from pathlib import Path

import pytest

ACCEPTANCE = Path(__file__).parent / "acceptance"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


# First, because the deselection by marker is a hook of this name too.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ACCEPTANCE):
            item.add_marker("acceptance")
