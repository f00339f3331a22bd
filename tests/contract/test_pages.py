"""The contract of SessionStore: pages of sessions and the search in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sojourn.abc import EVERY_SESSION, SessionStore, Wanted
from sojourn.errors import InvalidInput
from sojourn.records import EntryKind
from sojourn.stores.common import encode_cursor
from tests.contract.backends import Backend
from tests.contract.moves import ANN, BOB, COMPLETED, NOW, entry, listed, opens, purge, queues, talks


async def filled(backend: Backend, count: int, *, user: str = ANN) -> SessionStore:
    """Sessions s0, s1 …, each active later than the one before."""
    store = await backend.node()
    for number in range(count):
        await store.create(user, f"s{number}", title=None, now=NOW + number)
    return store


async def test_a_page_shows_the_newest_activity_first(backend: Backend) -> None:
    store = await filled(backend, 4)
    await store.rename(ANN, "s1", "New", NOW + 100)
    assert await listed(store) == ["s1", "s3", "s2", "s0"]


async def test_pages_follow_each_other_without_gap_or_repetition(backend: Backend) -> None:
    store = await filled(backend, 5)
    seen, cursor, cursors = [], None, []
    for _ in range(3):
        page, cursor = await store.page(ANN, limit=2, after=cursor)
        seen.append([row.id for row in page])
        cursors.append(cursor)
    assert seen == [["s4", "s3"], ["s2", "s1"], ["s0"]]
    assert cursors[-1] is None
    assert None not in cursors[:-1]


async def test_the_last_full_page_has_no_successor(backend: Backend) -> None:
    store = await filled(backend, 4)
    _, cursor = await store.page(ANN, limit=2)
    page, cursor = await store.page(ANN, limit=2, after=cursor)
    assert ([row.id for row in page], cursor) == (["s1", "s0"], None)


async def test_sessions_of_the_same_moment_are_paged_too(backend: Backend) -> None:
    store = await backend.node()
    for number in range(5):
        await store.create(ANN, f"s{number}", title=None, now=NOW)
    found, cursor = await store.page(ANN, limit=2)
    names = [row.id for row in found]
    while cursor:
        found, cursor = await store.page(ANN, limit=2, after=cursor)
        names += [row.id for row in found]
    assert names == ["s4", "s3", "s2", "s1", "s0"]


async def test_a_cursor_stays_valid_while_sessions_come_and_go(backend: Backend) -> None:
    store = await filled(backend, 6)
    page, cursor = await store.page(ANN, limit=2)
    assert [row.id for row in page] == ["s5", "s4"]
    await store.delete(ANN, "s4")  # the one that the cursor was made of
    await store.delete(ANN, "s3")
    await store.create(ANN, "new", title=None, now=NOW + 50)
    await store.rename(ANN, "s1", "moves to the front", NOW + 60)
    page, cursor = await store.page(ANN, limit=2, after=cursor)
    assert ([row.id for row in page], cursor) == (["s2", "s0"], None)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "!!!",
        "bnVsbA",
        "WzEsMl0",
        "YWN0aXZpdHkgZGVzYyAx",
        "YWN0aXZpdHkgZGVzYyAxZTkgMg",
        "IDEgMg",
        "é",
        "0",
        "_w",
    ],
)
async def test_a_cursor_that_no_page_gave_is_refused(backend: Backend, cursor: str) -> None:
    store = await filled(backend, 1)
    with pytest.raises(InvalidInput, match="after"):
        await store.page(ANN, after=cursor)


async def test_a_page_shows_only_the_users_own_sessions(backend: Backend) -> None:
    store = await filled(backend, 3)
    await talks(store, "hello", id="his", user=BOB)
    assert await listed(store) == ["s2", "s1", "s0"]
    assert await listed(store, BOB) == ["his"]
    assert await listed(store, "nobody") == []
    (his,), _ = await store.page(BOB)
    cursor = encode_cursor(replace(his, active=NOW + 1000), EVERY_SESSION)
    assert await listed(store, after=cursor) == ["s2", "s1", "s0"]


async def test_rows_of_a_page_are_whole(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello")
    await store.fork(ANN, "s", "child", at=None, title="Title", now=NOW)
    owner = await opens(store, "two")
    await queues(store, "three")
    page, _ = await store.page(ANN)
    assert {row.id: row for row in page} == {name: await store.get(ANN, name) for name in ("s", "child")}
    await owner.write(end=COMPLETED)


# --------------------------------------------------------------------------------------------------------------- search


async def test_search_finds_titles_questions_and_answers(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "title", title="A walrus", now=NOW)
    await talks(store, "walrus?", id="question", now=NOW + 1)
    owner = await opens(store, "hm", "answer", now=NOW + 2)
    await owner.write("The walrus, of course", end=COMPLETED, now=NOW + 2)
    await talks(store, "nothing", id="other")
    assert await listed(store, query="walrus") == ["answer", "question", "title"]


async def test_search_does_not_look_into_tool_results_and_bodies(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(entry("walrus", EntryKind.TOOL_RESULT), entry("walrus", EntryKind.FEEDBACK))
    assert await listed(store, query="walrus") == []
    assert await listed(store, query="said") == []


async def test_all_words_must_be_in_one_place(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "red walrus", "green zebra")
    assert await listed(store, query="walrus red") == ["s"]
    assert await listed(store, query="red zebra") == []


async def test_only_the_last_word_is_a_prefix(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "red walrus")
    assert await listed(store, query="red wal") == ["s"]
    assert await listed(store, query="wal red") == []
    assert await listed(store, query="alrus") == []
    assert await listed(store, query="walrusses") == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Käse", "kase"), ("Kase", "KÄSE"), ("Straße", "strasse"), ("STRASSE", "straße"), ("élan", "e\u0301lan"),
        ("ﬁne", "fine"), ("Ωμέγα", "ωμεγα"), ("Ёлка", "елка"), ("日本語", "日本"), ("x²", "x2"), ("½", "1"),
        ("50 ㎒", "mhz"), ("İstanbul", "istanbul"), ("don't", "don t"), ("snake_case", "case"), ("a\0b", "b"),
        ("naïve—café", "cafe naive"), ("हिन्दी", "हिन्दी"), ("c++", "c++"), ('say "yes"', '"yes"'), ("a*b", "a*"),
        ("NEAR(x)", "near"), ("and", "AND"), ("or not", "OR NOT"), ("text:owner", "text:"),
    ],
)  # fmt: skip
async def test_search_knows_neither_case_nor_accents_nor_signs(backend: Backend, text: str, query: str) -> None:
    store = await backend.node()
    await talks(store, text, id="message")
    await store.create(ANN, "title", title=text, now=NOW + 1)
    await talks(store, "something else", id="other")
    assert await listed(store, query=query) == ["title", "message"]


async def test_a_query_without_words_finds_nothing_and_a_blank_one_everything(backend: Backend) -> None:
    store = await filled(backend, 2)
    assert await listed(store, query="?!*") == []
    assert await listed(store, query="") == ["s1", "s0"]
    assert await listed(store, query="  ") == ["s1", "s0"]


async def test_search_never_finds_what_others_said(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus", id="hers")
    await talks(store, "walrus", id="his", user=BOB)
    await store.create("u" + ANN, "odd", title="walrus", now=NOW)
    assert await listed(store, query="walrus") == ["hers"]
    assert await listed(store, BOB, query="walrus") == ["his"]
    assert await listed(store, "nobody", query="walrus") == []
    assert await listed(store, query=f"walrus OR owner : {BOB}") == []


async def test_a_users_name_is_no_word(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello", user="ann")
    for query in ("ann", "u", "u616e6e", "u6"):
        assert await listed(store, query=query) == []


async def test_search_forgets_a_deleted_session_before_and_after_the_purge(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="zebra", now=NOW)
    await talks(store, "walrus")
    await store.delete(ANN, "s")
    assert [await listed(store, query=word) for word in ("walrus", "zebra")] == [[], []]
    await talks(store, "hello")
    assert [await listed(store, query=word) for word in ("walrus", "zebra")] == [[], []]
    await purge(store)
    assert [await listed(store, query=word) for word in ("walrus", "zebra", "hello")] == [[], [], ["s"]]


async def test_search_forgets_what_was_reset_and_keeps_the_title(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="zebra", now=NOW)
    await talks(store, "walrus")
    await store.reset(ANN, "s", NOW)
    await talks(store, "lemur")
    assert [await listed(store, query=word) for word in ("walrus", "zebra", "lemur")] == [[], ["s"], ["s"]]
    await purge(store)
    assert [await listed(store, query=word) for word in ("walrus", "zebra", "lemur")] == [[], ["s"], ["s"]]


async def test_search_finds_the_new_title_and_not_the_old(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello", id="s")
    for title in ("walrus", "zebra", "", "lemur"):
        await store.rename(ANN, "s", title, NOW)
    assert [await listed(store, query=word) for word in ("walrus", "zebra", "lemur")] == [[], [], ["s"]]


async def test_search_finds_the_title_that_came_with_the_first_message(backend: Backend) -> None:
    store = await backend.node()
    await opens(store, "hello", title="walrus")
    await queues(store, "hello", title="zebra")
    assert [await listed(store, query=word) for word in ("walrus", "zebra")] == [["s"], []]


async def test_found_sessions_are_paged_as_all_are(backend: Backend) -> None:
    store = await backend.node()
    for number in range(5):
        await talks(store, "walrus", "walrus", "zebra", id=f"s{number}", now=NOW + number)
        await talks(store, "zebra", id=f"t{number}", now=NOW + number)
    names, cursor = [], None
    for _ in range(3):
        page, cursor = await store.page(ANN, Wanted(query="walrus"), limit=2, after=cursor)
        names.append([row.id for row in page])
    assert (names, cursor) == ([["s4", "s3"], ["s2", "s1"], ["s0"]], None)
