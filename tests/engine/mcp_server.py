"""A small MCP server on stdio, in JSON-RPC lines, that needs nothing installed.

python mcp_server.py [pid file]; tools: `shout(text)`, `empty()`, `die()`, and `pid()`.
"""

import json
import os
import sys
from pathlib import Path

TOOLS = {"shout": {"text": {"type": "string"}}, "empty": {}, "die": {}, "pid": {}}


def call(name, arguments):
    if name == "die":
        os._exit(1)
    return {"shout": lambda: arguments["text"].upper(), "empty": lambda: "[]", "pid": lambda: str(os.getpid())}[name]()


def answer(method, params):
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


def main():
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
