"""An MCP server on stdio that offers the conversations' tools, answers as recorded, and logs each call that really ran.

python tools.py CONVERSATIONS.jsonl LOG
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def recorded(path: Path) -> tuple[dict[tuple[str, str], str], dict[str, set[str]]]:
    """Results by (tool, arguments), and each tool's argument names."""
    results: dict[tuple[str, str], str] = {}
    tools: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        waiting: list[tuple[str, str]] = []
        for message in json.loads(line)["messages"]:
            for call in message.get("tool_calls") or []:
                arguments = json.loads(call["arguments"])
                tools.setdefault(call["name"], set()).update(arguments)
                waiting.append((call["name"], json.dumps(arguments, sort_keys=True)))
            if message["role"] == "tool":
                results[waiting.pop(0)] = message["content"]
    return results, tools


def main() -> None:
    results, tools = recorded(Path(sys.argv[1]))
    listed = [
        {
            "name": name,
            "inputSchema": {"type": "object", "properties": {argument: {} for argument in sorted(arguments)}},
        }
        for name, arguments in sorted(tools.items())
    ]
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        reply = {"jsonrpc": "2.0", "id": request["id"], "result": answer(request, results, listed)}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def answer(request: dict[str, Any], results: dict[tuple[str, str], str], listed: list[Any]) -> dict[str, Any]:
    """The result of one request."""
    params = request.get("params") or {}
    if request["method"] == "initialize":
        info = {"name": "bookshop", "version": "1"}
        version = params.get("protocolVersion", "2025-06-18")
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if request["method"] == "tools/list":
        return {"tools": listed}
    if request["method"] != "tools/call":
        return {}
    place = (params["name"], json.dumps(params.get("arguments") or {}, sort_keys=True))
    with Path(sys.argv[2]).open("a", encoding="utf-8") as log:
        log.write(json.dumps(place) + "\n")
    found = results.get(place)
    text = "this was never recorded" if found is None else found
    return {"content": [{"type": "text", "text": text}], "isError": found is None}


if __name__ == "__main__":
    main()
