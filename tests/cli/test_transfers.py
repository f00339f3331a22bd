"""`sojourn sessions export` and `import`: byte for byte, and nothing half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sojourn.cli import finding, transfers
from sojourn.sessions.scope import Scope
from tests.cli.kit import ids, invoke, printed, sojourn, terminal

ELSEWHERE = ("--storage", "sqlite:///other.db")


def exported(id: str, *more: str) -> str:
    done = invoke("sessions", "export", id, *more)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("id", ["greece-1", "greece-2", "oslo-0000"])
def test_what_is_imported_elsewhere_is_exported_as_it_was(home: Path, id: str) -> None:
    first = exported(id)
    assert invoke("sessions", "import", "-", *ELSEWHERE, said=first).exit_code == 0
    assert exported(id, *ELSEWHERE) == first


def test_only_the_id_differs_under_another_id(home: Path) -> None:
    first = exported("greece-1")
    assert printed("sessions", "import", "-", "--id", "copy", "--json", said=first)["sessions"][0]["id"] == "copy"
    assert exported("copy") == first.replace('"id":"greece-1"', '"id":"copy"', 1)


def test_every_session_goes_to_a_folder_and_back(home: Path) -> None:
    assert invoke("sessions", "export", "--all", "backup").exit_code == 0
    assert sorted(file.name for file in Path("backup").iterdir()) == [
        "greece-1.jsonl", "greece-2.jsonl", "oslo-0000.jsonl",
    ]  # fmt: skip
    assert invoke("sessions", "import", "backup", *ELSEWHERE).exit_code == 0
    assert invoke("sessions", "export", "--all", "again", *ELSEWHERE).exit_code == 0
    for file in Path("backup").iterdir():
        assert (Path("again") / file.name).read_bytes() == file.read_bytes()


def test_a_session_that_is_spoken_in_meanwhile_is_among_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ids(printed("sessions", "list", "--json")["sessions"])
    write = transfers._write

    async def meanwhile(scope: Scope, id: str, *how: Any, **more: Any) -> None:
        await write(scope, id, *how, **more)
        for other in reversed(listed):
            await scope.rename(other, "moved")

    monkeypatch.setattr(transfers, "_write", meanwhile)
    monkeypatch.setattr(finding, "_PAGE", 1)
    assert invoke("sessions", "export", "--all", "backup").exit_code == 0
    assert sorted(file.stem for file in Path("backup").iterdir()) == sorted(listed)


def test_a_file_is_replaced_only_by_force(home: Path) -> None:
    file = Path("chat.jsonl")
    assert invoke("sessions", "export", "greece-1", file).exit_code == 0
    before = file.read_bytes()
    done = invoke("sessions", "export", "greece-2", file)
    assert done.exit_code == 1
    assert "error: chat.jsonl is already there; give --force" in done.stderr
    assert file.read_bytes() == before
    assert invoke("sessions", "export", "greece-2", file, "--force").exit_code == 0
    assert file.read_text() == exported("greece-2")
    assert [found.name for found in Path().iterdir()] == ["chat.jsonl"]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("line", "text"),
    [(2, "{"), (3, '{"entry":{}}'), (3, "\x00"), (4, '["no"]'), (3, "\ud800")],
)
def test_a_broken_file_imports_nothing_and_says_the_line(home: Path, line: int, text: str) -> None:
    lines = exported("greece-1").splitlines()
    lines[line - 1] = text
    Path("broken.jsonl").write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    done = invoke("sessions", "import", "broken.jsonl", *ELSEWHERE)
    assert done.exit_code == 1
    assert f"error: broken.jsonl: export, line {line}: " in done.stderr
    assert printed("sessions", "list", "--json", *ELSEWHERE)["sessions"] == []


def test_a_file_that_cannot_be_imported_stops_no_other(home: Path) -> None:
    invoke("sessions", "export", "--all", "backup")
    Path("backup/greece-1.jsonl").write_text("no")
    done = invoke("sessions", "import", "backup", "missing.jsonl", "--json", *ELSEWHERE)
    assert done.exit_code == 1
    assert ids(json.loads(done.stdout)["sessions"]) == ["greece-2", "oslo-0000"]
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 2


def test_what_is_there_is_not_imported_again(home: Path) -> None:
    done = invoke("sessions", "import", "-", said=exported("greece-1"))
    assert done.exit_code == 1
    assert "error: standard input: session 'greece-1' is already there; give --id to" in done.stderr
    done = invoke("sessions", "import", "-", "--id", "greece-2", said=exported("greece-1"))
    assert "error: standard input: session 'greece-2' is already there; choose another --id" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["export"], ["export", "greece-1", "--all", "x"], ["import", "a.jsonl", "b.jsonl", "--id", "x"]]
)
def test_what_contradicts_itself_is_refused(home: Path, arguments: list[str]) -> None:
    done = invoke("sessions", *arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["import", "missing.jsonl"], "error: missing.jsonl: no such file or directory"),
        (["export", "greece-1", "no/such/chat.jsonl"], "error: no/such/chat.jsonl: there is no folder no/such;"),
        (["export", "greece-1", "folder", "--force"], "error: folder"),
    ],
)
def test_a_path_that_cannot_be_is_named(home: Path, arguments: list[str], sentence: str) -> None:
    Path("folder").mkdir()
    done = invoke("sessions", *arguments)
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert [found.name for found in Path().iterdir()] == ["folder"]


def test_an_empty_folder_is_no_export(home: Path) -> None:
    Path("empty").mkdir()
    assert "found no file that ends in .jsonl" in invoke("sessions", "import", "empty").stderr


def test_what_is_long_has_a_bar_in_a_terminal_and_nowhere_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = exported("greece-1").splitlines(keepends=True)
    padded = lines[0].rstrip("\n") + " " * transfers.LONG_FILE + "\n" + "".join(lines[1:])
    Path("long.jsonl").write_text(padded)
    quiet = sojourn(home, "sessions", "import", "long.jsonl", *ELSEWHERE)
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert "import long.jsonl" not in quiet.stderr
    with terminal(home, "sessions", "import", "long.jsonl", "--id", "copy", *ELSEWHERE) as seen:
        assert seen.end() == 0
    assert "import long.jsonl" in seen.seen
