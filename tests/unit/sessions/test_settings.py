"""What is chosen for one session alone: its model, pieces of its system prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sojourn.abc import Run, Step
from sojourn.errors import InvalidInput
from sojourn.records import Contributor
from sojourn.sessions.runtime import Runtime
from sojourn.stores.memory import MemoryDatabase, MemoryStore
from sojourn.stores.sqlite.store import SqliteStore
from sojourn.testing import FakeClock, ScriptedEngine, ScriptedHistory, answer


class Choosy(ScriptedEngine):
    """Says what it was told to use."""

    def __init__(self) -> None:
        super().__init__(self.tell)

    async def tell(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        model = run.settings.get("llm", {}).get("model", "its own")
        pieces = [one["content"] for one in run.settings.get("contributors", ()) if one["enabled"]]
        async for step in answer(f"{model}: {', '.join(pieces)}"):
            yield step

    def check_model(self, llm: Mapping[str, Any]) -> Mapping[str, Any]:
        if "model" not in llm:
            raise InvalidInput("model", dict(llm), "a model")
        return {name: value for name, value in llm.items() if name != "apiKey"}

    def model(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return settings.get("llm") or {"model": "its own"}


class Place:
    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.database = kind, folder, MemoryDatabase()

    def runtime(self) -> Runtime:
        store: Any = MemoryStore(self.database)
        if self.kind == "sqlite":
            store = SqliteStore(str(self.folder / "s.db"), synchronous="OFF")
        return Runtime(store, Choosy(), clock=FakeClock())


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


async def test_a_session_uses_its_own_model_from_the_next_turn_on_and_after_a_restart(place: Place) -> None:
    async with place.runtime() as runtime:
        assert (await runtime.send("s", "hi")).text == "its own: "
        assert await runtime.switch_model("s", {"model": "other", "apiKey": "secret"}) == {"model": "other"}
        assert (await runtime.send("s", "hi")).text == "other: "
        assert (await runtime.send("t", "hi")).text == "its own: "
    async with place.runtime() as runtime:
        assert await runtime.model("s") == {"model": "other"}
        assert (await runtime.send("s", "hi")).text == "other: "
        assert await runtime.switch_model("s", None) == {"model": "its own"}
        assert (await runtime.send("s", "hi")).text == "its own: "
        with pytest.raises(InvalidInput):
            await runtime.switch_model("s", {})
    assert b"secret" not in b"".join(file.read_bytes() for file in place.folder.iterdir())


async def test_pieces_of_the_prompt_are_put_replaced_and_removed(place: Place) -> None:
    async with place.runtime() as runtime:
        await runtime.create("s")
        await runtime.contribute("s", "b", "second")
        await runtime.contribute("s", "a", "first", priority=1)
        await runtime.contribute("s", "c", "silent", enabled=False)
        assert (await runtime.send("s", "hi")).text == "its own: first, second"
        await runtime.contribute("s", "b", "third", priority=0)
        assert await runtime.contributors("s") == [
            Contributor(id="b", content="third", priority=0),
            Contributor(id="a", content="first", priority=1),
            Contributor(id="c", content="silent", enabled=False),
        ]
        assert await runtime.withdraw("s", "b")
        assert not await runtime.withdraw("s", "b")
        assert (await runtime.send("s", "hi")).text == "its own: first"


async def test_changes_at_the_same_time_are_all_kept(place: Place) -> None:
    async with place.runtime() as runtime:
        await runtime.create("s")
        await asyncio.gather(*(runtime.contribute("s", f"c{n}", f"{n}") for n in range(20)))
        assert len(await runtime.contributors("s")) == 20


async def test_a_fork_has_them_and_a_reset_keeps_them(place: Place) -> None:
    async with place.runtime() as runtime:
        await runtime.send("s", "hi")
        await runtime.contribute("s", "a", "kind")
        await runtime.fork("s", new_id="fork")
        await runtime.reset("s")
        assert (await runtime.send("s", "hi")).text == "its own: kind"
        assert (await runtime.send("fork", "hi")).text == "its own: kind"
        await runtime.delete("s")
        assert (await runtime.send("s", "hi")).text == "its own: "


async def test_a_session_that_was_deleted_elsewhere_and_created_anew_inherits_none(tmp_path: Path) -> None:
    place = Place("sqlite", tmp_path)
    async with place.runtime() as one, place.runtime() as other:
        await one.send("s", "hi")
        await one.contribute("s", "a", "kind")
        assert (await one.send("s", "hi")).text == "its own: kind"
        await other.delete("s")
        await other.create("s")
        await other.contribute("s", "b", "brief")
        assert (await one.send("s", "hi")).text == "its own: brief"
