"""A small MCP server on stdio, in JSON-RPC lines, that needs nothing installed.

python mcp_server.py [pid file]; tools: `shout(text)`, `empty()`, and `die()`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TOOLS: dict[str, dict[str, Any]] = {"shout": {"text": {"type": "string"}}, "empty": {}, "die": {}}


def call(name: str, arguments: dict[str, str]) -> str:
    if name == "die":
        os._exit(1)
    if name == "shout":
        return arguments["text"].upper()
    return "[]"


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        version = params.get("protocolVersion", "2025-06-18")
        info = {"name": "small", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        schemas = {name: {"type": "object", "properties": properties} for name, properties in TOOLS.items()}
        return {"tools": [{"name": name, "inputSchema": schema} for name, schema in schemas.items()]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": call(params["name"], params.get("arguments") or {})}]}
    return {} if method == "ping" else None


def main() -> None:
    if len(sys.argv) > 1:
        with Path(sys.argv[1]).open("a") as pids:
            pids.write(f"{os.getpid()}\n")
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or "method" not in request:
            continue
        result = answer(request["method"], request.get("params") or {})
        unknown = {"error": {"code": -32601, "message": "method not found"}}
        reply = {"jsonrpc": "2.0", "id": request["id"], **(unknown if result is None else {"result": result})}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
