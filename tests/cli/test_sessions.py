"""`sojourn sessions`: what it shows, prints and changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sojourn.cli import finding, tables
from sojourn.cli.times import moment
from sojourn.records import Page, Session, SessionStatus
from sojourn.sessions.scope import Scope
from tests.cli.kit import ids, invoke, printed, sojourn, terminal

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_a_list_names_every_session_with_its_whole_id(home: Path) -> None:
    done = invoke("sessions", "list")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "oslo-0000", "greece-2", "greece-1"]
    assert "[red]My number[/red] is 42 and a very long title" in lines[1]
    assert str(home / "sojourn.db") in done.stderr
    assert "of-anna" not in done.stdout


def test_a_list_for_programs_is_an_object_with_sessions_and_the_next_page(home: Path) -> None:
    first = printed("sessions", "list", "--json", "--limit", "2")
    assert ids(first["sessions"]) == ["oslo-0000", "greece-2"]
    second = printed("sessions", "list", "--json", "--limit", "2", "--after", first["next"])
    assert (ids(second["sessions"]), second["next"]) == (["greece-1"], None)
    assert printed("sessions", "list", "--json", "--all") == {
        "sessions": first["sessions"] + second["sessions"],
        "next": None,
    }
    shape = second["sessions"][0]
    assert list(shape) == [
        "id", "title", "createdAt", "lastActivity", "messageCount", "parentSessionId", "status", "tokenUsage",
        "estimatedCost", "modelStats",
    ]  # fmt: skip
    assert shape["lastActivity"] > 1_700_000_000_000
    assert shape["messageCount"] == 4
    assert shape["modelStats"][0]["model"] == "sojourn-demo"
    assert shape["modelStats"][0]["tokenUsage"] == shape["tokenUsage"]


def test_json_has_nothing_beside_it(home: Path) -> None:
    assert invoke("sessions", "list", "--json").stderr == ""


def test_a_list_finds_words(home: Path) -> None:
    assert ids(printed("sessions", "list", "--json", "--query", "teal")["sessions"]) == ["greece-1"]
    done = invoke("sessions", "list", "--query", "nowhere")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no conversation has 'nowhere'" in done.stderr


def test_a_list_goes_by_what_was_asked_for(home: Path) -> None:
    def listed(*options: str) -> list[str]:
        return ids(printed("sessions", "list", "--json", *options)["sessions"])

    assert invoke("sessions", "rename", "greece-1", "Colours").exit_code == 0
    assert listed() == ["greece-1", "oslo-0000", "greece-2"]
    assert listed("--reverse") == listed("--reverse", "--all") == ["greece-2", "oslo-0000", "greece-1"]
    assert listed("--order", "created") == ["oslo-0000", "greece-2", "greece-1"]
    assert listed("--order", "created", "--reverse", "--limit", "1") == ["greece-1"]
    assert listed("--order", "id", "--all") == ["greece-1", "greece-2", "oslo-0000"]
    assert listed("--order", "id", "--reverse") == ["oslo-0000", "greece-2", "greece-1"]


def test_a_list_has_what_was_asked_for(home: Path) -> None:
    def listed(*options: str) -> list[str]:
        return ids(printed("sessions", "list", "--json", *options)["sessions"])

    assert invoke("sessions", "fork", "greece-1", "--id", "child").exit_code == 0
    assert listed("--parent", "greece-1") == listed("--parent", "greece-1", "--all", "--query", "teal") == ["child"]
    assert listed("--status", "held", "--status", "waiting") == []
    assert len(listed("--status", "idle", "--status", "held", "--active-since", "2026-01-01")) == 4
    assert listed("--active-before", "1w") == listed("--active-since", "9999-12-31") == []


def test_a_list_of_what_is_not_there_says_so(home: Path) -> None:
    def told(*options: str) -> str:
        done = invoke("sessions", "list", *options)
        assert (done.exit_code, done.stdout) == (0, "")
        return done.stderr.splitlines()[-1]

    assert told("--status", "held") == "no conversation of those asked for is there"
    assert told("--status", "held", "--query", "teal") == "no conversation of those asked for has 'teal'"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--status", "busy"], "'busy' is not one of 'idle', 'queued', 'running', 'waiting', 'held'"),
        (["--order", "title"], "'title' is not one of 'activity', 'created', 'id'"),
        (["--active-since", "yesterday"], "found 'yesterday', expected how long ago as 90m"),
        (["--active-before", "99999999999w"], "found '99999999999w', expected"),
        (["--parent", "a b"], "session id: found 'a b'"),
        (
            ["--order", "id", "--after", "YWN0aXZpdHkgZGVzYyAxIDE"],
            "expected the `next` of a page in this order, id asc",
        ),
    ],
)
def test_what_cannot_be_listed_is_said(home: Path, options: list[str], sentence: str) -> None:
    done = invoke("sessions", "list", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_a_list_of_a_parent_that_is_not_there_is_one_sentence(home: Path) -> None:
    done = invoke("sessions", "list", "--parent", "nobody")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no session 'nobody'" in done.stderr


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("90 min", NOW - timedelta(minutes=90)),
        ("12h", NOW - timedelta(hours=12)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-04-01T10:00Z", datetime(2026, 4, 1, 10, tzinfo=UTC)),
        ("2026-04-01T10:00+02:00", datetime(2026, 4, 1, 8, tzinfo=UTC)),
        ("2026-04-01", datetime(2026, 4, 1).astimezone()),
    ],
)
def test_a_time_is_how_long_ago_or_a_date_here(text: str, meant: datetime) -> None:
    assert moment(text, now=NOW) == meant


def test_a_list_says_where_the_next_page_begins(home: Path) -> None:
    done = invoke("sessions", "list", "--limit", "1")
    after = done.stderr.split("--after ")[1].split(",")[0]
    assert "greece-2" in invoke("sessions", "list", "--limit", "1", "--after", after).stdout


def test_other_users_have_sessions_of_their_own(home: Path) -> None:
    assert ids(printed("sessions", "list", "--json", "--user", "anna")["sessions"]) == ["of-anna"]
    assert invoke("sessions", "show", "of-anna").exit_code == 1


@pytest.mark.parametrize("storage", ["missing.db", "memory"])
def test_looking_where_nothing_is_makes_nothing(home: Path, storage: str) -> None:
    address = "memory:" if storage == "memory" else f"sqlite:///{storage}"
    done = invoke("sessions", "list", "--storage", address)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no conversations yet" in done.stderr
    assert list(Path().iterdir()) == []


# -- which session is meant


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(home: Path) -> None:
    assert printed("sessions", "show", "oslo", "--json")["id"] == "oslo-0000"


@pytest.mark.parametrize(
    ("id", "code", "sentence"),
    [
        ("osl", 1, "error: no session 'osl'; did you mean oslo-0000?"),
        ("greece-", 1, "error: no session 'greece-', and several begin so: greece-1, greece-2"),
        ("nobody", 1, "error: no session 'nobody'; `sojourn sessions list` shows those there are"),
        ("a b", 2, "error: session id: found 'a b', expected 1 to 128 characters"),
    ],
)
@pytest.mark.parametrize("command", ["show", "history", "export", "delete", "unload"])
def test_an_unknown_id_is_one_sentence(home: Path, command: str, id: str, code: int, sentence: str) -> None:
    done = invoke("sessions", command, id)
    assert (done.exit_code, done.stdout) == (code, "")
    assert sentence in done.stderr


def test_several_that_begin_so_are_noticed_also_while_they_are_spoken_in(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Scope.sessions

    async def meanwhile(scope: Scope, **wanted: Any) -> Page:
        page = await listed(scope, **wanted)
        await scope.rename("greece-1", "moved")
        return page

    monkeypatch.setattr(Scope, "sessions", meanwhile)
    monkeypatch.setattr(finding, "_PAGE", 1)
    done = invoke("sessions", "delete", "greece-", "--yes")
    assert done.exit_code == 1
    assert "several begin so: greece-1, greece-2" in done.stderr


# -- reading one


def test_show_prints_what_is_known(home: Path) -> None:
    done = invoke("sessions", "show", "greece-2")
    assert done.exit_code == 0
    for line in (
        "id             greece-2",
        "title          Roll a die",
        "messages       8",
        "usage          4 requests",
    ):
        assert line in done.stdout
    shape = printed("sessions", "show", "greece-2", "--json")
    assert [turn["status"] for turn in shape["turns"]] == ["completed", "completed"]
    assert shape["inbox"] == []
    assert invoke("run", "hello", "--session", "once").exit_code == 0
    assert "usage          1 request, " in invoke("sessions", "show", "once").stdout


def test_a_history_tells_who_speaks(home: Path) -> None:
    done = invoke("sessions", "history", "greece-2")
    assert done.exit_code == 0
    speakers = [line.split("  ")[0] for line in done.stdout.splitlines() if not line.startswith("  ")]
    assert speakers == ["you", "agent", "tool roll_dice", "agent", "you", "agent", "tool add", "agent"]
    assert '→ add({"a":2,"b":3})' in done.stdout


def test_a_history_is_paged_backwards(home: Path) -> None:
    newest = printed("sessions", "history", "greece-1", "--json", "--limit", "2")
    assert [message["content"] for message in newest["history"]] == [
        "What is my favourite colour?",
        "Your favourite colour is teal.",
    ]
    oldest = printed("sessions", "history", "greece-1", "--json", "--limit", "2", "--before", newest["before"])
    assert oldest["before"] is None
    whole = printed("sessions", "history", "greece-1", "--json", "--all")
    assert whole["history"] == oldest["history"] + newest["history"]
    assert f"--before {newest['before']}" in invoke("sessions", "history", "greece-1", "--limit", "2").stderr


def test_a_tool_message_for_programs_says_which_call_it_answers(home: Path) -> None:
    messages = printed("sessions", "history", "greece-2", "--json")["history"]
    call, result = messages[1], messages[2]
    assert result["role"] == "tool"
    assert (result["name"], result["outcome"]) == ("roll_dice", "success")
    assert result["toolCallId"] == call["toolCalls"][0]["id"]
    assert set(messages[0]) == {"seq", "turn", "role", "timestamp", "content", "toolCalls"}


def test_a_search_shows_who_said_the_words_and_where(home: Path) -> None:
    done = invoke("sessions", "search", "favourite", "colour")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[::2]] == ["agent", "you", "agent", "you"]
    assert [line.partition(" · ")[2] for line in lines[::2]] == [f"greece-1 · {seq}" for seq in (5, 4, 2, 1)]
    assert lines[-1] == "  My favourite colour is teal."
    assert "Turin" not in invoke("sessions", "search", "town").stdout
    assert "My town is Turin." in invoke("sessions", "search", "town", "--user", "anna").stdout


def test_a_search_for_programs_goes_page_by_page(home: Path) -> None:
    how = ("sessions", "search", "FAVOURITE col", "--json", "--session", "greece-1", "--role", "user")
    whole = printed(*how)
    first = printed(*how, "--limit", "1")
    rest = printed(*how, "--after", first["next"])
    assert first["results"] + rest["results"] == whole["results"]
    assert (whole["total"], whole["totalIsExact"], whole["next"]) == (2, True, None)
    hit = whole["results"][1]
    assert hit["message"] == printed("sessions", "history", "greece-1", "--json")["history"][0]
    assert {**hit, "message": None} == {
        "sessionId": "greece-1", "message": None, "matchedText": "favourite colour",
        "context": "My favourite colour is teal.", "messageIndex": 0,
    }  # fmt: skip
    assert f"2 in all; more with --after {first['next']}" in invoke(*(x for x in how if x != "--json"), "-n", 1).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 0, "no message has 'nowhere'"),
        (("[red]",), 0, "you"),
        (("?!",), 0, "no message has '?!'"),
        (("teal", "--role", "tool"), 0, "what tools returned is not searched"),
        (("teal", "--session", "nobody"), 1, "no session 'nobody'"),
        (("teal", "--session", "osl"), 1, "did you mean oslo-0000?"),
        (("teal", "--after", "x"), 2, "after: found 'x'"),
        (("x" * 1_001,), 2, "query: found '1,001 characters', expected at most 1,000"),
        (("",), 2, "query: found '', expected words to look for"),
        (("teal", "--limit", "101"), 2, "--limit"),
        (("teal", "--role", "nobody"), 2, "--role"),
        (("teal", "--storage", "sqlite:///missing.db"), 0, "no conversations yet"),
    ],
)
def test_a_search_says_what_is_not_there(home: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = invoke("sessions", "search", *arguments)
    assert done.exit_code == code
    assert said in done.stderr + done.stdout


def test_stats_say_what_this_process_can_know(home: Path) -> None:
    shape = printed("sessions", "stats", "--json")
    assert shape.pop("storageBytes") > 0
    assert shape.pop("storage").endswith("sojourn.db")
    assert shape == {"totalSessions": 4, "inMemorySessions": None, "maxSessions": 100, "sessionTTL": 3_600_000}
    assert "4 of all users" in invoke("sessions", "stats").stdout


# -- changing one


def test_a_title_can_be_changed(home: Path) -> None:
    assert invoke("sessions", "rename", "oslo", "Numbers").exit_code == 0
    assert printed("sessions", "show", "oslo", "--json")["title"] == "Numbers"
    assert printed("sessions", "rename", "oslo", "More", "--json")["title"] == "More"
    assert invoke("sessions", "rename", "oslo", "two\nlines").exit_code == 2


def test_a_fork_prints_its_id_alone(home: Path) -> None:
    done = invoke("sessions", "fork", "greece-1", "--title", "Again")
    made = done.stdout.strip()
    assert printed("sessions", "show", made, "--json")["parentSessionId"] == "greece-1"
    end = printed("sessions", "history", "greece-1", "--json")["history"][1]["seq"]
    half = printed("sessions", "fork", "greece-1", "--id", "half", "--at", end, "--json")
    assert (half["id"], half["messageCount"]) == ("half", 2)
    assert invoke("sessions", "fork", "greece-1", "--id", "half").exit_code == 1
    assert invoke("sessions", "fork", "greece-1", "--at", "1").exit_code == 2


def test_unload_says_that_only_the_serving_process_can(home: Path) -> None:
    done = invoke("sessions", "unload", "oslo")
    assert done.exit_code == 1
    assert "nothing was unloaded: only the process that serves session oslo-0000" in done.stderr


def test_delete_without_a_terminal_wants_yes(home: Path) -> None:
    done = invoke("sessions", "delete", "oslo")
    assert done.exit_code == 2
    assert "give --yes" in done.stderr
    assert len(printed("sessions", "list", "--json")["sessions"]) == 3


def test_delete_removes_all_that_are_named_and_every_trace(home: Path) -> None:
    assert printed("sessions", "delete", "oslo", "greece-2", "oslo-0000", "--yes", "--json") == {
        "deleted": ["oslo-0000", "greece-2"]
    }
    assert ids(printed("sessions", "list", "--json")["sessions"]) == ["greece-1"]
    assert b"very long title" not in b"".join(file.read_bytes() for file in home.glob("sojourn.db*") if file.is_file())


def test_delete_removes_nothing_where_one_is_unknown(home: Path) -> None:
    assert invoke("sessions", "delete", "oslo", "nobody", "--yes").exit_code == 1
    assert len(printed("sessions", "list", "--json")["sessions"]) == 3


# -- in a terminal


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 2), ("n\n", 1, 3), ("\n", 1, 3), ("\x03", 130, 3)])
def test_delete_asks_in_a_terminal(home: Path, answer: str, code: int, left: int) -> None:
    with terminal(home, "sessions", "delete", "oslo") as seen:
        shown = seen.wait_for("[y/n]")
        assert "oslo-0000  [red]My number[/red] is 42" in shown
        seen.type(answer)
        assert seen.end(pressing=answer if answer == "\x03" else "") == code
    assert len(printed("sessions", "list", "--json")["sessions"]) == left


def session(id: str, title: str | None = "A title " * 10, **more: object) -> Session:
    return Session(
        id=id, user="local", title=title, created=NOW, last_activity=NOW - timedelta(minutes=5), message_count=12,
        parent=None, status=SessionStatus(str(more.get("status", "idle"))),
    )  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_ids_are_never_cut_and_titles_fit(width: int) -> None:
    sessions = [session("47e0366a-d63a-463a-9128-75bab60c5052"), session("x" * 30, None, status="running")]
    console = Console(width=width, highlight=False)
    with console.capture() as shown:
        tables.show_sessions(console, sessions, now=NOW)
    text = shown.get()
    assert all(found.id in text.split() for found in sessions)
    assert "running" in text or width < 60
    for line in text.splitlines():
        assert len(line.rstrip()) <= max(width, 36)


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=-3), "now"),
        (timedelta(seconds=0), "now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=6), "6 d ago"),
        (timedelta(days=60), (NOW - timedelta(days=60)).astimezone().strftime("%Y-%m-%d")),
    ],
)
def test_times_are_told_as_people_do(age: timedelta, shown: str) -> None:
    assert tables.ago(NOW - age, NOW) == shown


def test_nothing_shown_moves_the_cursor(home: Path) -> None:
    dangerous = "ring \x1b[2J\x07 \u202e and \x9b31m"
    assert sojourn(home, "run", "-", "--session", "danger", said=dangerous).returncode == 0
    for command in (["list"], ["show", "danger"], ["history", "danger"]):
        done = invoke("sessions", *command)
        assert not set("\x1b\x07\x9b\u202e") & set(done.stdout)
    assert json.loads(invoke("sessions", "history", "danger", "--json").stdout)["history"][0]["content"] == dangerous
