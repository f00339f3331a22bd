"""A process of its own on a SQLite store: does what it is told on stdin, line by line, and answers on stdout."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from sojourn.errors import SojournError
from sojourn.stores.sqlite.store import SqliteStore
from tests.contract.moves import Owner, opens, takes


def forked() -> int:
    """A child that does nothing but live on; its number."""
    child = os.fork()
    if child:
        return child
    signal.alarm(60)
    os.close(1)
    signal.pause()
    os._exit(0)


async def churn(path: str, times: int) -> None:
    """Make files, one after the other."""
    for number in range(times):
        passing = SqliteStore(f"{path}{number}")
        await passing.open()
        await passing.close()


async def main(path: str) -> None:
    store = SqliteStore(path)
    owner: Owner | None = None
    print("here", flush=True)  # noqa: T201 - it is the answer
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        command, arguments = line[0], line[1:]
        try:
            if command == "open":
                await store.open()
            elif command == "own":
                owner = await opens(store, id=arguments[0])
            elif command == "take":
                owner, _ = await takes(store, arguments[0])
            elif command == "write" and owner is not None:
                for number in range(int(arguments[0])):
                    await owner.write(f"{arguments[1]} {number}")
            elif command == "churn":
                await churn(path, int(arguments[0]))
            elif command == "close":
                await store.close()
            answer = str(forked()) if command == "fork" else "done"
        except SojournError as error:
            answer = type(error).__name__
        print(answer, flush=True)  # noqa: T201 - it is the answer


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
