"""P5: nothing of one user's sessions can be seen or changed through another's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sojourn.errors import SessionNotFound
from sojourn.sessions.handle import SessionHandle
from sojourn.sessions.scope import Scope
from tests.unit.sessions.kit import World, all_of, kinds, some_of, soon

#: Every call that names a session, as somebody who has none of that id would make it.
CALLS: dict[str, Callable[[Scope], Awaitable[Any]]] = {
    "get": lambda bob: bob.get("s"),
    "history": lambda bob: bob.history("s"),
    "turn": lambda bob: bob.turn("s", 1),
    "turns": lambda bob: bob.turns("s"),
    "inbox": lambda bob: bob.inbox("s"),
    "effects": lambda bob: bob.effects("s"),
    "rename": lambda bob: bob.rename("s", "stolen"),
    "reset": lambda bob: bob.reset("s"),
    "fork": lambda bob: bob.fork("s"),
    "cancel": lambda bob: bob.cancel("s", clear=True),
    "resume": lambda bob: bob.resume("s"),
    "discard": lambda bob: bob.discard("s"),
    "export": lambda bob: anext(aiter(bob.export("s"))),
    "watch": lambda bob: anext(aiter(bob.watch("s", after=0))),
    "follow": lambda bob: bob.follow("s"),
    "send": lambda bob: bob.send("s", "hi", create=False),
    "approvals": lambda bob: bob.approvals("s"),
    "remembered": lambda bob: bob.remembered("s"),
    "approve": lambda bob: bob.approve("s", "1"),
    "deny": lambda bob: bob.deny("s", "1"),
    "state": lambda bob: bob.state("s"),
    "clear_context": lambda bob: bob.clear_context("s"),
    "set_state": lambda bob: bob.set_state("s", {}),
    "model": lambda bob: bob.model("s"),
    "switch_model": lambda bob: bob.switch_model("s", None),
    "contributors": lambda bob: bob.contributors("s"),
    "contribute": lambda bob: bob.contribute("s", "tone", "Be kind."),
    "withdraw": lambda bob: bob.withdraw("s", "tone"),
    "search": lambda bob: bob.search("pomegranate", id="s"),
    "steer": lambda bob: bob.steer("s", "hi", create=False),
    "follow_up": lambda bob: bob.follow_up("s", "hi", create=False),
    "remove": lambda bob: bob.remove("s", 1),
    "begin": lambda bob: bob.begin("s", "hi", create=False),
    "submit": lambda bob: bob.submit("s", "hi", create=False),
    "stream": lambda bob: anext(aiter(bob.stream("s", "hi", create=False))),
}


@pytest.mark.parametrize("call", CALLS)
async def test_another_users_session_looks_like_none(world: World, call: str) -> None:
    runtime = await world.runtime()
    ann, bob = runtime.for_user("ann"), runtime.for_user("bob")
    await ann.send("s", "pomegranate", key="k")
    before = (await ann.get("s"), await ann.history("s"), await ann.turns("s"))
    with pytest.raises(SessionNotFound) as unknown:
        await soon(CALLS[call](bob))
    with pytest.raises(SessionNotFound) as missing:
        await soon(CALLS[call](runtime.for_user("nobody")))
    assert str(unknown.value) == str(missing.value)
    assert (await ann.get("s"), await ann.history("s"), await ann.turns("s")) == before


async def test_every_call_that_names_a_session_is_covered_above() -> None:
    calls = {name for name in dir(SessionHandle) if not name.startswith("_")}
    assert calls - set(CALLS) == {"id", "create", "delete", "unload"}


async def test_two_users_with_the_same_ids_and_keys_do_not_meet(world: World) -> None:
    runtime = await world.runtime()
    ann, bob = runtime.for_user("ann"), runtime.for_user("bob")
    watching = asyncio.create_task(_watch(bob))
    await ann.send("s", "apple", key="k")
    await bob.send("s", "banana", key="k")
    assert [message.text for message in await ann.history("s")] == ["apple", "you said: apple"]
    assert [message.text for message in await bob.history("s")] == ["banana", "you said: banana"]
    assert "apple" not in str(await soon(watching))
    for scope, word, other in ((ann, "apple", "banana"), (bob, "banana", "apple")):
        assert len((await scope.sessions(query=word)).sessions) == 1
        assert (await scope.sessions(query=other)).sessions == []
        assert len((await scope.sessions()).sessions) == 1
    assert await bob.delete("s")
    assert not await bob.delete("s")
    assert [message.text for message in await ann.history("s")] == ["apple", "you said: apple"]


async def test_a_cursor_of_one_user_shows_another_nothing_of_theirs(world: World) -> None:
    runtime = await world.runtime()
    ann, bob = runtime.for_user("ann"), runtime.for_user("bob")
    for n in range(4):
        await ann.create(f"a{n}")
        await world.clock.advance(1)
    await bob.create("b")
    page = await ann.sessions(limit=2)
    assert {session.id for session in (await bob.sessions(after=page.next)).sessions} <= {"b"}


async def test_unload_and_delete_of_another_users_session_do_nothing(world: World) -> None:
    runtime = await world.runtime()
    ann, bob = runtime.for_user("ann"), runtime.for_user("bob")
    await ann.send("s", "hi")
    assert await bob.unload("s") is False
    assert await bob.delete("s") is False
    assert len(await ann.history("s")) == 2


@pytest.mark.parametrize(
    "name", ["global", "local", "sessions", "session:s", "__proto__", "..", "a@b.c:d-e_f", "_", "null"]
)
async def test_no_id_is_special(world: World, name: str) -> None:
    runtime = await world.runtime()
    await runtime.send("s", "plain")
    assert (await runtime.send(name, "hello")).text == "you said: hello"
    assert len((await runtime.sessions()).sessions) == 2
    assert await runtime.delete(name)
    assert len(await runtime.history("s")) == 2


async def _watch(bob: Scope) -> list[Any]:
    await bob.create("s")
    return await some_of(bob.watch("s", after=0), lambda event: event.status is not None)


async def test_streams_of_many_sessions_at_once_do_not_mix(world: World) -> None:
    runtime = await world.runtime(max_sessions=5)

    async def one(user: str, id: str) -> None:
        scope = runtime.for_user(user)
        for n in range(3):
            text = f"{user} {id} {n}"
            events = await all_of(scope.stream(id, text))
            assert kinds(events) == ["turn_opened", "message", "turn_ended"]
            assert events[-1].reply is not None
            assert events[-1].reply.text == f"you said: {text}"

    async with asyncio.timeout(20):
        await asyncio.gather(*(one(user, f"s{n}") for user in ("ann", "bob") for n in range(10)))
