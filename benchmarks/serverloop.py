"""How long the server's own code holds its event loop, with what is large: histories, exports, lists."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engines import engine, make_long
from benchmarks.filling import fill
from benchmarks.harness import Figures, percentile
from benchmarks.loop import Heart
from benchmarks.workload import Talk, running
from sojourn.server.app import make_app
from sojourn.server.running import listen, make_server, pass_over_loaded

MESSAGES = 2000

#: A large message, in characters.
LARGE = 7_000_000

#: Asked by a process of its own, so that only the server is on the loop: a method, an address, a file to send.
_ASK = """
import sys, urllib.request
method, url, path = sys.argv[1:4]
data = open(path, "rb").read() if path else None
kind = "application/json" if path.endswith(".json") else "application/x-ndjson"
headers = {"content-type": kind} if path else {}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(urllib.request.Request(url, data=data, headers=headers, method=method)) as answer:
    size = sum(len(piece) for piece in iter(lambda: answer.read(65536), b""))
print(size)
"""

#: Follows a session from its beginning to the event that is the last one now.
_FOLLOW = """
import sys, urllib.request
url, last = sys.argv[1:3]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(urllib.request.Request(url, headers={"last-event-id": "0"})) as answer:
    for line in answer:
        if line == f"id: {last}\\n".encode():
            break
print(1)
"""

ACTIONS = {
    "nothing": ("GET", "/health"),
    "history page": ("GET", "/api/sessions/long/history?limit=1000"),
    "history whole": ("GET", "/api/sessions/long/history"),
    "turns": ("GET", "/api/sessions/long/turns"),
    "load": ("GET", "/api/sessions/long/load"),
    "export": ("GET", "/api/sessions/long/export"),
    "import": ("POST", "/api/sessions/import?sessionId=copy-of-long"),
    "events": ("", "/api/sessions/long/events"),
    "list": ("GET", "/api/sessions?limit=1000"),
    "list chosen": ("GET", "/api/sessions?limit=1000&status=idle&order=created&direction=asc"),
    "message": ("POST", "/api/message"),
    "description": ("GET", "/openapi.json"),
    "search": ("GET", "/api/sessions?limit=1000&q=order"),
}


async def run(params: Mapping[str, Any], directory: Path) -> Figures:
    """Ask for each of them several times; milliseconds."""
    path, talk = directory / "sojourn.db", Talk(600, 600)
    watched = engine(params["engine"], talk)
    await make_long(path, "long", watched, talk, MESSAGES)
    fill(path, "template", params["stored"])
    figures: Figures = {}
    async with running(path, watched) as (runtime, _):
        export = directory / "long.jsonl"
        message = directory / "message.json"
        said = (" ".join(talk.said) * (LARGE // 20_000))[:LARGE]
        message.write_text(json.dumps({"content": said, "sessionId": "large"}, ensure_ascii=False), encoding="utf-8")
        export.write_text("".join([line async for line in runtime.export("long")]), encoding="utf-8")
        last = (await runtime.history("long"))[-1].seq + 1
        with listen("127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            server, started = make_server(make_app(runtime), runtime), asyncio.Event()
            serving = asyncio.create_task(server.run_until_told([listening], started.set))
            await started.wait()
            pass_over_loaded()  # as the command does
            for name, (method, where) in ACTIONS.items():
                sent = {"import": str(export), "message": str(message)}.get(name, "")
                command = [_ASK, method, url + where, sent] if method else [_FOLLOW, url + where, str(last)]
                held, used, took = [], [], []
                for _ in range(params["times"]):
                    heart, began = Heart(watched), time.perf_counter()
                    async with heart.listening():
                        await _asked(command)
                    held.append(heart.longest)
                    used.append(heart.longest_cpu)
                    took.append(time.perf_counter() - began)
                    if name == "import":
                        await runtime.delete("copy-of-long")
                figures[f"{name}_ms"] = percentile(held, 50) * 1000
                figures[f"{name}_worst_ms"] = max(held) * 1000
                figures[f"{name}_cpu_ms"] = percentile(used, 50) * 1000
                figures[f"{name}_took_ms"] = percentile(took, 50) * 1000
            server.stop()
            await serving
    return figures


async def _asked(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await process.communicate()
    if process.returncode:
        raise RuntimeError(complaints.decode()[-1000:])
