"""An MCP server on stdio that can misbehave, in JSON-RPC lines, with nothing installed.

python mcp_rough.py LOG [mute | mute-list | rubbish | leave | deaf]...; what it does is noted in LOG, a JSON line each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOG, MODES = Path(sys.argv[1]), set(sys.argv[2:])
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a PNG
EXTRA: list[str] = []

writing = threading.Lock()
gates: dict[str, threading.Event] = {}
answers: dict[str, Any] = {}
answered = threading.Event()


def note(**what: Any) -> None:
    with LOG.open("a") as log:
        log.write(json.dumps(what) + "\n")


def say(**message: Any) -> None:
    with writing:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(value)}]}


def echo(words: str) -> dict[str, Any]:
    return text(words)


def gate(name: str) -> threading.Event:
    return gates.setdefault(name, threading.Event())


def wait(name: str) -> dict[str, Any]:
    note(waiting=name)
    gate(name).wait()
    return text(f"waited for {name}")


def release(name: str) -> dict[str, Any]:
    gate(name).set()
    return text("released")


def ask(method: str) -> dict[str, Any]:
    answered.clear()
    say(id="asked", method=method, params={"message": "?", "requestedSchema": {"type": "object", "properties": {}}})
    answered.wait()
    return text(json.dumps(answers["asked"]).replace("{", "("))


def spawn() -> dict[str, Any]:
    sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    grandchild = subprocess.Popen(  # it holds our standard output open, but for the line that says it is ready
        [sys.executable, "-I", "-S", "-c", sleeper], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert grandchild.stdout is not None
    grandchild.stdout.readline()
    return text(grandchild.pid)


def grow(name: str) -> dict[str, Any]:
    EXTRA.append(name)
    say(method="notifications/tools/list_changed")
    return text("grown")


def picture() -> dict[str, Any]:
    picture = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
    return {"content": [{"type": "text", "text": "Look:"}, picture]}


def resource() -> dict[str, Any]:
    return {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}]}


def structured() -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "..."}], "structuredContent": {"celsius": 21}}


def fail() -> dict[str, Any]:
    return {**text("the disk is full"), "isError": True}


def complain(words: str) -> dict[str, Any]:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
    return text("complained")


def die() -> dict[str, Any]:
    os._exit(3)


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "echo": echo,
    "wait": wait,
    "release": release,
    "pid": lambda: text(os.getpid()),
    "environment": lambda: text(" ".join(sorted(os.environ))),
    "variable": lambda name: text(os.environ.get(name)),
    "folder": lambda: text(Path.cwd()),
    "ask": ask,
    "spawn": spawn,
    "grow": grow,
    "picture": picture,
    "resource": resource,
    "structured": structured,
    "fail": fail,
    "complain": complain,
    "die": die,
    "read.file": lambda: text("dot"),
    "read/file": lambda: text("slash"),
    "nonsense": lambda: {"content": 7},
}


def listed() -> dict[str, Any]:
    names = [*TOOLS, "echo", *EXTRA]
    tools: list[dict[str, Any]] = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    tools[0] |= {"description": "Says it.", "annotations": {"readOnlyHint": True}, "_meta": {"colour": "teal"}}
    return {"tools": tools}


def call(request: Any, params: dict[str, Any]) -> None:
    tool = TOOLS.get(params["name"])
    if tool is None:
        say(id=request, error={"code": -32602, "message": f"no tool {params['name']}"})
    else:
        say(id=request, result=tool(**params.get("arguments", {})))


def take(message: dict[str, Any]) -> None:
    method, request, params = message.get("method"), message.get("id"), message.get("params") or {}
    note(method=method, **({"tool": params["name"]} if method == "tools/call" else {}))
    if method is None:
        answers[message["id"]] = message
        answered.set()
    elif method == "initialize":
        if "rubbish" in MODES:
            say(id=request, result={"surprise": True})
        elif "mute" not in MODES:
            info = {"name": "rough", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            say(id=request, result={"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info})
    elif method == "tools/list":
        if "mute-list" not in MODES:
            say(id=request, result=listed())
    elif method == "tools/call":
        threading.Thread(target=call, args=(request, params), daemon=True).start()
    elif method == "ping" and "no-ping" not in MODES:
        say(id=request, result={})


def main() -> None:
    note(pid=os.getpid())
    if "leave" in MODES:
        sys.exit(3)
    if "deaf" in MODES:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("This banner is no message.\n")
    for line in sys.stdin:
        take(json.loads(line))
    while "deaf" in MODES:
        time.sleep(600)


if __name__ == "__main__":
    main()
