"""A real `sojourn serve` process over one database file, and the model that it asks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.harness import ROOT

#: How long a process may take to begin, seconds.
BEGIN = 60

_URL = re.compile(r"http://127\.0\.0\.1:([0-9]+)")


@asynccontextmanager
async def model(*, delay_ms: int, pieces: int = 4, every_ms: int = 0) -> AsyncIterator[int]:
    """The port of a model that answers after so long."""
    command = ["-m", "benchmarks.model", str(delay_ms), str(pieces), str(every_ms)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            raise AssertionError
        async with asyncio.timeout(BEGIN):
            port = int(await process.stdout.readline())
        yield port
    finally:
        process.kill()
        await process.wait()


def write_agent(folder: Path, port: int, **sections: Any) -> Path:
    """An agent.yml for that model, with a database in the same folder; JSON is YAML."""
    llm = {"provider": "openai-compatible", "model": "echo", "apiKey": "none", "baseURL": f"http://127.0.0.1:{port}/v1"}
    agent = {
        "systemPrompt": "You repeat what you are told.",
        "llm": llm,
        "storage": {"database": {"type": "sqlite", "path": "served.db"}},
        **sections,
    }
    file = folder / "agent.yml"
    file.write_text(json.dumps(agent), encoding="utf-8")
    return file


@dataclass
class Served:
    """A server's process."""

    process: asyncio.subprocess.Process
    port: int

    @classmethod
    async def start(cls, agent: Path, port: int = 0, *, environ: Mapping[str, str] | None = None) -> Self:
        """Start it and wait until it answers; raises RuntimeError with what it said where it does not."""
        with (agent.parent / "served.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sojourn", "serve", str(agent), "--port", str(port), "--log-level", "warning",
                stdout=asyncio.subprocess.PIPE, stderr=log, stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **(environ or {})}, cwd=agent.parent,
            )  # fmt: skip
        if process.stdout is None:
            raise AssertionError
        async with asyncio.timeout(BEGIN):
            while line := (await process.stdout.readline()).decode():
                if line.startswith("at ") and (found := _URL.search(line)):
                    return cls(process, int(found[1]))
        await process.wait()
        raise RuntimeError((agent.parent / "served.log").read_text(encoding="utf-8")[-2000:])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
