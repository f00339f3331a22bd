"""Searching: what was said is found as records, nothing becomes live by it, and no failure is an empty answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sojourn.errors import StorageError, StorageUnavailable
from sojourn.records import Message, Role, SearchHit
from tests.unit.sessions.kit import World, soon


async def test_a_hit_is_the_message_and_where_it_is(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "hello")
    await runtime.send("s", "My favourite colour is teal.")
    found = await runtime.search("teal colour", role="user")
    history = await runtime.history("s")
    assert found.hits == [
        SearchHit(session="s", message=history[2], matched="colour", context="My favourite colour is teal.", index=2)
    ]
    assert (found.total, found.exact, found.next) == (1, True, None)


async def test_a_hit_has_no_parts_and_its_text_is_cut(world: World) -> None:
    runtime = await world.runtime()
    image = {"type": "image", "image": "x" * 10_000}
    await runtime.send("s", [{"type": "text", "text": "walrus " + "so " * 2_000}, image])
    (hit,) = (await runtime.search("walrus", role=Role.USER)).hits
    assert isinstance(hit.message, Message)
    assert (hit.message.parts, len(hit.message.text)) == ((), 1004)
    assert hit.message.text.startswith("walrus so so")


async def test_sessions_are_found_by_what_is_said_and_by_their_title(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "a walrus")
    await runtime.create("t", title="The walrus")
    found = await runtime.search_sessions("walrus")
    first, second = found.hits
    assert (first.session, first.count) == (await runtime.get("s"), 3)  # two messages, and the title made of the first
    assert (first.first.message, first.first.matched) == ((await runtime.history("s"))[0], "walrus")
    assert (second.session, second.count) == (await runtime.get("t"), 1)
    assert second.first == SearchHit(session="t", message=None, matched="walrus", context="The walrus", index=None)
    assert (found.total, found.exact) == (2, True)


async def test_a_page_goes_on_where_the_one_before_it_ended(world: World) -> None:
    runtime = await world.runtime()
    for number in range(4):
        await runtime.send("s", f"walrus {number}")
    session = runtime.session("s")
    page = await session.search("walrus", role="user", limit=3)
    rest = await session.search("walrus", role="user", limit=3, after=page.next)
    texts = [hit.message.text for hit in (*page.hits, *rest.hits) if hit.message]
    assert texts == ["walrus 3", "walrus 2", "walrus 1", "walrus 0"]
    assert (await session.search("walrus", role="user", limit=1, offset=2)).hits == page.hits[2:]


async def test_searching_makes_no_session_live_and_keeps_none(world: World) -> None:
    runtime = await world.runtime(ttl=60)
    await runtime.send("s", "walrus")
    await world.clock.advance(timedelta(seconds=50).total_seconds())
    assert (await runtime.search("walrus")).total > 0
    assert (await runtime.search_sessions("walrus")).total > 0
    await world.clock.advance(timedelta(seconds=20).total_seconds())
    assert (await runtime.statistics()).live == 0
    assert (await runtime.session("s").search("walrus")).total > 0
    assert (await runtime.search_sessions("walrus")).total > 0
    statistics = await runtime.statistics()
    assert (statistics.live, statistics.restored) == (0, 0)


@pytest.mark.parametrize("call", ["search", "search_sessions"])
async def test_a_storage_that_fails_is_an_error_and_no_empty_answer(
    world: World, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "walrus")

    async def fails(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("chat.db", "it is gone")

    monkeypatch.setattr(runtime.core.store, call, fails)
    with pytest.raises(StorageError):
        await soon(getattr(runtime, call)("walrus"))


async def test_many_search_while_one_speaks(world: World) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "walrus")
    searches = [runtime.search("walrus") for _ in range(20)]
    *found, reply = await soon(asyncio.gather(*searches, runtime.send("s", "zebra")))
    assert [page.total for page in found if not isinstance(page, str)] == [2] * 20
    assert reply.turn == 2
