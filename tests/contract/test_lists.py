"""The contract of SessionStore: which sessions are listed, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import count, product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.abc import SessionRow, SessionStore, Wanted
from sojourn.errors import InvalidInput, SessionExists
from sojourn.records import Direction, SessionOrder, SessionStatus
from tests.contract.backends import Backend
from tests.contract.moves import ANN, BOB, HELD, NOW, holds, listed, opens, said, talks, waits, yes

ASC, DESC = Direction.ASCENDING, Direction.DESCENDING
ACTIVITY, CREATED, ID = SessionOrder

#: Orders with what they go by, worked out apart from the stores.
PLACES = {
    ACTIVITY: lambda row: (row.active, row.key),
    CREATED: lambda row: (row.created, row.key),
    ID: lambda row: row.id,
}


async def make(store: SessionStore, user: str, id: str, status: SessionStatus, **first: Any) -> None:
    """A session that does this."""
    now = first.setdefault("now", NOW)
    await store.create(user, id, **{"title": None, **first})
    if status is SessionStatus.QUEUED:
        await store.accept(said("hello", id, user=user, now=now), None)
    elif status is SessionStatus.RUNNING:
        await opens(store, id=id, user=user, now=now)
    elif status is SessionStatus.WAITING:
        await waits(store, "tool", id=id, user=user, now=now)
    elif status is SessionStatus.HELD:
        await (await opens(store, id=id, user=user, now=now)).write(end=HELD, now=now)


async def paged(store: SessionStore, user: str, wanted: Wanted, limit: int) -> list[SessionRow]:
    """All pages put together, each but the last of which is full; no test has a hundred sessions."""
    page, cursor = await store.page(user, wanted, limit=limit)
    rows = [*page]
    while cursor is not None:
        assert len(page) == limit
        page, cursor = await store.page(user, wanted, limit=limit, after=cursor)
        rows += page
        assert page
        assert len(rows) < 100
    return rows


def plain(rows: Sequence[SessionRow], wanted: Wanted) -> list[SessionRow]:
    """What a list of these rows is: filtered and sorted, in plain words. What `query` finds is in their titles."""
    kept = [
        row
        for row in rows
        if (wanted.query is None or wanted.query in (row.title or "").split())
        and row.status in wanted.status
        and wanted.parent in {None, row.parent}
        and not (wanted.active_since is not None and row.active < wanted.active_since)
        and not (wanted.active_before is not None and row.active >= wanted.active_before)
    ]
    return sorted(kept, key=PLACES[wanted.order], reverse=wanted.direction is DESC)


# --------------------------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("order", "direction", "found"),
    [
        (ACTIVITY, DESC, ["b", "B", "a", "10", "9"]), (ACTIVITY, ASC, ["9", "10", "a", "B", "b"]),
        (CREATED, DESC, ["9", "a", "B", "10", "b"]), (CREATED, ASC, ["b", "10", "B", "a", "9"]),
        (ID, DESC, ["b", "a", "B", "9", "10"]), (ID, ASC, ["10", "9", "B", "a", "b"]),
    ],
)  # fmt: skip
async def test_a_list_goes_by_what_was_asked_for(
    backend: Backend, order: SessionOrder, direction: Direction, found: list[str]
) -> None:
    store = await backend.node()
    for number, name in enumerate(["b", "10", "B", "a", "9"]):
        await store.create(ANN, name, title=None, now=NOW + number)
    for number, name in enumerate(["10", "a", "B", "b"]):
        await store.rename(ANN, name, "title", NOW + 10 + number)
    wanted = Wanted(order=order, direction=direction)
    for limit in (1, 2, 5, 20):
        assert [row.id for row in await paged(store, ANN, wanted, limit)] == found


@pytest.mark.parametrize("order", [ACTIVITY, CREATED])
@pytest.mark.parametrize("direction", Direction)
async def test_of_one_moment_the_session_stored_last_is_the_newest(
    backend: Backend, order: SessionOrder, direction: Direction
) -> None:
    store = await backend.node()
    names = ["m", "z", "a", "k", "b"]
    for name in names:
        await store.create(ANN, name, title=None, now=NOW)
    found = [row.id for row in await paged(store, ANN, Wanted(order=order, direction=direction), 2)]
    assert found == (names if direction is ASC else names[::-1])


async def test_a_cursor_of_another_order_is_refused(backend: Backend) -> None:
    store = await backend.node()
    for number in range(3):
        await store.create(ANN, f"s{number}", title=None, now=NOW + number)
    sorts = [Wanted(order=order, direction=direction) for order, direction in product(SessionOrder, Direction)]
    cursors = [(await store.page(ANN, wanted, limit=1))[1] for wanted in sorts]
    for wanted, (other, cursor) in product(sorts, zip(sorts, cursors, strict=True)):
        if wanted is other:
            assert len((await store.page(ANN, wanted, after=cursor))[0]) == 2
        else:
            with pytest.raises(InvalidInput, match=f"after: .* {wanted.order} {wanted.direction}"):
                await store.page(ANN, wanted, after=cursor)


async def test_a_cursor_goes_with_any_filter(backend: Backend) -> None:
    store = await backend.node()
    for number, status in enumerate([SessionStatus.HELD, SessionStatus.IDLE] * 2):
        await make(store, ANN, f"s{number}", status, now=NOW + number)
    _, cursor = await store.page(ANN, limit=1)
    assert await listed(store, after=cursor) == ["s2", "s1", "s0"]
    assert await listed(store, after=cursor, status=frozenset({SessionStatus.HELD})) == ["s2", "s0"]


# -------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("order", SessionOrder)
async def test_sessions_are_listed_by_what_they_do(backend: Backend, order: SessionOrder) -> None:
    store = await backend.node()
    for number, status in enumerate([*SessionStatus] * 2):
        await make(store, ANN, f"s{number}", status, now=NOW + number)
        await make(store, BOB, f"s{number}", status, now=NOW + number)
    rows = [await store.get(ANN, f"s{number}") for number in range(10)]
    assert [row.status for row in rows] == [*SessionStatus] * 2
    for chosen in range(1 << len(SessionStatus)):
        status = frozenset(one for place, one in enumerate(SessionStatus) if chosen >> place & 1)
        for direction in Direction:
            wanted = Wanted(status=status, order=order, direction=direction)
            assert await paged(store, ANN, wanted, 3) == plain(rows, wanted)


async def test_a_session_is_listed_by_what_it_does_now(backend: Backend) -> None:
    async def shown() -> list[str]:
        every = [await listed(store, status=frozenset({one})) for one in SessionStatus]
        return ["".join(found) for found in every]

    store = await backend.node()
    (asked,) = await waits(store, "tool")
    assert await shown() == ["", "", "", "s", ""]
    await store.decide(ANN, "s", asked.id, yes())
    assert await shown() == ["", "s", "", "", ""]
    await store.reset(ANN, "s", NOW)
    assert await shown() == ["s", "", "", "", ""]
    await holds(store, "hello")
    assert await shown() == ["", "", "", "", "s"]
    await store.discard(ANN, "s", None, NOW)
    assert await shown() == ["s", "", "", "", ""]
    await opens(store, "again")
    assert await shown() == ["", "", "s", "", ""]
    await store.delete(ANN, "s")
    assert await shown() == [""] * 5


async def test_forks_are_listed_by_their_parent(backend: Backend) -> None:
    store = await backend.node()
    for user in (ANN, BOB):
        await talks(store, "hello", id="parent", user=user)
        for number in range(3):
            await store.fork(user, "parent", f"{user}{number}", at=None, title=None, now=NOW + number)
    await store.fork(ANN, "ann1", "grandchild", at=None, title=None, now=NOW)
    assert await listed(store, parent="parent") == ["ann2", "ann1", "ann0"]
    assert await listed(store, BOB, parent="parent") == ["bob2", "bob1", "bob0"]
    assert await listed(store, parent="ann1") == ["grandchild"]
    assert await listed(store, parent="grandchild") == await listed(store, parent="nobody") == []
    await store.delete(ANN, "ann1")
    assert await listed(store, parent="parent", order=ID, direction=ASC) == ["ann0", "ann2"]
    assert await listed(store, parent="ann1") == []


async def test_a_new_session_of_a_parents_id_has_none_of_its_forks(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "hello", id="parent")
    await store.fork(ANN, "parent", "child", at=None, title=None, now=NOW)
    await store.delete(ANN, "parent")
    await store.create(ANN, "parent", title=None, now=NOW)
    assert await listed(store, parent="parent") == []


@pytest.mark.parametrize("order", SessionOrder)
async def test_limits_of_activity_are_from_and_up_to(backend: Backend, order: SessionOrder) -> None:
    store = await backend.node()
    for number in range(10):
        await store.create(ANN, f"s{number}", title=None, now=NOW + number // 2)
    rows = [await store.get(ANN, f"s{number}") for number in range(10)]
    for since, before, direction in product([None, NOW, NOW + 1, NOW + 9], [None, NOW, NOW + 2, NOW + 9], Direction):
        wanted = Wanted(active_since=since, active_before=before, order=order, direction=direction)
        assert await paged(store, ANN, wanted, 3) == plain(rows, wanted)


async def test_everything_is_true_of_what_is_listed(backend: Backend) -> None:
    store = await backend.node()
    await talks(store, "a walrus", id="parent")
    for number in range(4):
        await store.fork(ANN, "parent", f"fork{number}", at=None, title=None, now=NOW + number)
    await holds(store, id="fork1", now=NOW + 5)
    await holds(store, id="fork2", now=NOW + 6)
    await holds(store, "walrus", id="other", now=NOW + 6)
    held = frozenset({SessionStatus.HELD})
    found: dict[str, Any] = {"query": "walrus", "parent": "parent", "status": held}
    assert await listed(store, **found) == ["fork2", "fork1"]
    assert await listed(store, **found, order=CREATED, direction=ASC) == ["fork1", "fork2"]
    assert await listed(store, **found, active_before=NOW + 6) == ["fork1"]
    assert await listed(store, query="walrus", status=held, active_since=NOW + 6) == ["other", "fork2"]
    assert await listed(store, **{**found, "query": "zebra"}) == []


async def test_a_query_without_words_finds_nothing_in_any_order(backend: Backend) -> None:
    store = await backend.node()
    await store.create(ANN, "s", title="walrus", now=NOW)
    for order in SessionOrder:
        assert await listed(store, query="?!", order=order) == []
        assert await listed(store, query=" ", order=order) == ["s"]


# ------------------------------------------------------------------------------------------------------------- anything


_users = count()
_names = st.text("abAB019._:@-", min_size=1, max_size=3)
_times = st.integers(NOW, NOW + 5)
_made = st.tuples(_names, st.sampled_from(SessionStatus), _times, st.sampled_from(["", "walrus", "red walrus"]))
_wanted = st.builds(
    Wanted,
    query=st.none() | st.just("walrus"),
    status=st.just(frozenset(SessionStatus)) | st.frozensets(st.sampled_from(SessionStatus)),
    parent=st.none() | st.just("parent"),
    active_since=st.none() | _times,
    active_before=st.none() | _times,
    order=st.sampled_from(SessionOrder),
    direction=st.sampled_from(Direction),
)
_anything = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def _fill(store: SessionStore, user: str, made: Sequence[Any], forks: Sequence[tuple[str, int]]) -> list[str]:
    """Sessions of a user that nobody else is, and forks of one of them; their ids."""
    await talks(store, "hello", id="parent", user=user)
    ids = ["parent"]
    for name, status, now, title in made:
        if name not in ids:
            await make(store, user, name, status, now=now, title=title)
            ids.append(name)
    for name, now in forks:
        if name not in ids:
            await store.fork(user, "parent", name, at=None, title="walrus", now=now)
            ids.append(name)
    return ids


@_anything
@given(
    made=st.lists(_made, max_size=8), forks=st.lists(st.tuples(_names, _times), max_size=3),
    several=st.lists(_wanted, min_size=1, max_size=6), limit=st.integers(1, 4),
)  # fmt: skip
async def test_pages_put_together_are_the_filtered_sorted_list(
    backend: Backend, made: Sequence[Any], forks: Sequence[tuple[str, int]], several: Sequence[Wanted], limit: int
) -> None:
    store, user = await backend.node(), f"u{next(_users)}"
    rows = [await store.get(user, name) for name in await _fill(store, user, made, forks)]
    for wanted in several:
        assert await paged(store, user, wanted, limit) == plain(rows, wanted)
    await store.close()


@_anything
@given(
    made=st.lists(_made, min_size=3, max_size=8), wanted=_wanted, limit=st.integers(1, 3),
    changes=st.lists(st.tuples(st.sampled_from(["delete", "create", "rename"]), _names, _times), max_size=8),
)  # fmt: skip
async def test_no_session_is_missed_or_listed_twice_while_others_come_and_go(
    backend: Backend, made: Sequence[Any], wanted: Wanted, limit: int, changes: Sequence[tuple[str, str, int]]
) -> None:
    store, user = await backend.node(), f"u{next(_users)}"
    stay = {row.id: row for row in [await store.get(user, name) for name in await _fill(store, user, made, ())]}
    todo, cursor, found = list(changes), None, []
    while True:
        page, cursor = await store.page(user, wanted, limit=limit, after=cursor)
        found += [row.id for row in page]
        assert len(found) < 100
        if cursor is None:
            break
        for what, new, now in todo[:2]:
            old = min(stay, default=new)
            if what == "create":
                with suppress(SessionExists):
                    await store.create(user, new, title="walrus", now=now)
            elif stay.pop(old, None) and what == "rename":
                await store.rename(user, old, "walrus", now + 3)
            else:
                await store.delete(user, old)
        del todo[:2]
    assert [name for name in found if name in stay] == [row.id for row in plain(list(stay.values()), wanted)]
    assert wanted.order is not ID or len(set(found)) == len(found)
    await store.close()
