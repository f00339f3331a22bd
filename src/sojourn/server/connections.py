"""What a connection is, below requests: heads that are malformed or never end, and readers that take nothing."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sojourn.server.errors import Problem, body_of


class Connection(H11Protocol):
    """One that answers what is no HTTP in the shape of all errors."""

    #: How often so much waited to be sent that no more might, and was taken.
    taken = 0

    def resume_writing(self) -> None:
        """See asyncio: little is left of what waited."""
        self.taken += 1
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """See uvicorn, which calls it while it handles the error of its parser."""
        status = getattr(sys.exception(), "error_status_hint", 400)
        if status == 431:  # noqa: PLR2004
            self._refuse("headers_too_large", "the request's head is larger than is taken")
        else:
            self._refuse("bad_request", "what came is no HTTP/1.1 request")

    def give_up(self) -> None:
        """The head of the next request does not come to its end, or the body of the last."""
        if self.conn.trailing_data[0]:
            self._refuse("request_timeout", "the request's head took too long")
        self.transport.close()

    @property
    def is_in_head(self) -> bool:
        """Whether a request's head is awaited, or the rest of one that is answered already.

        Not between two requests, for which there is a timer.
        """
        answered = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        return self.timeout_keep_alive_task is None and (answered or self.conn.their_state is h11.IDLE)

    def _refuse(self, code: str, sentence: str) -> None:
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:  # else an answer is on its way already
            problem = Problem(code, sentence, {}, {})
            body = json.dumps(body_of(problem, uuid.uuid4().hex, "", "")).encode()
            headers = [
                ("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close"),
            ]  # fmt: skip
            status = problem.kind.status
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Heads:
    """Which connections have sent no whole head of a request, and since when."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: dict[Any, float] = {}

    def look(self, connections: Iterable[Any], now: float) -> list[Any]:
        """Those that have had long enough for one."""
        self._since = {one: self._since.get(one, now) for one in connections if one.is_in_head}
        return [connection for connection, since in self._since.items() if now - since >= self._limit]


class Stalls:
    """Which connections take nothing of what waits to be sent, and since when."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        #: By connection: how far it was when it last took something, and when that was.
        self._waiting: dict[Any, tuple[tuple[int, int], float]] = {}

    def look(self, connections: Iterable[Any], now: float) -> list[Any]:
        """Those that have taken nothing for too long, though as much waits as may."""
        waiting: dict[Any, tuple[tuple[int, int], float]] = {}
        for connection in connections:
            if getattr(getattr(connection, "flow", None), "write_paused", False):
                # of what is taken and written anew between two looks as much may wait as before
                place = connection.taken, -connection.transport.get_write_buffer_size()
                known = self._waiting.get(connection)
                waiting[connection] = (place, now) if known is None or place > known[0] else known
        self._waiting = waiting
        return [connection for connection, (_, since) in waiting.items() if now - since >= self._limit]
