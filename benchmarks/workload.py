"""What is said in the benchmarks, and engines that say it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from sojourn.abc import Engine, Run, RunFinished, Step, TextDelta
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import Script, ScriptedEngine, ScriptedHistory, say

_SPOKEN = (
    "the order that I placed on Monday has not arrived yet and the page says it was handed to somebody else; could you "
    'please look whether (a) it is lost, (b) it went to my old address, or "c" it\'s waiting: number 4071, value 3.14, '
    "thanks a lot for the help you gave me last week when the card was refused twice"
)
_WORDS = _SPOKEN.split()
_ACCENTED = ("café", "naïve", "Zürich", "…", "“quoted”", "résumé")

#: How many different texts there are; a prime, so that they fall on every session in turn.
POOL = 97


def texts(length: int, seed: int) -> list[str]:
    """Texts of exactly this many characters; every other one is not all ASCII."""
    chosen = random.Random(seed)
    return [_text(chosen, length, accented=number % 2 == 1) for number in range(POOL)]


def _text(chosen: random.Random, length: int, *, accented: bool) -> str:
    words: list[str] = []
    size = 0
    while size < length:
        plain = not accented or chosen.random() > 0.05
        words.append(chosen.choice(_WORDS if plain else _ACCENTED))
        size += len(words[-1]) + 1
    return " ".join(words)[:length]


class Talk:
    """What the user says and what is answered, the same in every run."""

    def __init__(self, said: int = 300, answered: int = 900) -> None:
        self.said, self.answers = texts(said, 7), texts(answered, 11)
        self._next = 0

    def next(self) -> tuple[str, str]:
        """A message, and its answer."""
        self._next += 1
        return self.said[self._next % POOL], self.answers[self._next % POOL]


def scripted(talk: Talk, deltas: int = 1) -> ScriptedEngine:
    """An engine that gives the answer of `talk` in so many pieces, then whole."""
    answers = dict(zip(talk.said, talk.answers, strict=True))
    pieces = {said: cut(answer, deltas) for said, answer in answers.items()}

    async def play(_: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        said = history.told[-1][1]
        for piece in pieces[said]:
            yield TextDelta(piece)
        yield say(answers[said], final=True)
        yield RunFinished(answers[said], None, "stop")

    script: Script = play
    return ScriptedEngine(script)


def cut(text: str, pieces: int) -> list[str]:
    """The text in pieces of about the same length."""
    size = -(-len(text) // pieces) if pieces else len(text)
    return [text[at : at + size] for at in range(0, len(text), size)] if pieces else []


@asynccontextmanager
async def running(path: Path, engine: Engine, *, max_sessions: int = 100) -> AsyncIterator[tuple[Runtime, SqliteStore]]:
    """A runtime on an SQLite file with the settings that it has by default."""
    store = SqliteStore(str(path))
    settings = Settings(max_sessions=max_sessions, session_ttl=timedelta(hours=1))
    async with Runtime(store, engine, settings) as runtime:
        yield runtime, store
