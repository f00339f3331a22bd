"""Whatever is wrong with what a caller passes: a clear error with a stable code, and nothing is stored."""

import inspect
import re
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sojourn import Sojourn, errors
from sojourn.errors import (
    ContentTooLarge,
    InvalidInput,
    InvalidSessionId,
    RuntimeClosed,
    SojournError,
    StorageCorrupt,
    StorageError,
    StorageReadOnly,
    StorageUnavailable,
)
from sojourn.records import MAX_CONTENT_BYTES
from sojourn.sessions.handle import SessionHandle
from sojourn.sessions.scope import Scope
from sojourn.testing import ScriptedEngine
from tests.contract.backends import BACKENDS
from tests.unit.sessions.kit import World, soon


@pytest.fixture(params=sorted(BACKENDS))
async def scope(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scope]:
    backend = BACKENDS[request.param](tmp_path)
    world = World(backend)
    yield await world.runtime()
    await world.close()
    await backend.close()


#: Every call of a user, with good values for what it needs; streams are read up to their first item.
CALLS: dict[str, Callable[[Scope, Any], Any]] = {
    "create": lambda scope, of: scope.create(of),
    "get": lambda scope, of: scope.get(of),
    "rename": lambda scope, of: scope.rename(of, "Name"),
    "reset": lambda scope, of: scope.reset(of),
    "delete": lambda scope, of: scope.delete(of),
    "fork": lambda scope, of: scope.fork(of),
    "unload": lambda scope, of: scope.unload(of),
    "export": lambda scope, of: anext(aiter(scope.export(of))),
    "send": lambda scope, of: scope.send(of, "hi"),
    "stream": lambda scope, of: anext(aiter(scope.stream(of, "hi"))),
    "begin": lambda scope, of: scope.begin(of, "hi"),
    "submit": lambda scope, of: scope.submit(of, "hi"),
    "watch": lambda scope, of: anext(aiter(scope.watch(of))),
    "follow": lambda scope, of: scope.follow(of),
    "cancel": lambda scope, of: scope.cancel(of),
    "resume": lambda scope, of: scope.resume(of),
    "discard": lambda scope, of: scope.discard(of),
    "history": lambda scope, of: scope.history(of),
    "turn": lambda scope, of: scope.turn(of, 1),
    "turns": lambda scope, of: scope.turns(of),
    "inbox": lambda scope, of: scope.inbox(of),
    "effects": lambda scope, of: scope.effects(of),
    "approvals": lambda scope, of: scope.approvals(of),
    "approve": lambda scope, of: scope.approve(of, "1"),
    "deny": lambda scope, of: scope.deny(of, "1"),
    "remembered": lambda scope, of: scope.remembered(of),
    "state": lambda scope, of: scope.state(of),
    "clear_context": lambda scope, of: scope.clear_context(of),
    "set_state": lambda scope, of: scope.set_state(of, {}),
    "model": lambda scope, of: scope.model(of),
    "switch_model": lambda scope, of: scope.switch_model(of, None),
    "contributors": lambda scope, of: scope.contributors(of),
    "contribute": lambda scope, of: scope.contribute(of, "tone", "Be kind."),
    "withdraw": lambda scope, of: scope.withdraw(of, "tone"),
    "steer": lambda scope, of: scope.steer(of, "hi"),
    "follow_up": lambda scope, of: scope.follow_up(of, "hi"),
    "remove": lambda scope, of: scope.remove(of, 1),
    "search": lambda scope, of: scope.search("hi", id=of),
}

#: Those that without an id are about all sessions, or make one up.
WITHOUT_ID = {"create", "approvals", "remembered", "search"}

#: And those that name no session.
OTHERS: dict[str, Callable[[Scope], Any]] = {
    "sessions": lambda scope: scope.sessions(),
    "load": lambda scope: scope.load(['{"sojourn": 1}']),
    "approval": lambda scope: scope.approval("1"),
    "forget": lambda scope: scope.forget("1"),
    "search_sessions": lambda scope: scope.search_sessions("hi"),
}

WRONG_IDS = ["", "a/b", "a b", "ä", "x" * 129, "a\n", "a\x00", "../etc", "a%2F", 7, b"s", ["s"], True]


def test_every_call_of_a_user_is_in_the_tables() -> None:
    calls = {name for name, _ in inspect.getmembers(Scope, inspect.isfunction) if not name.startswith("_")}
    assert calls - {"session"} == set(CALLS) | set(OTHERS)
    handle = {name for name, _ in inspect.getmembers(SessionHandle, inspect.isfunction) if not name.startswith("_")}
    assert handle == set(CALLS)


async def stored(scope: Scope) -> int:
    return await scope._runtime.core.store.count()


@pytest.mark.parametrize("call", CALLS)
async def test_an_id_that_cannot_be_is_refused_by_every_call(scope: Scope, call: str) -> None:
    for wrong in WRONG_IDS if call in WITHOUT_ID else [*WRONG_IDS, None]:
        with pytest.raises(InvalidSessionId) as refused:
            await soon(CALLS[call](scope, wrong))
        assert refused.value.code == "session_id_invalid"
        assert "1 to 128 characters of a-z A-Z 0-9 . _ : @ -" in str(refused.value)
        assert repr(wrong)[:20] in str(refused.value)
    assert await stored(scope) == 0


async def test_a_handle_of_an_id_that_cannot_be_is_not_given(scope: Scope) -> None:
    for wrong in WRONG_IDS:
        with pytest.raises(InvalidSessionId):
            scope.session(wrong)  # type: ignore[arg-type]
    assert repr(scope.session("s")) == "<session 's' of 'local'>"


circle: list[Any] = []
circle.append(circle)

WRONG_CONTENT: dict[str, Any] = {
    "nothing": None,
    "a number": 7,
    "bytes": b"hi",
    "an empty list": [],
    "a mapping": {"type": "text", "text": "hi"},
    "a list of texts": ["hi"],
    "a set": {"hi"},
    "a part without a type": [{"text": "hi"}],
    "an unknown part": [{"type": "video", "video": "x"}],
    "a part whose type is a list": [{"type": []}],
    "a text that is none": [{"type": "text", "text": 7}],
    "a text that is missing": [{"type": "text"}],
    "an image without data": [{"type": "image", "mimeType": "image/png"}],
    "a file that is bytes": [{"type": "file", "data": b"x"}],
    "a half of a character": "hi \ud800",
    "a half in a part": [{"type": "text", "text": "\udfff"}],
    "an image that is no base64": [{"type": "image", "image": "not base64!"}],
    "an image that is half a byte": [{"type": "image", "image": "x"}],
    "an image that is an address": [{"type": "image", "image": "https://example.org/a.png"}],
    "an image with its kind before it": [{"type": "image", "image": "data:image/png;base64,aGk="}],
    "a file of nothing": [{"type": "file", "data": ""}],
    "a kind that is a number": [{"type": "image", "image": "aGk=", "mimeType": 5}],
    "a name that is a number": [{"type": "file", "data": "aGk=", "filename": 5}],
    "a half in a part's note": [{"type": "image", "image": "aGk=", "note": "\ud83d"}],
    "a NUL": "a\x00b",
    "a NUL in a part": [{"type": "text", "text": "\x00"}],
    "a part that is no JSON": [{"type": "text", "text": "hi", "note": object()}],
    "a part that is no number": [{"type": "text", "text": "hi", "note": float("nan")}],
    "a part that contains itself": [{"type": "text", "text": "hi", "note": circle}],
}


@pytest.mark.parametrize("content", WRONG_CONTENT.values(), ids=WRONG_CONTENT)
@pytest.mark.parametrize("call", ["send", "stream", "begin", "submit", "steer", "follow_up"])
async def test_content_that_cannot_be_is_refused(scope: Scope, call: str, content: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await soon(anext(aiter(scope.stream("s", content))) if call == "stream" else getattr(scope, call)("s", content))
    assert refused.value.code == "invalid_input"
    assert str(refused.value).startswith("content")
    assert await stored(scope) == 0


async def test_content_that_is_too_large_is_refused_and_the_largest_is_taken(scope: Scope) -> None:
    largest = MAX_CONTENT_BYTES - len("{}")
    image = {"type": "image", "image": "x" * MAX_CONTENT_BYTES}
    for content in ("x" * (largest + 1), "é" * (largest // 2 + 1), [image]):
        with pytest.raises(ContentTooLarge) as refused:
            await soon(scope.send("s", content))
        assert refused.value.code == "content_too_large"
        assert f"expected at most {MAX_CONTENT_BYTES:,}" in str(refused.value)
        assert len(str(refused.value)) < 200
    assert await stored(scope) == 0
    assert (await soon(scope.send("s", "x" * largest))).turn == 1


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - nobody knows where

#: (call, what the sentence begins with, wrong values)
WRONG_VALUES: list[tuple[Callable[[Scope, Any], Any], str, list[Any]]] = [
    (lambda s, v: s.send("s", "hi", key=v), "key", ["", 7, "x" * 256, "a\nb", "\x00", b"k", "\ud800"]),
    (lambda s, v: s.send("s", "hi", busy=v), "busy", ["", "wait", "QUEUE", 1, True, []]),
    (lambda s, v: s.create("s", title=v), "title", ["", "  ", "x" * 201, "a\nb", 7, b"t", "\x00", "\ud800"]),
    (lambda s, v: s.rename("known", v), "title", ["", " ", "x" * 201, "a\tb", None, 7]),
    (lambda s, v: s.fork("known", title=v), "title", ["", "x" * 201, 7]),
    (lambda s, v: s.fork("known", at=v), "at", ["1", 1.5, True, 2**70, []]),
    (lambda s, v: s.sessions(limit=v), "limit", [0, -1, 1001, "20", None, True, 1.5, 2**70]),
    (lambda s, v: s.sessions(after=v), "after", ["", "x", "####", "W10", 7, b"x", "ä"]),
    (lambda s, v: s.sessions(query=v), "query", [7, b"x", ["x"], True, "x" * 1_001]),
    (lambda s, v: s.search(v), "query", ["", None, 7, b"x", ["x"], True, "x" * 1_001, "walrus " * 1_500]),
    (lambda s, v: s.search("hi", limit=v), "limit", [0, -1, 101, "20", None, True, 1.5, 2**70]),
    (lambda s, v: s.search("hi", offset=v), "offset", [-1, 10_001, "20", None, True, 1.5, 2**70]),
    (lambda s, v: s.search("hi", role=v), "role", ["", "system", "USER", 7, True, [], {}]),
    (lambda s, v: s.search("hi", after=v), "after", ["", "x", "####", "W10", 7, b"x", "ä"]),
    (lambda s, v: s.search_sessions(v), "query", ["", None, 7, "x" * 1_001]),
    (lambda s, v: s.search_sessions("hi", limit=v), "limit", [0, 101, None]),
    (lambda s, v: s.search_sessions("hi", offset=v), "offset", [-1, 10_001, None]),
    (lambda s, v: s.sessions(status=v), "status", ["", "busy", "IDLE", b"idle", 7, True, [], [None], ["idle", "x"]]),
    (lambda s, v: s.sessions(active_since=v), "active_since", [0, "2026-01-01", True, date(2026, 1, 1), NAIVE]),
    (lambda s, v: s.sessions(active_before=v), "active_before", [0, "2026-01-01", True, date(2026, 1, 1), NAIVE]),
    (lambda s, v: s.sessions(order=v), "order", ["", "title", "ID", None, 7, ["id"]]),
    (lambda s, v: s.sessions(direction=v), "direction", ["", "down", "ASC", 7, True, ["asc"]]),
    (lambda s, v: s.history("known", limit=v), "limit", [0, -1, 1001, "5", True]),
    (lambda s, v: s.history("known", before=v), "before", ["5", 1.5, True, 2**70]),
    (lambda s, v: s.turn("known", v), "turn", ["1", None, 1.5, True, -1, 2**70]),
    (lambda s, v: s.cancel("known", turn=v), "turn", ["1", 1.5, True, 2**70]),
    (lambda s, v: s.discard("known", turn=v), "turn", ["1", 1.5, True, 2**70]),
    (lambda s, v: s.contribute("known", v, "Be kind."), "contributor", ["", "a b", 7, None, "x" * 81, "a\n"]),
    (lambda s, v: s.contribute("known", "a", v), "content", ["", " ", 7, None, "x" * 120_001, "\x00", "\ud800"]),
    (lambda s, v: s.contribute("known", "a", "b", priority=v), "priority", [-1, 1.5, "1", True, None, 2**40]),
    (lambda s, v: s.contribute("known", "a", "b", enabled=v), "enabled", [1, None, "yes"]),
    (lambda s, v: s.withdraw("known", v), "contributor", ["", "a b", 7, None]),
    (lambda s, v: s.switch_model("known", v), "model", [7, "gpt", ["gpt"]]),
    (lambda s, v: s.remove("known", v), "position", ["1", None, 1.5, True, -1, 2**70]),
    (lambda s, v: s.approvals(limit=v), "limit", [0, -1, 1001, "20", None, True]),
    (lambda s, v: s.approval(v), "approval", ["", 7, None, "x" * 129, "a\nb"]),
    (lambda s, v: s.approve("known", v), "approval", ["", 7, None, "x" * 129, "a\nb"]),
    (lambda s, v: s.approve("known", "1", remember=v), "remember", ["", "always", 7, True, []]),
    (lambda s, v: s.approve("known", "1", arguments=v), "arguments", ["", "[]", "{", 7, {1, 2}, {"a": float("nan")}]),
    (lambda s, v: s.approve("known", "1", by=v), "by", ["", 7, "x" * 257, "a\nb"]),
    (lambda s, v: s.deny("known", "1", reason=v), "reason", [7, b"no", "x" * 2001, "half \ud800"]),
    (lambda s, v: s.forget(v), "remembered", ["", 7, None, "x" * 129]),
    (lambda s, v: anext(aiter(s.watch("known", after=v))), "event id", ["x", "", -1, "1.2", 1.5]),
]


@pytest.mark.parametrize(
    ("call", "what", "values"), WRONG_VALUES, ids=[f"{w}-{n}" for n, (_, w, _) in enumerate(WRONG_VALUES)]
)
async def test_every_value_is_checked_and_named(
    scope: Scope, call: Callable[[Scope, Any], Any], what: str, values: list[Any]
) -> None:
    await scope.create("known", title="Known")
    before = (await scope.get("known"), await scope.history("known"))
    for value in values:
        with pytest.raises(InvalidInput) as refused:
            await soon(call(scope, value))
        assert refused.value.code == "invalid_input"
        assert re.match(rf"{what}: found .+, expected .+", str(refused.value)), str(refused.value)
        assert len(str(refused.value)) < 300
    assert await stored(scope) == 1
    assert (await scope.get("known"), await scope.history("known")) == before


@pytest.mark.parametrize("user", ["", "x" * 257, "a\nb", "\x00", 7, None, b"ann", "\ud800"])
async def test_a_user_that_cannot_be_is_refused(scope: Scope, user: Any) -> None:
    with pytest.raises(InvalidInput, match=r"user: found .*, expected 1 to 256 printable characters"):
        scope._runtime.for_user(user)


WRONG_SETTINGS: list[tuple[str, list[Any]]] = [
    ("max_sessions", [0, -1, "100", 1.5, None, True]),
    ("session_ttl", [timedelta(0), timedelta(-1), 3600, "1h", None]),
    ("admission_wait", [timedelta(seconds=-1), 10, None]),
    ("close_wait", [timedelta(seconds=-1), 5, None]),
    ("on_interrupt", ["", "stop", None, 1]),
    ("storage", ["", "chat.db", "sqlite:", "sqlite://chat.db", "sqlite:///", "postgres://x/y", None, 7, Path("x.db")]),
]


@pytest.mark.parametrize(("name", "values"), WRONG_SETTINGS, ids=[name for name, _ in WRONG_SETTINGS])
def test_settings_that_cannot_be_are_refused_at_once(name: str, values: list[Any]) -> None:
    for value in values:
        given = {"storage": "memory:", name: value}
        with pytest.raises(InvalidInput) as refused:
            Sojourn(ScriptedEngine(), **given)
        assert re.match(rf"{name}: found .+, expected .+", str(refused.value)), str(refused.value)


@pytest.mark.parametrize("state", ["not open yet", "closed"])
async def test_a_runtime_that_is_not_open_says_so_to_every_call(state: str) -> None:
    runtime = Sojourn(ScriptedEngine(), storage="memory:")
    if state == "closed":
        async with runtime:
            await runtime.send("s", "hi")
    for scope in (runtime, runtime.for_user("ann")):
        calls = [CALLS[name](scope, "s") for name in CALLS] + [OTHERS[name](scope) for name in OTHERS]
        for call in [*calls, runtime.statistics()]:
            with pytest.raises(RuntimeClosed) as refused:
                await soon(call)
            assert refused.value.code == "runtime_closed"
            assert (
                str(refused.value)
                == f"the runtime is {state}; make calls inside `async with runtime:`, which opens it once"
            )
    await runtime.close()
    if state == "closed":
        with pytest.raises(RuntimeClosed, match="closed"):
            await runtime.__aenter__()


async def test_a_runtime_is_opened_once(scope: Scope) -> None:
    with pytest.raises(RuntimeClosed, match="open"):
        await scope._runtime.__aenter__()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.mkdir(), StorageError),
        (lambda path: path.write_bytes(b"this is no database, but a longer text than a header" * 100), StorageCorrupt),
        (lambda path: path.parent.joinpath("file").write_text("x"), StorageUnavailable),
    ],
    ids=["a folder", "not a database", "a folder that is a file"],
)
async def test_a_database_that_cannot_be_opened_says_why(
    tmp_path: Path, make: Callable[[Path], Any], error: type[StorageError]
) -> None:
    path = tmp_path / "chat.db"
    make(path)
    if error is StorageUnavailable:
        path = tmp_path / "file" / "chat.db"
    with pytest.raises(error) as refused:
        async with Sojourn(ScriptedEngine(), storage=f"sqlite:///{path}"):
            pass
    assert str(path) in str(refused.value)
    assert refused.value.code.startswith("storage_")


#: What the constructors of errors are called with here, in order of their parameters' names.
SAMPLES: dict[str, Any] = {
    "what": "limit", "found": 0, "allowed": "1", "size": 9_000_000, "limit": 8_000_000, "session": "s", "at": 3,
    "line": 7, "expected": "a JSON object", "turn": 4, "key": "k", "max_sessions": 10, "waited": 1.5,
    "retry_after": 1.0, "reason": "no good", "where": "chat.db", "why": "no such folder", "known": 3,
    "state": "closed", "approval": "a", "by": "ann", "problems": ["agent.yml:3: llm: found 7, expected a mapping"],
    "server": "files", "tried": "npx", "provider": "xai", "extra": "xai",
}  # fmt: skip

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SojournError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_of_its_own_and_a_sentence_for_people(kind: type[SojournError]) -> None:
    assert [other for other in ERRORS if other.code == kind.code] == [kind]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", kind.code)
    assert (errors.__doc__ or "").count(kind.__name__) >= 1, "the tree in the docstring names it"
    if "__init__" not in vars(kind):
        return
    names = [name for name in inspect.signature(kind).parameters if name != "self"]
    sentence = str(kind(*(SAMPLES[name] for name in names)))
    assert sentence
    assert sentence[0].islower()
    assert not sentence.endswith(".")
    assert "\n" not in sentence
    assert kind.__name__ not in sentence
    assert "Error" not in sentence
    assert not re.search(r"[<>{}]", sentence)
    assert StorageReadOnly.code == "storage_read_only"


def test_what_was_found_is_shown_short_and_on_one_line() -> None:
    sentence = str(InvalidInput("title", "x\n" * 10_000, "a title"))
    assert len(sentence) < 150
    assert "\n" not in sentence
