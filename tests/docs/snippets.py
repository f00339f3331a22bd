"""Runs the ```python blocks of a document one after the other, as if typed at a prompt that awaits."""

import ast
import asyncio
import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser

#: How long a block may take, seconds.
PATIENCE = 60

NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+?) -->\s*\Z")


def enter_document(namespace: dict[str, Any]) -> None:
    """Give the document an empty working directory and one event loop for all of its blocks."""
    resources = namespace["_resources"] = contextlib.ExitStack()
    directory = resources.enter_context(tempfile.TemporaryDirectory())
    resources.enter_context(contextlib.chdir(directory))
    namespace["_runner"] = resources.enter_context(asyncio.Runner())


def leave_document(namespace: dict[str, Any]) -> None:
    namespace["_resources"].close()


def run_block(example: Example) -> None:
    """Run one block; a `not run` comment right before it skips it and says why."""
    if not_run := NOT_RUN.search(example.document.text[: example.start]):
        pytest.skip(not_run["reason"])
    source = pad(example.parsed, example.line + example.parsed.line_offset)
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    # Only a block that awaits gives a coroutine. Any other has already run, outside of the loop, so that it may
    # call asyncio.run itself.
    coroutine = eval(code, example.namespace)
    if coroutine is not None:
        example.namespace["_runner"].run(asyncio.wait_for(coroutine, PATIENCE))


SNIPPETS = Sybil(
    parsers=[CodeBlockParser("python", run_block)],
    path=str(Path(__file__).parents[2]),
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    setup=enter_document,
    teardown=leave_document,
)
