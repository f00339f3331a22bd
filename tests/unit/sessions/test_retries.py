"""A model request that is made again, as clients and the log see it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from sojourn.abc import ModelRetried, Run, RunFinished, Step, TextDelta
from sojourn.errors import TurnFailed, without_secrets
from sojourn.records import EventKind, Role, TurnStatus, Usage
from sojourn.testing import ScriptedHistory, ask_again, call_tool, say
from tests.unit.sessions.kit import World, all_of, becomes, kinds, soon, text_of, told

WHY = "the model's provider is overloaded (HTTP 503); asking again in 4 s"


class Failing:
    """Writes a piece, has to ask again, and then answers; waits for the test in between."""

    def __init__(self, pieces: tuple[str, ...] = ("Once ", "upon "), retried: ModelRetried | None = None) -> None:
        self.pieces, self.retried = pieces, retried or ask_again(WHY)
        self.written, self.asked_again = asyncio.Event(), asyncio.Event()
        self.fail, self.go, self.end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        for piece in self.pieces:
            yield TextDelta(piece)
        self.written.set()
        await self.fail.wait()
        yield self.retried
        self.asked_again.set()
        await self.go.wait()
        yield TextDelta("Twice ")
        await self.end.wait()
        yield say("Twice upon", final=True)
        yield RunFinished("Twice upon", None, "stop")


async def test_text_is_dropped_before_the_retry_is_told_and_begins_anew(world: World) -> None:
    script = Failing()
    runtime = await world.runtime(script)
    stream = asyncio.create_task(all_of(runtime.stream("s", "tell me")))
    await soon(script.written.wait())
    await world.clock.advance(1)
    script.fail.set()
    await soon(script.asked_again.wait())
    await world.clock.advance(1)
    script.go.set()
    script.end.set()
    events = await soon(stream)
    assert kinds(events) == ["turn_opened", "text_dropped", "model_retry", "message", "turn_ended"]
    retry = next(event for event in events if event.kind is EventKind.MODEL_RETRY)
    assert (retry.text, retry.turn, retry.seq) == (WHY, 1, 1)
    assert text_of(events).startswith("Once upon ")
    places = [event.id for event in events if event.kind is EventKind.TEXT]
    assert len(set(places)) == len(places)
    assert await told(runtime, "s") == [("user", "tell me"), ("assistant", "Twice upon")]
    assert [entry.kind for entry in await runtime.core.store.entries("local", "s")] == [
        *["turn_opened", "message", "turn_ended"]
    ]


async def test_nothing_is_dropped_where_nothing_was_written(world: World) -> None:
    script = Failing(pieces=())
    script.fail.set()
    script.go.set()
    runtime = await world.runtime(script)
    stream = asyncio.create_task(all_of(runtime.stream("s", "tell me")))
    await soon(script.asked_again.wait())
    await world.clock.advance(1)
    script.end.set()
    assert kinds(await soon(stream)) == ["turn_opened", "model_retry", "message", "turn_ended"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0, ["turn_opened", "model_retry", "text"]),
        (1, ["model_retry", "text"]),
        ("1.1.5", ["text_dropped", "model_retry", "text"]),
        ("1.1.10", ["text_dropped", "model_retry", "text"]),
        ("1.1.12", ["text_dropped", "model_retry", "text"]),
        ("1.1000001.2", ["text"]),
    ],
)
async def test_a_client_that_comes_back_after_a_retry_sees_what_it_missed(
    world: World, place: int | str, expected: list[str]
) -> None:
    script = Failing()
    script.fail.set()
    script.go.set()
    runtime = await world.runtime(script)
    sending = asyncio.create_task(runtime.send("s", "tell me"))
    await soon(script.asked_again.wait())
    await world.clock.advance(1)
    watch = runtime.watch("s", after=place)
    events = [await soon(anext(watch)) for _ in expected]
    assert [str(event.kind) for event in events] == expected
    assert events[-1].text == ("Twice " if place != "1.1000001.2" else "ice ")
    script.end.set()
    rest = [await soon(anext(watch)) for _ in range(2)]
    assert [str(event.kind) for event in rest] == ["message", "turn_ended"]
    assert (await soon(sending)).text == "Twice upon"


async def test_a_cancel_in_the_wait_ends_it_and_the_dropped_text_is_stored_nowhere(world: World) -> None:
    script = Failing()
    script.fail.set()
    runtime = await world.runtime(script)
    sending = asyncio.create_task(runtime.send("s", "tell me"))
    await soon(script.asked_again.wait())
    assert await soon(runtime.cancel("s"))
    await asyncio.gather(sending, return_exceptions=True)
    assert await told(runtime, "s") == [("user", "tell me")]
    assert (await runtime.turn("s", 1)).status is TurnStatus.CANCELLED


async def test_a_cancel_after_the_wait_keeps_what_was_written_since(world: World) -> None:
    script = Failing()
    script.fail.set()
    script.go.set()
    runtime = await world.runtime(script)
    sending = asyncio.create_task(runtime.send("s", "tell me"))
    await soon(script.asked_again.wait())
    await world.clock.advance(1)
    assert await soon(runtime.cancel("s"))
    await asyncio.gather(sending, return_exceptions=True)
    assert await told(runtime, "s") == [("user", "tell me"), ("assistant", "Twice ")]


async def test_a_crash_in_the_wait_is_resumed_behind_the_last_stored_step(world: World) -> None:
    ran: list[str] = []
    asked_again = asyncio.Event()

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        if run.attempt == 1:
            yield say("let me look", calls=["look"])
            ran.append("look")
            yield call_tool(0, "look", "found")
            yield TextDelta("It ")
            yield ask_again()
            asked_again.set()
            await asyncio.Event().wait()
        yield say(f"It is {history.told[-1][1]}", final=True)
        yield RunFinished("", None, "stop")

    first = await world.runtime(script)
    sending = asyncio.create_task(first.send("s", "tell me"))
    await soon(asked_again.wait())
    await world.kill(first)
    await asyncio.gather(sending, return_exceptions=True)
    second = await world.runtime(script)
    await becomes(second, TurnStatus.COMPLETED)
    assert ran == ["look"]
    assert [message.text for message in await second.history("s")][1:] == ["let me look", "found", "It is found"]


async def test_what_failed_requests_used_is_counted_also_where_the_turn_fails(world: World) -> None:
    used = Usage(requests=1, input_tokens=7)

    async def script(run: Run, history: ScriptedHistory) -> AsyncIterator[Step]:
        yield ask_again(model="m", usage=used)
        yield ask_again(model="m", usage=used)
        raise RuntimeError("Incorrect API key provided: sk-test-1234567890abcdef")

    runtime = await world.runtime(script)
    with pytest.raises(TurnFailed, match=r"\[removed\]") as failed:
        await soon(runtime.send("s", "tell me"))
    assert "sk-test" not in str(failed.value)
    total = {"m": Usage(requests=2, input_tokens=14)}
    assert (await runtime.turn("s", 1)).usage == total == (await runtime.get("s")).usage
    entries = await runtime.core.store.entries("local", "s")
    assert not any("sk-test" in entry.body + entry.text for entry in entries)
    assert json.loads(entries[-1].body)["usage"]["m"]["input_tokens"] == 14
    assert [message.role for message in await runtime.history("s")] == [Role.USER]


@pytest.mark.parametrize(
    "text",
    [
        *["Incorrect API key provided: sk-proj-ab12CD34ef56.", "Incorrect API key provided: mykey-123.", "api_key=abc"],
        *["GET https://x.test/v1?key=AIzaSyA-1234567890abc&alt=sse", "https://user:hunter2@x.test/v1 is down"],
        *["Authorization: Bearer abc.def.ghi", "bearer abcdef.ghijkl.mnop", '{"x-api-key": "abc"}', "token='abc'"],
        *["AKIAIOSFODNN7EXAMPLE is unknown", "0123456789abcdef0123456789abcdef was refused", "AWS_SECRET: abc/def"],
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text: str) -> None:
    found = without_secrets(text)
    assert "[removed]" in found
    for secret in ("abc", "AIza", "AKIA", "hunter2", "mykey", "ab12", "ghi", "0123"):
        assert secret not in found


@pytest.mark.parametrize(
    "text",
    [
        *[
            "max_tokens: 4096 is too large",
            "the task asking for skeletons",
            "model 'us-anthropic-claude-4-5-20250929-v1'",
        ],
        *[
            "KeyError: 'x'",
            "set XAI_API_KEY, HF_API_TOKEN or PK_NUMBER_ONE",
            "/tmp/some-folder/of-a-test/session-1.db is locked",
            "maximum context length is 128000 tokens",
        ],
    ],
)
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert without_secrets(text) == text
