"""The command, as a person or a script runs it: a real process each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sojourn import __version__


def sojourn(home: Path, *arguments: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from sojourn.cli.app import main; main()", *arguments],
        env={**os.environ, "SOJOURN_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"},
        input=said or "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_is_shown(tmp_path: Path) -> None:
    done = sojourn(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"sojourn {__version__}")


def test_run_prints_the_answer_alone_and_says_elsewhere_how_to_go_on(tmp_path: Path) -> None:
    first = sojourn(tmp_path, "run", "My favourite colour is teal.", "--session", "mine")
    assert first.returncode == 0
    assert "teal" in first.stdout
    assert "--session mine" in first.stderr
    second = sojourn(tmp_path, "run", "What is my favourite colour?", "--session", "mine")
    assert second.stdout.strip() == "Your favourite colour is teal."
    assert (tmp_path / "sojourn.db").exists()


def test_storage_can_lie_elsewhere(tmp_path: Path) -> None:
    done = sojourn(tmp_path / "home", "run", "hi", "--storage", f"sqlite:///{tmp_path / 'other.db'}")
    assert done.returncode == 0
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "home" / "sojourn.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "hi", "--session", "a b"], 2, "error: session id: found 'a b', expected 1 to 128 characters"),
        (["run", "hi", "--storage", "mysql://x"], 2, "error: storage: found 'mysql://x', expected 'sqlite:///PATH'"),
        (["run", "hi", "--storage", "sqlite:////no/such/folder/x.db"], 1, "error: database /no/such/folder/x.db:"),
        (["run", "-"], 2, "error: standard input is empty"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    done = sojourn(tmp_path, *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_keeps_its_claims_in_plain_lines(tmp_path: Path) -> None:
    done = sojourn(tmp_path, "demo", "--plain", "--conversations", "12", "--max-sessions", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed with SIGKILL after" in done.stdout
    assert "✓ never more than 3 sessions in memory" in done.stdout
    assert "✗" not in done.stdout


def test_demo_fails_where_a_claim_does_not_hold() -> None:
    from rich.console import Console

    from sojourn.cli.demo import Seen, verdict
    from sojourn.cli.demo_script import script
    from sojourn.cli.demo_stage import LineStage

    seen = Seen(conversations=1, max_sessions=1)
    stage = LineStage(Console(quiet=True))
    for turn, line in enumerate(script(0), 1):
        seen.take({"answered": 0, "turn": turn, "text": f"yes: {line.expect}"})
    seen.take({"live": 1, "restored": 1})
    assert verdict(seen, stage) == 0
    seen.take({"live": 2, "restored": 1})
    assert verdict(seen, stage) == 1


@pytest.mark.parametrize(
    "line",
    [
        {"answered": 0, "turn": 1, "text": "Your favourite colour is another."},
        {"answered": 0, "turn": 3, "text": "8"},
    ],
)
def test_a_wrong_or_changed_answer_is_a_fault(line: dict[str, object]) -> None:
    from sojourn.cli.demo import Seen

    seen = Seen(conversations=1, max_sessions=1)
    seen.take({"answered": 0, "turn": 3, "text": "7"})
    assert not seen.faults
    seen.take(line)
    assert seen.faults
