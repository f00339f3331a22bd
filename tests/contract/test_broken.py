"""The suite rejects every broken store, and finds nothing in the one that they were made from."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from sojourn.stores.memory import MemoryStore
from tests.contract.broken import BROKEN, BrokenBackend

#: Every module of the suite: what needs nothing but a backend.
SUITE = [
    path.stem
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    if not path.stem.startswith(("test_sqlite", "test_broken"))
]


def cases() -> Iterator[tuple[str, Callable[..., Awaitable[None]], dict[str, Any]]]:
    """Each test of the suite with each set of its parameters."""
    for module in SUITE:
        for name, test in vars(importlib.import_module(f"tests.contract.{module}")).items():
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                for values in parameters(test):
                    yield f"{module}::{name}{values or ''}", test, values


def parameters(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    names = [[args[0]] if isinstance(args[0], str) and "," not in args[0] else list(args[0]) for args in marks]
    for row in product(*(args[1] for args in marks)):
        found: dict[str, Any] = {}
        for keys, values in zip(names, row, strict=True):
            found.update(zip(keys, [values] if len(keys) == 1 else values, strict=True))
        yield found


async def rejections(broken: type[MemoryStore], *, at_most: int = 3) -> list[str]:
    """The tests that a store fails, some of them."""
    found: list[str] = []
    for name, test, values in cases():
        try:
            with anyio.fail_after(5):
                await test(BrokenBackend(broken), **values)
        except BaseException as failure:
            if isinstance(failure, KeyboardInterrupt | SystemExit):
                raise
            found.append(f"{name}: {type(failure).__name__}")
        if len(found) == at_most:
            break
    return found


async def test_the_suite_finds_nothing_in_a_store_that_keeps_its_promises() -> None:
    assert await rejections(MemoryStore) == []


def test_the_suite_is_found_whole() -> None:
    assert len(SUITE) >= 8
    assert len(list(cases())) > 250


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_the_suite_rejects_a_broken_store(broken: type[MemoryStore]) -> None:
    assert await rejections(broken, at_most=1)
