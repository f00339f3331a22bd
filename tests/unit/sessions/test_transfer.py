"""Export and load: they round-trip exactly, and what is not an export changes nothing."""

import asyncio
import itertools
import json
import random
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.abc import Run, SessionStore, Step
from sojourn.errors import ContentTooLarge, ExportInvalid, InvalidSessionId, SessionExists, SessionNotFound
from sojourn.records import EffectStatus, OnInterrupt, TurnStatus
from sojourn.sessions import transfer, views
from sojourn.sessions.runtime import Runtime
from sojourn.stores.memory import MemoryStore
from sojourn.testing import ScriptedEngine, ScriptedHistory, answer, call_tool, feedback, pause, say
from tests.unit.sessions.kit import Stage, World, all_of, around, becomes, kinds, said, some_of, soon, told, until


async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
    text = said(history)
    if text == "tools":
        yield say("let me see", calls=["look", "see"])
        yield call_tool(1, "see", "green")
        yield call_tool(0, "look", "réd")
        yield feedback("once more")
    if text == "fail":
        raise ValueError("no good")
    async for step in answer(f"{len(history.told)} lines"):
        yield step


async def exported(runtime: Runtime, id: str = "s") -> list[str]:
    return [line async for line in runtime.export(id)]


async def full(world: World) -> Runtime:
    """A runtime with one session that has everything a session can have."""
    runtime = await world.runtime(script)
    for text in ("hello", "tools", "fail", "ünïcode 🙂"):
        await asyncio.gather(runtime.send("s", text, key=text), return_exceptions=True)
        await world.clock.advance(1)
    return runtime


async def test_a_session_comes_back_as_it_was(world: World) -> None:
    runtime = await full(world)
    before = (await runtime.get("s"), await runtime.history("s"), await runtime.turns("s"))
    events = await some_of(runtime.watch("s", after=0), lambda event: event.turn == 4 and event.status is not None)
    lines = await exported(runtime)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    await runtime.delete("s")
    loaded = await runtime.load(lines)
    assert loaded == before[0]
    assert (await runtime.get("s"), await runtime.history("s"), await runtime.turns("s")) == before
    assert events == await some_of(
        runtime.watch("s", after=0), lambda event: event.turn == 4 and event.status is not None
    )
    assert await exported(runtime) == lines
    assert (await runtime.send("s", "hello", key="hello")).text == "1 lines", "keys are known again"
    live = (await runtime.send("s", "more")).text
    assert live == f"{len(await told(runtime, 's')) - 1 + 1} lines"  # the feedback is no message
    assert len((await runtime.sessions(query="unicode")).sessions) == 1


async def test_a_session_is_loaded_under_another_id_and_by_another_user(world: World) -> None:
    runtime = await full(world)
    lines = await exported(runtime)
    with pytest.raises(SessionExists):
        await runtime.load(lines)
    assert (await runtime.load(lines, id="copy")).id == "copy"
    ann = runtime.for_user("ann")

    async def reader() -> AsyncIterator[str]:
        for line in lines:
            yield line

    assert (await ann.load(reader())).user == "ann"
    assert await ann.history("s") == await runtime.history("copy") == await runtime.history("s")
    with pytest.raises(InvalidSessionId):
        await runtime.load(lines, id="no/slash")


async def test_a_running_turn_and_what_is_in_line_are_not_exported(world: World, stage: Stage) -> None:
    runtime = await world.runtime(stage)
    await runtime.send("s", "done")
    calls = [asyncio.create_task(runtime.send("s", text)) for text in ("wait", "behind")]
    await stage.began("wait")
    lines = await exported(runtime)
    await runtime.load(lines, id="copy")
    assert await told(runtime, "copy") == [("user", "done"), ("assistant", "you said: done")]
    assert [turn.status for turn in await runtime.turns("copy")] == [TurnStatus.COMPLETED]
    assert (await soon(runtime.send("copy", "on"))).text == "you said: on"
    stage.let("wait")
    await soon(asyncio.gather(*calls))


@pytest.mark.parametrize("how", ["empty", "reset", "forked", "forked and gone on"])
async def test_sessions_of_every_kind_can_be_exported(world: World, how: str) -> None:
    runtime = await world.runtime(script)
    await runtime.create("parent")
    if how != "empty":
        await runtime.send("parent", "hello")
        await runtime.send("parent", "tools")
    if how == "reset":
        await runtime.reset("parent")
        await runtime.send("parent", "anew")
    name = "parent"
    if how.startswith("forked"):
        name = (await runtime.fork("parent")).id
    if how == "forked and gone on":
        await runtime.send(name, "more")
    lines = await exported(runtime, name)
    await runtime.load(lines, id="copy")
    assert await told(runtime, "copy") == await told(runtime, name)
    ends = [(await runtime.send(copy, "last")).text for copy in (name, "copy")]
    assert ends[0] == ends[1]
    assert (await runtime.get("copy")).message_count == len(await runtime.history("copy"))


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
base64 = st.binary(min_size=1, max_size=30).map(lambda raw: b64encode(raw).decode())
parts = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("text"), "text": plain}, optional={"note": st.integers() | st.booleans()}
        ),
        st.fixed_dictionaries({"type": st.just("image"), "image": base64, "mimeType": plain}),
        st.fixed_dictionaries({"type": st.just("file"), "data": base64, "filename": plain}),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(plain.filter(str.strip) | parts, min_size=1, max_size=4), title=plain)
def test_whatever_was_said_round_trips(contents: list[Any], title: str) -> None:
    async def run() -> None:
        async with Runtime(MemoryStore(), ScriptedEngine()) as runtime:
            for content in contents:
                await runtime.send("s", content)
            lines = await exported(runtime)
            await runtime.load(lines, id="copy")
            back = await runtime.history("copy")
            assert back == await runtime.history("s")
            users = [message for message in back if message.role == "user"]
            for message, content in zip(users, contents, strict=True):
                assert (message.text if isinstance(content, str) else list(message.parts)) == content
            assert (await exported(runtime, "copy"))[1:] == lines[1:]

    asyncio.run(run())


async def must_refuse(runtime: Runtime, lines: list[str]) -> None:
    stored = await runtime.core.store.count()
    with pytest.raises(ExportInvalid) as refused:
        await soon(runtime.load(lines, id="broken"))
    assert refused.value.code == "export_invalid"
    assert str(refused.value).startswith("export, line ")
    assert len(str(refused.value)) < 500
    assert await runtime.core.store.count() == stored
    with pytest.raises(SessionNotFound):
        await runtime.get("broken")


#: What no field may hold.
NASTY: list[Any] = [None, True, -1, 2**70, 1.5, "x", "", [], {}, [1], {"a": 1}, "\ud800", "nul\x00", float("nan")]


async def harmless(runtime: Runtime, lines: list[str]) -> bool:
    """Whether a changed export was refused; if it was taken, everything about the session must work."""
    try:
        await runtime.load(lines, id="broken")
    except ExportInvalid:
        with pytest.raises(SessionNotFound):
            await runtime.get("broken")
        return False
    await runtime.get("broken")
    await runtime.turns("broken")
    await runtime.history("broken")
    await runtime.sessions()
    await exported(runtime, "broken")
    await asyncio.gather(*(runtime.send("broken", "hello", key=key) for key in ("new",)), return_exceptions=False)
    last = (await runtime.turns("broken"))[-1].turn
    await some_of(runtime.watch("broken", after=0), lambda event: event.turn == last and event.status is not None)
    await runtime.fork("broken", new_id="forked")
    await runtime.delete("forked")
    await runtime.delete("broken")
    return True


async def test_an_export_that_was_changed_in_any_field_is_refused_or_harmless(world: World) -> None:
    runtime = await full(world)
    lines = await exported(runtime)
    refused = taken = 0
    chosen = [0, 1, 3, *range(5, len(lines))]
    for number in chosen:
        data = json.loads(lines[number])
        outer = data.get("turn") or data.get("entry") or data
        for name, value in itertools.product(list(outer), NASTY):
            outer_before = outer[name]
            if value == outer_before and type(value) is type(outer_before):
                continue
            outer[name] = value
            changed = [*lines[:number], json.dumps(data) + "\n", *lines[number + 1 :]]
            outer[name] = outer_before
            if await soon(harmless(runtime, changed)):
                taken += 1
            else:
                refused += 1
        for name in list(outer):
            kept = outer.pop(name)
            changed = [*lines[:number], json.dumps(data) + "\n", *lines[number + 1 :]]
            outer[name] = kept
            if await soon(harmless(runtime, changed)):
                taken += 1
            else:
                refused += 1
    assert refused > 10 * taken, (refused, taken)


async def test_a_torn_or_shuffled_export_is_refused(world: World) -> None:
    runtime = await full(world)
    lines = await exported(runtime)
    first_entry = next(n for n, line in enumerate(lines) if line.startswith('{"entry"'))
    chance = random.Random(3)
    for cut in range(first_entry, len(lines)):
        await must_refuse(runtime, lines[:cut])
        await must_refuse(runtime, lines[:cut] + lines[cut + 1 :])
        await must_refuse(runtime, [*lines[:cut], lines[cut], *lines[cut:]])
        await must_refuse(runtime, [*lines[:cut], lines[cut][: chance.randrange(1, len(lines[cut]) - 1)]])
    await must_refuse(runtime, [lines[0], *reversed(lines[1:])])
    await must_refuse(runtime, lines[1:])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["\n", "  \n"],
        ["hello"],
        ["[]"],
        ["null"],
        ["{}"],
        ["[" * 100_000],
        ['{"sojourn": 1}'],
        ['{"sojourn": 99, "id": "s"}'],
        ['{"sojourn": true, "id": "s"}'],
        [b"\xff\xfe"],
        [17],
        [None],
    ],
)
async def test_what_is_no_export_is_refused(memory: World, lines: list[Any]) -> None:
    await must_refuse(await memory.runtime(), lines)


@pytest.mark.parametrize("lines", [None, 17, object()])
async def test_what_is_no_stream_is_refused(memory: World, lines: Any) -> None:
    await must_refuse(await memory.runtime(), lines)


async def test_an_export_goes_on_where_the_session_stood(world: World) -> None:
    runtime = await full(world)
    lines = await exported(runtime)
    await runtime.load(lines, id="copy")
    events = await all_of(runtime.stream("copy", "next"))
    assert kinds(events) == ["turn_opened", "message", "turn_ended"]
    assert events[0].turn == 5
    assert events[0].seq == json.loads(lines[-1])["entry"]["seq"] + 1


async def test_inputs_that_became_one_turn_may_be_large_together(
    world: World, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MAX_CONTENT_BYTES", 100)
    runtime = await world.runtime(stage)
    await runtime.submit("s", "wait")
    await stage.began("wait")
    for letter in "ab":
        await runtime.follow_up("s", letter * 90)
    stage.let("wait")
    await becomes(runtime, TurnStatus.COMPLETED, 2)
    await runtime.load(await exported(runtime), id="copy")
    assert await runtime.history("copy") == await runtime.history("s")
    with pytest.raises(ContentTooLarge):
        await runtime.send("copy", "a" * 110)


# -- amid what goes on


class Calling:
    """A script that answers at once; "call" waits for the test within a call, "ask" for a person."""

    def __init__(self) -> None:
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        text = said(history)
        if text == "ask":
            yield say("may I?", calls=["look"], gated=["look"])
            yield pause((0, "look"))
            return
        if text == "call":
            yield say("let me see", calls=["look"])
            self.begun.set()
            await self.over.wait()
            yield call_tool(0, "look", "red")
        async for step in answer(f"you said: {text}"):
            yield step


class Meddler:
    """Lets something happen behind one of a store's reads, the first of which is 0."""

    def __init__(self, store: SessionStore, at: int, act: Callable[[], Awaitable[object]]) -> None:
        self._at, self._act = at, act
        self._reads = itertools.count()
        self.acted = False
        for name in ("get", "entries", "effects", "turns"):
            around(store, name, self._read)

    async def _read(self, call: Callable[[], Awaitable[Any]], *_: Any) -> Any:
        found = await call()
        if next(self._reads) == self._at:
            self.acted = True
            await self._act()
        return found


async def a_turn_ends(runtime: Runtime, calling: Calling) -> None:
    calling.over.set()
    await becomes(runtime, TurnStatus.COMPLETED, 3)


async def a_call_is_closed(runtime: Runtime, _: Calling) -> None:
    await runtime.send("s", "on")


async def it_is_reset(runtime: Runtime, _: Calling) -> None:
    await runtime.reset("s")
    await runtime.send("s", "anew")


async def another_has_its_id(runtime: Runtime, _: Calling) -> None:
    await runtime.delete("s")
    for text in ("another", "more", "and more", "last"):
        await runtime.send("s", text)


HAPPENS: dict[Callable[[Runtime, Calling], Awaitable[None]], set[str]] = {
    a_turn_ends: {"before", "after"},
    a_call_is_closed: {"before", "after"},
    it_is_reset: {"before", "refused"},
    another_has_its_id: {"before", "refused"},
}


@pytest.mark.parametrize("happens", HAPPENS)
async def test_whatever_happens_amid_an_export_it_is_of_one_moment_or_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Runtime, Calling], Awaitable[None]]
) -> None:
    monkeypatch.setattr(transfer, "_PIECE", 2)
    calling, outcomes = Calling(), set()
    runtime = await world.runtime(calling)
    for at in itertools.count():
        calling.over.clear()
        calling.begun.clear()
        other = await world.runtime(calling)
        await runtime.send("s", "one")
        await runtime.send("s", "ask")
        await runtime.cancel("s")
        if happens is a_turn_ends:
            await runtime.submit("s", "call")
            await soon(calling.begun.wait())
        await runtime.load(await exported(runtime), id="before")
        meddler = Meddler(other.core.store, at, partial(happens, runtime, calling))
        try:
            await runtime.load(await exported(other), id="copy")
        except SessionNotFound:
            outcomes.add("refused")
        else:
            calling.over.set()
            await runtime.load(await exported(runtime), id="after")
            moments = [await told(runtime, name) for name in ("copy", "before", "after")]
            assert moments[0] in moments[1:], at
            outcomes.add("before" if moments[0] == moments[1] else "after")
        await other.close()
        for session in (await runtime.sessions()).sessions:
            await runtime.delete(session.id)
        if not meddler.acted:
            break
    assert at > 8
    assert outcomes == HAPPENS[happens]


async def test_calls_that_no_later_turn_could_close_have_results_in_a_copy(world: World) -> None:
    runtime = await world.runtime(Calling(), on_interrupt=OnInterrupt.HOLD)
    await runtime.send("s", "ask")
    await runtime.cancel("s")
    reached = asyncio.Event()

    async def never(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    around(runtime.core.store, "append", never)
    await runtime.submit("s", "two")
    await soon(reached.wait())
    await world.kill(runtime)  # the second turn is begun, and nothing of it written yet
    runtime = await world.runtime(Calling(), on_interrupt=OnInterrupt.HOLD)
    await runtime.chores.recover()
    await becomes(runtime, TurnStatus.HELD, 2)
    await until(lambda: not runtime._owners())
    await runtime.discard("s")
    assert [effect.status for effect in await runtime.effects("s")] == [EffectStatus.INTENDED]
    lines = await exported(runtime)
    await runtime.load(lines, id="copy")
    assert (await exported(runtime, "copy"))[1:] == lines[1:]
    await runtime.fork("s", new_id="fork")
    for name in ("s", "copy", "fork"):
        await runtime.send(name, "three")
        assert ("tool", "look was not decided") in await told(runtime, name)
