"""One thread that writes: whatever all sessions have asked for while it was busy goes into the next commit together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from sojourn.abc import StaleClaim
from sojourn.errors import RuntimeClosed, SojournError
from sojourn.stores.sqlite.faults import translated

T = TypeVar("T")

#: One operation inside a transaction. It raises SojournError or StaleClaim only before its first change.
Operation = Callable[[apsw.Connection], T]
_Job = tuple[Operation[Any], "asyncio.Future[Any]"]

#: No more are gathered for a commit that has this many, so that the first of them does not wait for thousands.
MAX_BATCH = 256


class Writer:
    """Group commit: operations queue, one thread runs all that wait in one transaction, and answers after the commit.

    An operation that is refused fails alone. A commit that fails, fails every operation in it; then each is tried once
    more by itself, so that only the one at fault is refused.
    """

    def __init__(self, connection: apsw.Connection, where: str) -> None:
        self._connection = connection
        self._where = where
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        #: Whether the last commit was for several, and what has been asked for since.
        self._crowded = False
        self._gathered: list[_Job] = []
        self._thread = threading.Thread(target=self._run, name="sojourn-writer", daemon=True)
        self._thread.start()

    async def do(self, operation: Operation[T]) -> T:
        """Run the operation in the next commit; returns when it is durable."""
        return await self.submit(operation)

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """As `do`, in the order of the calls; giving up the future does not undo the operation."""
        if self._closed:
            raise RuntimeClosed
        done: asyncio.Future[T] = self._loop.create_future()
        if not self._crowded and not self._gathered:
            self._queue.put([(operation, done)])
            return done
        # many at once: what this round of the loop still brings goes into the same commit
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((operation, done))
        return done

    def _hand_over(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    async def close(self) -> None:
        """Finish what is queued and stop the thread."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    # -- on the writer's thread

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, more = self._gather(first)
            answers = self._commit(batch)
            if answers is None:
                answers = [answer for job in batch for answer in self._commit([job], alone=True) or ()]
            self._answer(batch, answers)
            if not more:
                return

    def _gather(self, first: list[_Job]) -> tuple[list[_Job], bool]:
        batch = first
        while len(batch) < MAX_BATCH:
            try:
                jobs = self._queue.get_nowait()
            except Empty:
                break
            if jobs is None:
                return batch, False
            batch += jobs
        return batch, True

    def _commit(self, batch: Sequence[_Job], *, alone: bool = False) -> list[Any] | None:
        """The answers of a committed batch (an exception stands for a refusal); None if it has to be taken apart."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            answers = [_attempt(operation, connection) for operation, _ in batch]
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            self._roll_back()
            if not alone and len(batch) > 1:
                return None
            return [translated(error, self._where) if isinstance(error, apsw.Error) else error]
        return answers

    def _roll_back(self) -> None:
        with suppress(apsw.Error):  # the next BEGIN says so again, and each caller hears of it
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _answer(self, batch: Sequence[_Job], answers: Sequence[Any]) -> None:
        futures = [done for _, done in batch]
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._settle, futures, answers)

    # -- on the loop again

    def _settle(self, futures: Sequence[asyncio.Future[Any]], answers: Sequence[Any]) -> None:
        self._crowded = len(futures) > 1
        for done, answer in zip(futures, answers, strict=True):
            if done.done():
                continue
            if isinstance(answer, BaseException):
                done.set_exception(answer)
            else:
                done.set_result(answer)


def _attempt(operation: Operation[Any], connection: apsw.Connection) -> Any:
    try:
        return operation(connection)
    except (SojournError, StaleClaim) as refusal:
        return refusal
