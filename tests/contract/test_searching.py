"""The contract of SessionStore: what was said is found again, by those who said it and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sojourn.abc import HitRow, SessionStore
from sojourn.errors import InvalidInput, SessionNotFound
from sojourn.records import EntryKind, Role
from sojourn.stores.common import MAX_COUNTED, MAX_INDEXED
from sojourn.stores.excerpts import LOOKED_THROUGH, MAX_SHOWN
from tests.contract.backends import Backend
from tests.contract.moves import (
    ANN,
    BOB,
    COMPLETED,
    NOW,
    asks,
    entry,
    opens,
    purge,
    queues,
    said,
    steers,
    takes,
    talks,
)

#: Users whose names are parts of each other, look alike, or say something in a query.
ALIKE = ("ann", "anna", "ANN", "Ann", "an", "@616e6e", "616e6e", "änn", "a\u0308nn", 'ann" OR "bob', "ann*", "\u0430nn")


async def found(store: SessionStore, query: str, user: str = ANN, **how: Any) -> list[str]:
    """The texts that a search finds, each behind its session."""
    return [f"{hit.session}: {text(hit)}" for hit in (await store.search(user, query, **how)).hits]


def text(hit: HitRow) -> str:
    return "(title)" if hit.entry is None else hit.entry.text


async def counted(store: SessionStore, query: str, user: str = ANN, **how: Any) -> list[tuple[str, int, str]]:
    """The sessions that a search finds: id, matches, the first of them."""
    hits = (await store.search_sessions(user, query, **how)).hits
    return [(hit.session.id, hit.count, text(hit.first)) for hit in hits]


async def test_what_was_said_is_found_the_newest_first(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "a walrus", id="s")
    await talks(store, "a zebra", "the walrus", id="t")
    await talks(store, "no walrus", id="s", now=NOW - 50)  # said later by a clock that goes behind
    assert await found(store, "walrus") == [
        "s: re: no walrus", "s: no walrus", "t: re: the walrus", "t: the walrus", "s: re: a walrus", "s: a walrus",
    ]  # fmt: skip


async def test_a_hit_says_who_said_what_where(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello", "My favourite colour is teal.", now=NOW + 7)
    _, question = (await store.search(ANN, "colour teal")).hits
    stored = (await store.entries(ANN, "s"))[question.index + 1 if question.index else 0]
    assert question == HitRow("s", replace(stored, body=""), "colour", "My favourite colour is teal.", 2)
    assert (stored.kind, stored.turn, stored.created) == (EntryKind.TURN_OPENED, 2, NOW + 7)


async def test_the_place_of_a_message_is_that_in_the_history(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "walrus 0")
    await owner.write(entry(kind=EntryKind.STATE_CHANGED), entry("result", EntryKind.TOOL_RESULT), "walrus 2")
    await owner.write(entry("walrus", EntryKind.FEEDBACK), entry("walrus 3", EntryKind.STEERED), end=COMPLETED)
    hits = (await store.search(ANN, "walrus")).hits
    assert [(text(hit), hit.index) for hit in hits] == [("walrus 3", 3), ("walrus 2", 2), ("walrus 0", 0)]


async def test_a_place_far_down_is_not_counted(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store, "first")
    await owner.write(*["so"] * (MAX_INDEXED - 1), "walrus", "walrus")
    assert [hit.index for hit in (await store.search(ANN, "walrus")).hits] == [None, MAX_INDEXED]


@pytest.mark.parametrize("kind", [EntryKind.TURN_OPENED, EntryKind.MESSAGE, EntryKind.STEERED])
async def test_what_people_and_the_agent_say_is_found(backend: Backend, kind: EntryKind) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(entry("walrus", kind))
    (hit,) = (await store.search(ANN, "walrus")).hits
    assert hit.entry is not None
    assert (hit.entry.kind, hit.entry.seq) == (kind, 2)


async def test_what_is_said_into_a_turn_is_found_when_the_turn_has_heard_it(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    waiting = await steers(store, "walrus")
    assert await found(store, "walrus") == []
    await owner.write(entry("walrus", EntryKind.STEERED), taken=[waiting.position])
    assert await found(store, "walrus") == ["s: walrus"]


async def test_what_tools_return_is_not_found(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await owner.write(entry("walrus", EntryKind.TOOL_RESULT), entry("walrus", EntryKind.FEEDBACK))
    await asks(owner, "walrus", arguments='{"a": "walrus"}')
    assert await found(store, "walrus") == []
    assert await counted(store, "walrus") == []


async def test_what_waits_in_line_is_found_when_it_is_said(backend: Backend) -> None:
    store = await backend.node()
    owner = await opens(store)
    await queues(store, "walrus")
    assert await found(store, "walrus") == []
    await owner.write(end=COMPLETED)
    assert await found(store, "walrus") == ["s: walrus"]


async def test_a_role_or_a_session_can_be_chosen(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus", id="s")
    await talks(store, "walrus", id="t")
    for roles, expected in (
        ({Role.USER}, ["s: walrus"]),
        ({Role.ASSISTANT}, ["s: re: walrus"]),
        ({Role.USER, Role.ASSISTANT}, ["s: re: walrus", "s: walrus"]),
        ({Role.TOOL, Role.USER}, ["s: walrus"]),
        ({Role.TOOL}, []),
        (set[Role](), []),
    ):
        assert await found(store, "walrus", id="s", roles=frozenset(roles)) == expected
        assert (await store.search(ANN, "walrus", id="s", roles=frozenset(roles))).total == len(expected)
    assert await found(store, "walrus", roles=frozenset({Role.USER})) == ["t: walrus", "s: walrus"]


@pytest.mark.parametrize("how", [{}, {"roles": frozenset({Role.TOOL})}])
@pytest.mark.parametrize("query", ["hello", "?"])
async def test_a_session_that_is_not_there_cannot_be_searched(
    backend: Backend, query: str, how: dict[str, Any]
) -> None:
    store = await backend.node()
    await talks(store, "hello", id="his", user=BOB)
    for other in ("none", "his"):
        with pytest.raises(SessionNotFound):
            await store.search(ANN, query, id=other, **how)


async def test_an_empty_session_has_nothing_to_find(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="walrus", now=NOW)
    assert await found(store, "walrus", id="s") == []
    assert await found(store, "walrus") == []


async def test_pages_follow_each_other_by_cursor_and_by_offset(backend: Backend) -> None:
    store = await backend.node()
    for number in range(7):
        await (await opens(store, f"walrus {number}", id=f"s{number}")).write(end=COMPLETED)
    expected = [f"s{number}: walrus {number}" for number in reversed(range(7))]
    seen, cursor = [], None
    for _ in range(4):
        page = await store.search(ANN, "walrus", limit=2, after=cursor)
        assert (page.total, page.exact) == (7, True)
        seen += [f"{hit.session}: {text(hit)}" for hit in page.hits]
        cursor = page.next
    assert (seen, cursor) == (expected, None)
    assert await found(store, "walrus", limit=3, offset=3) == expected[3:6]
    first = await store.search(ANN, "walrus", limit=2)
    assert await found(store, "walrus", limit=2, offset=3, after=first.next) == expected[5:7]
    beyond = await store.search(ANN, "walrus", limit=3, offset=7)
    assert (beyond.hits, beyond.total, beyond.next) == ([], 7, None)
    full = await store.search(ANN, "walrus", limit=7)
    assert (len(full.hits), full.next) == (7, None)


async def test_a_cursor_stays_valid_while_messages_come_and_go(backend: Backend) -> None:
    store = await backend.node()
    for number in range(5):
        await (await opens(store, f"walrus {number}", id=f"s{number}")).write(end=COMPLETED)
    page = await store.search(ANN, "walrus", limit=2)
    await store.delete(ANN, "s3")  # the one that the cursor was made of
    await store.delete(ANN, "s2")
    await purge(store)
    await talks(store, "walrus, new", id="new")
    assert await found(store, "walrus", after=page.next) == ["s1: walrus 1", "s0: walrus 0"]


@pytest.mark.parametrize("cursor", ["x", "", "!!!", "bnVsbA", "é", "0", "WzEsMV0"])
async def test_a_cursor_that_no_search_gave_is_refused(backend: Backend, cursor: str) -> None:
    store = await backend.node()
    with pytest.raises(InvalidInput, match="after"):
        await store.search(ANN, "walrus", after=cursor)


async def test_a_session_is_paged_for_itself(backend: Backend) -> None:
    store = await backend.node()
    for number in range(4):
        await (await opens(store, f"walrus {number}", id="s")).write(end=COMPLETED)
        await talks(store, f"walrus {number}", id=f"other{number}")
    page = await store.search(ANN, "walrus", id="s", limit=3)
    rest = await store.search(ANN, "walrus", id="s", limit=3, after=page.next)
    assert [text(hit) for hit in (*page.hits, *rest.hits)] == ["walrus 3", "walrus 2", "walrus 1", "walrus 0"]
    assert (page.total, rest.next) == (4, None)


async def test_very_many_are_counted_up_to_a_bound_and_all_can_be_read(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus", id="old")
    owner = await opens(store, "first", id="s")
    await owner.write(*["walrus"] * (MAX_COUNTED - 1))
    await (await opens(store, "none", id="t")).write("walrus")
    first = await store.search(ANN, "walrus", limit=2)
    assert (first.total, first.exact) == (MAX_COUNTED, False)
    assert [hit.session for hit in first.hits] == ["t", "s"]
    assert await found(store, "walrus", limit=3, offset=MAX_COUNTED - 1) == [
        "s: walrus",
        "old: re: walrus",
        "old: walrus",
    ]
    nearly = await store.search(ANN, "walrus", limit=1, offset=MAX_COUNTED - 1)
    assert await found(store, "walrus", after=nearly.next) == ["old: re: walrus", "old: walrus"]
    sessions = await store.search_sessions(ANN, "walrus")
    assert not sessions.exact
    assert [hit.session.id for hit in sessions.hits[:2]] == ["s", "t"]


# --------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("said_", "query", "matched"),
    [
        ("the red walrus", "walrus red", "red walrus"),
        ("the red walrus", "red wal", "red walrus"),
        ("red, big walrus", "red walrus", "red"),
        ("Käse und Straße", "kase STRASSE", "Käse"),
        ("Käse, Straße", "strasse kase", "Käse, Straße"),
        ("un cafe\u0301 noir", "café", "cafe\u0301"),
        ("50 ㎒x or so", "mhz", "㎒x"),
        ("costs ½ euro", "1 2 euro", "½ euro"),
        ("well 😀 walrus 😀 done", "walrus 😀", "walrus"),
        ("family 👨‍👩‍👧 walrus", "👨‍👩‍👧 walrus", "walrus"),
        ("don't stop", "don't", "don't"),
        ("see snake_case here", "case", "case"),
        ("日本語を話す", "日本", "日本語を話す"),
        ("a\0walrus", "walrus", "walrus"),
        ("हिन्दी में", "हिन्दी", "हिन्दी"),
        ("walrusses and walrus", "walrus and", "and walrus"),
        ("select * from users; --", '" OR 1=1; --', ""),
        ("NEAR(a b) text:c -x ^y", "NEAR(a", "NEAR(a"),
        ("NEAR(a b) text:c -x ^y", "text : c", "text:c"),
        ("and or not", "AND OR NOT", "and or not"),
        ('say "yes"', '"say" "yes"', 'say "yes'),
        ("c++ and c#", "c++", "c"),
    ],
)
async def test_what_matched_stands_as_it_was_said(backend: Backend, said_: str, query: str, matched: str) -> None:
    store = await backend.node()
    await (await opens(store, said_)).write(end=COMPLETED)
    hits = (await store.search(ANN, query)).hits
    assert [hit.matched for hit in hits] == ([matched] if matched else [])
    assert [hit.context for hit in hits] == ([said_] if matched else [])
    assert len(await counted(store, query)) == len(hits)


@pytest.mark.parametrize(
    "query",
    ["", " ", "?!*", '"', "'", "\ud800", "\udfff\ud83d", "\0", "*", "^", "(", "-", "😀", "' OR ''='", "%", "{}"],
)
async def test_a_query_without_known_words_finds_nothing(backend: Backend, query: str) -> None:
    store = await backend.node()
    await talks(store, "hello % {} 😀")
    nothing = await store.search(ANN, query)
    assert (nothing.hits, nothing.total, nothing.exact, nothing.next) == ([], 0, True, None)
    assert (await store.search_sessions(ANN, query)).hits == []


async def test_halves_of_characters_part_words(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "red walrus")
    assert await found(store, "red\ud83dwalrus") == ["s: re: red walrus", "s: red walrus"]


async def test_a_query_may_have_very_many_words(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "a b")
    assert len(await found(store, "a b " * 1_250)) == 2
    assert await found(store, "a b c " * 800) == []
    assert await counted(store, "a b " * 1_250) == [("s", 2, "a b")]


async def test_a_long_text_is_cut_around_what_matched(backend: Backend) -> None:
    store = await backend.node()
    long = "so " * 10_000 + "the walrus, " + "and on " * 10_000
    owner = await opens(store, long)
    await owner.write(end=COMPLETED)
    (hit,) = (await store.search(ANN, "walrus")).hits
    assert hit.matched == "walrus"
    assert hit.context == f"…{long[29_944:30_070]}…"
    assert hit.entry is not None
    shown = hit.entry.text
    assert len(shown) <= MAX_SHOWN + 2
    assert (shown[0], shown[-1]) == ("…", "…")
    assert "so the walrus, and on" in shown
    assert shown.strip("…") in long


async def test_a_text_is_looked_through_so_far_and_no_further(backend: Backend) -> None:
    store = await backend.node()
    for name, before in (("near", LOOKED_THROUGH - 10), ("far", LOOKED_THROUGH + 10)):
        await (await opens(store, "é" * before + " walrus", id=name)).write(end=COMPLETED)
    far, near = (await store.search(ANN, "walrus")).hits
    assert (near.matched, near.context) == ("walrus", f"…{'é' * 59} walrus")
    assert (far.matched, far.context) == ("", f"{'é' * 120}…")
    assert far.entry is not None
    assert far.entry.text == f"{'é' * (MAX_SHOWN // 2)}…"


async def test_a_very_long_word_is_cut(backend: Backend) -> None:
    store = await backend.node()
    await (await opens(store, f"see {'ab' * 100_000} there")).write(end=COMPLETED)
    (hit,) = (await store.search(ANN, "aba")).hits
    assert hit.matched == "ab" * 100
    assert hit.context == f"see {'ab' * 130}…"


# ------------------------------------------------------------------------------------------------------------- sessions


async def test_sessions_come_by_matches_then_by_activity(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "one walrus", id="once", now=NOW)
    await talks(store, "a walrus", "no", "two walruses, walrus", id="often", now=NOW)
    await talks(store, "a walrus", id="later", now=NOW + 5)
    await talks(store, "nothing", id="never", now=NOW + 9)
    assert await counted(store, "walrus") == [
        ("often", 4, "a walrus"), ("later", 2, "a walrus"), ("once", 2, "one walrus"),
    ]  # fmt: skip


async def test_the_title_counts_as_a_match(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "empty", title="The walrus", now=NOW)
    await talks(store, "walrus", id="both", now=NOW + 1)
    await store.rename(ANN, "both", "Walrus and zebra", NOW + 1)
    assert await counted(store, "walrus") == [("both", 3, "walrus"), ("empty", 1, "(title)")]
    (hit,) = (await store.search_sessions(ANN, "zebra")).hits
    assert (hit.first.entry, hit.first.matched, hit.first.context) == (None, "zebra", "Walrus and zebra")
    assert hit.session == await store.get(ANN, "both")


async def test_the_words_of_a_session_must_be_in_one_place(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="red", now=NOW)
    await talks(store, "walrus", "zebra")
    assert await counted(store, "red walrus") == []
    assert await counted(store, "walrus zebra") == []


async def test_found_sessions_are_passed_over_by_offset(backend: Backend) -> None:
    store = await backend.node()
    for number in range(5):
        await talks(store, "walrus", id=f"s{number}", now=NOW + number)
    page = await store.search_sessions(ANN, "walrus", limit=2, offset=1)
    assert ([hit.session.id for hit in page.hits], page.total, page.exact) == (["s3", "s2"], 5, True)
    beyond = await store.search_sessions(ANN, "walrus", limit=2, offset=7)
    assert (beyond.hits, beyond.total) == ([], 5)


# -------------------------------------------------------------------------------------------- whose, and what is gone


async def test_users_find_only_what_is_theirs(backend: Backend) -> None:
    store = await backend.node()
    for user in ALIKE:
        await store.create(user, "s", title=f"walrus of {user}", now=NOW)
        await (await opens(store, f"walrus of {user}", user=user)).write(end=COMPLETED)
    for user in ALIKE:
        assert await found(store, "walrus", user) == [f"s: walrus of {user}"]
        assert await counted(store, "walrus", user) == [("s", 2, f"walrus of {user}")]
    assert await found(store, "walrus", "nobody") == []
    assert await counted(store, "walrus", "nobody") == []


async def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus", id="hers")
    await talks(store, "walrus", "walrus", id="his", user=BOB)
    page = await store.search(BOB, "walrus", limit=1)
    assert await found(store, "walrus", after=page.next) == ["hers: re: walrus", "hers: walrus"]


async def test_nothing_is_found_of_what_was_reset(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="zebra", now=NOW)
    await talks(store, "walrus", "lemur")
    await store.reset(ANN, "s", NOW)
    owner = await opens(store, "lemur again")
    await owner.write(end=COMPLETED)
    for _ in range(2):  # before the purge, and behind it
        assert await found(store, "walrus") == []
        assert await found(store, "walrus", id="s") == []
        assert await counted(store, "walrus") == []
        assert await counted(store, "zebra") == [("s", 1, "(title)")]
        assert await found(store, "lemur", id="s") == ["s: lemur again"]
        assert [hit.index for hit in (await store.search(ANN, "lemur")).hits] == [0]
        await purge(store)


async def test_nothing_is_found_of_what_was_deleted(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="walrus", now=NOW)
    await talks(store, "walrus", "walrus")
    await talks(store, "walrus", id="other")
    await store.delete(ANN, "s")
    await talks(store, "hello")
    for _ in range(2):
        assert await found(store, "walrus") == ["other: re: walrus", "other: walrus"]
        assert await counted(store, "walrus") == [("other", 2, "walrus")]
        await purge(store)


async def test_a_fork_is_found_beside_what_it_was_made_of(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus")
    await store.fork(ANN, "s", "child", at=None, title="Copy", now=NOW)
    assert await found(store, "walrus") == ["child: re: walrus", "child: walrus", "s: re: walrus", "s: walrus"]
    await store.delete(ANN, "s")
    assert await found(store, "walrus") == ["child: re: walrus", "child: walrus"]
    await purge(store)
    assert await counted(store, "walrus") == [("child", 2, "walrus")]


async def test_what_was_imported_is_found(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "walrus")
    loaded = await store.load(ANN, "s")
    assert loaded is not None
    row, entries = loaded
    await store.insert(replace(row, user=BOB, id="copy", title="zebra"), entries, await store.turns(ANN, "s"))
    assert await found(store, "walrus", BOB) == ["copy: re: walrus", "copy: walrus"]
    assert await counted(store, "zebra", BOB) == [("copy", 1, "(title)")]
    assert await found(store, "walrus") == ["s: re: walrus", "s: walrus"]


async def test_what_another_node_writes_is_found(backend: Backend) -> None:
    here, there = await backend.node(), await backend.node()
    await here.accept(said("walrus"), None)
    owner, _ = await takes(there)
    await owner.write("the walrus", end=COMPLETED)
    assert await found(here, "walrus") == ["s: the walrus", "s: walrus"]
