"""Processes that die here leave tasks behind; they are swept away at once.

Python 3.11 cannot bear a task's last words, a traceback, in the middle of parsing another one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def sweep() -> Iterator[None]:
    yield
    gc.collect()
