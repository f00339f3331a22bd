"""A client that speaks and reads as Dexto's own does, and a page that keeps what such a client would show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx

from tests.server.kit import SOON


class Refused(Exception):
    """An answer that is no success, with the sentence that a person is shown."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body
        issues = (body.get("context") or {}).get("issues") or [{}]
        super().__init__(issues[0].get("message") or body["message"])


class DextoClient:
    """Sends what Dexto's client sends: JSON where there is a body, else nothing; any success is as good as another."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, method: str, path: str, json: Any = None, **query: str) -> Any:
        answer = await self._http.request(method, f"/api/{path}", json=json, params=query or None)
        if not answer.is_success:
            raise Refused(answer.status_code, answer.json())
        return answer.json()

    @asynccontextmanager
    async def follow(self, method: str, path: str, json: Any = None) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with self._http.stream(method, f"/api/{path}", json=json) as answer:
            if not answer.is_success:
                await answer.aread()
                raise Refused(answer.status_code, answer.json())
            yield _events(answer)

    async def say(self, session: str, content: Any) -> list[dict[str, Any]]:
        """The events of a turn, to the end of its stream."""
        async with (
            asyncio.timeout(SOON),
            self.follow("POST", "message-stream", {"content": content, "sessionId": session}) as events,
        ):
            return [event async for event in events]


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Blocks end at an empty line, a field has a colon and one space, the event's name counts and not the data's."""
    rest = ""
    async for piece in answer.aiter_text():
        rest += piece.replace("\r\n", "\n")
        while "\n\n" in rest:
            block, rest = rest.split("\n\n", 1)
            if (event := _event(block)) is not None:
                yield event
    assert not rest.strip(), f"the stream ends amid an event: {rest!r}"


def _event(block: str) -> dict[str, Any] | None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        if line.startswith(":"):
            continue
        name, separator, value = line.partition(": ")
        assert separator, f"a line that their reader passes over: {line!r}"
        assert name in {"event", "data", "id"}, line
        assert name not in fields, f"a second {name} in one event"
        fields[name] = value
    if "data" not in fields:
        return None
    data = json.loads(fields["data"])
    assert isinstance(data, dict)
    return {**data, "name": fields["event"]}


@dataclass
class Tool:
    """A call as a page shows it."""

    name: str
    arguments: dict[str, Any]
    result: str | None = None
    success: bool | None = None


@dataclass
class Shown:
    """What a page shows of a session: what was said, by whom, and the calls in between."""

    lines: list[tuple[str, Any] | Tool] = field(default_factory=list)
    models: set[tuple[str | None, str | None]] = field(default_factory=set)
    reasoning: list[str] = field(default_factory=list)
    #: Questions that a person is to decide.
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What became of each call that was asked about.
    decided: dict[str, str] = field(default_factory=dict)
    busy: bool = False
    error: str | None = None
    _writing: str | None = None
    _calls: dict[str, Tool] = field(default_factory=dict)

    def read(self, session: str, event: dict[str, Any]) -> None:
        """Take one event of a stream in."""
        assert event["sessionId"] == session, event
        if (take := self._takers.get(event["name"])) is not None:
            take(self, event)

    def _begun(self, _event: dict[str, Any]) -> None:
        self.busy = True

    def _ended(self, _event: dict[str, Any]) -> None:
        self.busy = False

    def _piece(self, event: dict[str, Any]) -> None:
        assert event["chunkType"] in {"text", "reasoning"}
        self._writing = (self._writing or "") + event["content"]

    def _response(self, event: dict[str, Any]) -> None:
        # a page that streams shows the pieces, one that does not the whole; both must be the same
        assert self._writing in {None, event["content"]}
        self._writing = None
        self._answered(event["content"], event)

    def _call(self, event: dict[str, Any]) -> None:
        self._called(event["callId"], event["toolName"], event["args"])

    def _result(self, event: dict[str, Any]) -> None:
        text = "".join(part["text"] for part in event["sanitized"]["content"] if part["type"] == "text")
        self._returned(event["callId"], text, success=event["success"])
        if event.get("requireApproval"):
            self.decided[event["callId"]] = event["approvalStatus"]

    def _decision(self, event: dict[str, Any]) -> None:
        assert event["status"] in {"approved", "denied", "cancelled"}
        del self.questions[event["approvalId"]]

    def _steered(self, event: dict[str, Any]) -> None:
        self.lines.append(("user", "\n".join(part["text"] for part in event["content"])))

    def _failed(self, event: dict[str, Any]) -> None:
        self.error = event["error"]["message"]

    def ask(self, question: dict[str, Any]) -> None:
        """Show a question, from a stream or from the list."""
        assert question["type"] == "tool_approval"
        assert question["metadata"]["toolName"]
        assert isinstance(question["timestamp"], str)
        self.questions[question["approvalId"]] = question

    def load(self, history: dict[str, Any]) -> None:
        """What a page makes of a history when it is opened."""
        self.busy = history["isBusy"]
        for message in history["history"]:
            assert isinstance(message["timestamp"], int)
            if message["role"] == "assistant":
                if message["content"]:
                    self._answered(message["content"], message)
                for call in message.get("toolCalls", ()):
                    self._called(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            elif message["role"] == "tool":
                self._returned(message["toolCallId"], message["content"], success=message["success"])
            else:
                assert message["role"] == "user"
                self.lines.append(("user", message["content"]))

    def _answered(self, text: str, told: dict[str, Any]) -> None:
        self.lines.append(("assistant", text))
        self.models.add((told.get("model"), told.get("provider")))
        if "reasoning" in told:
            self.reasoning.append(told["reasoning"])

    def _called(self, call: str, name: str, arguments: Any) -> None:
        assert isinstance(arguments, dict)
        self._calls[call] = Tool(name, arguments)
        self.lines.append(self._calls[call])

    def _returned(self, call: str, result: str, *, success: bool) -> None:
        self._calls[call].result, self._calls[call].success = result, success

    #: What it looks at; it passes over every other event, as theirs does.
    _takers: ClassVar[dict[str, Callable[[Shown, dict[str, Any]], None]]] = {
        "llm:thinking": _begun,
        "llm:chunk": _piece,
        "llm:response": _response,
        "llm:tool-call": _call,
        "llm:tool-result": _result,
        "approval:request": ask,
        "approval:response": _decision,
        "message:dequeued": _steered,
        "llm:error": _failed,
        "run:complete": _ended,
    }
