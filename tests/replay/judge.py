"""An OpenAI-compatible server that is both model and judge: it answers as recorded, and 409 to a history that is not.

python judge.py CONVERSATIONS.jsonl PORT

A conversation is chosen by "[[conv N]] " at the head of its first message. GET /stats counts what was served.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MARK = re.compile(r"^\[\[conv (\d+)\]\] ")

#: Results that are not as recorded, and rightly so: nobody knows them, or a person decided otherwise.
EXCUSED = ("outcome of this call is unknown", "denied this call", "allowed this call with changed arguments")

Message = dict[str, Any]


def plain(message: Message) -> Message:
    """What must be equal in a sent and a recorded message."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    found: Message = {"role": message["role"], "content": MARK.sub("", content)}
    if message["role"] == "tool":  # clients read results that are JSON, and write them in their own way
        with suppress(ValueError):
            found["content"] = json.loads(content)
    for call in message.get("tool_calls") or []:
        function = call.get("function", call)
        # an MCP server's tool may be offered as mcp--server--tool
        name = function["name"].rsplit("--", 1)[-1]
        found.setdefault("calls", []).append((name, json.loads(function["arguments"] or "{}")))
    return found


def block(messages: list[Message], at: int) -> tuple[int, int]:
    """The neighbouring tool results around a place: they answer one response, in any order."""
    first = last = at
    while messages[first - 1]["role"] == "tool":
        first -= 1
    while last < len(messages) and messages[last]["role"] == "tool":
        last += 1
    return first, last


def difference(sent: list[Message], recorded: list[Message]) -> str | None:
    """Where a history is not the recorded one; what could not be as recorded is excused."""
    for at, message in enumerate(sent):
        mine, theirs = plain(message), plain(recorded[at])
        if mine == theirs:
            continue
        if mine["role"] == theirs["role"] == "tool":
            if any(words in str(mine["content"]) for words in EXCUSED):
                continue
            first, last = block(recorded, at)
            if mine in [plain(other) for other in recorded[first:last]]:
                continue
        return f"message {at}: {str(mine)[:200]}, recorded {str(theirs)[:200]}"
    return None


class Judge:
    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        self.recorded: dict[int, list[Message]] = {c["id"]: c["messages"] for c in map(json.loads, lines)}
        self.stats = {"served": 0, "mismatches": 0}
        self.mismatches: list[str] = []

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        sent = [message for message in body["messages"] if message["role"] not in {"system", "developer"}]
        number = int((MARK.match(sent[0]["content"]) or ["", "-1"])[1])
        recorded = self.recorded[number]
        fault = "more than was recorded" if len(sent) >= len(recorded) else difference(sent, recorded)
        if fault is None and recorded[len(sent)]["role"] != "assistant":
            fault = "it is not the model's turn"
        if fault is not None:
            self.stats["mismatches"] += 1
            self.mismatches.append(f"conversation {number}: {fault}")
            return JSONResponse({"error": {"message": fault}}, status_code=409)
        self.stats["served"] += 1
        offered = [tool["function"]["name"] for tool in body.get("tools", ())]
        names = {name.rsplit("--", 1)[-1]: name for name in offered}
        return StreamingResponse(stream(recorded[len(sent)], names), media_type="text/event-stream")

    async def show(self, request: Request) -> Response:
        return JSONResponse({**self.stats, "last_mismatches": self.mismatches[-10:]})


async def stream(answer: Message, names: dict[str, str]) -> AsyncIterator[str]:
    """The recorded answer as a model streams it: text in pieces, arguments in halves, tools named as offered."""
    made = answer.get("tool_calls") or []
    text = answer["content"]
    yield chunk({"role": "assistant", "content": ""})
    for at in range(0, len(text), 20):
        yield chunk({"content": text[at : at + 20]})
    for index, call in enumerate(made):
        half = len(call["arguments"]) // 2
        name = names.get(call["name"], call["name"])
        function = {"name": name, "arguments": call["arguments"][:half]}
        yield chunk({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": call["arguments"][half:]}}]})
    yield chunk({}, "tool_calls" if made else "stop")
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    yield f"data: {json.dumps({**HEAD, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


HEAD = {"id": "replay", "object": "chat.completion.chunk", "created": 1, "model": "replay"}


def chunk(delta: Message, finish: str | None = None) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return f"data: {json.dumps({**HEAD, 'choices': choices})}\n\n"


if __name__ == "__main__":
    judge = Judge(Path(sys.argv[1]))
    routes = [Route("/v1/chat/completions", judge.complete, methods=["POST"]), Route("/stats", judge.show)]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
