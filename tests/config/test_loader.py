"""Which files are read, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sojourn.config.effective import effective
from sojourn.config.loader import MAX_PROBLEMS, MAX_SIZE, load, loads
from sojourn.config.schema import PROVIDERS
from sojourn.errors import ConfigInvalid, SojournError
from tests.config.reading import MINIMAL, added, problems, problems_added


def problem_of(path: Path | str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    [problem] = caught.value.problems
    assert caught.value.__cause__ is None
    return problem


def test_a_file_is_read_with_the_environment_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(MINIMAL.replace("k-1", "$KEY"))
    configuration = load(path, environ={"KEY": " k-2 "})
    assert configuration.agent.llm.api_key == "k-2"
    assert configuration.path == path
    assert configuration.warnings == ()
    assert load(str(path), environ={}).agent.llm.api_key == ""


def test_the_environment_is_that_of_the_process_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPPORT_KEY", "k-3")
    path = tmp_path / "agent.yml"
    path.write_text(MINIMAL.replace("k-1", "${SUPPORT_KEY}"))
    assert load(path).agent.llm.api_key == "k-3"


def test_the_path_is_absolute_also_where_a_relative_one_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent.yml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load("agent.yml").path == tmp_path / "agent.yml"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "none.yml") == f"{tmp_path}/none.yml: there is no such file; correct the path"


@pytest.mark.parametrize("path", ["\0", "a" * 5000, "/dev/null/x", "\ud800"])
def test_a_path_that_no_file_can_have_is_said(path: str) -> None:
    assert "correct the path" in problem_of(path)


def test_a_folder_and_a_pipe_are_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        assert problem_of(path) == f"{path}: found a folder or a device, expected a file"


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(MINIMAL)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    expected = "cannot be read: Permission denied; correct the path, or the file's permissions"
    assert problem_of(path) == f"{path}: {expected}"


def test_a_file_that_is_not_utf_8_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.yml"
    path.write_bytes(b"# first\n# second\ngreeting: caf\xe9\n")
    assert problem_of(path) == f"{path}:3: found bytes that are not UTF-8; save the file as UTF-8"
    path.write_bytes(MINIMAL.encode("utf-16"))
    assert "not UTF-8" in problem_of(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.yml"
    path.write_bytes(b"#" * (MAX_SIZE + 1))
    assert problem_of(path) == f"{path}: found more than 262,144 bytes, expected an agent.yml"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "null\n", "~"])
def test_an_empty_file_is_said(text: str) -> None:
    assert problems(text) == ["found nothing in it, expected at least the sections llm and systemPrompt"]


@pytest.mark.parametrize(
    ("text", "found"), [("- a\n- b\n", "a list"), ("\nhello\n", "'hello'"), ("5", "5"), ("[]", "an empty list")]
)
def test_a_file_that_is_no_mapping_is_said(text: str, found: str) -> None:
    line = 2 if text.startswith("\n") else 1
    assert problems(text) == [f"{line}: found {found}, expected a mapping with the sections of an agent"]


def test_all_problems_are_told_at_once_and_in_the_order_of_the_file() -> None:
    text = "llm:\n  provider: opnai\n  model: gpt-5\n  model: gpt-5\nsessions:\n  maxSessions: '100'\ngreting: hello\n"
    assert problems(text) == [
        "1: systemPrompt: missing, expected a text, or a mapping with contributors",
        f"2: llm.provider: found 'opnai', expected one of {', '.join(PROVIDERS)}, did you mean openai?",
        "4: llm.model: found a second time (first on line 3), expected once",
        "6: sessions.maxSessions: found '100', expected a whole number greater than 0, without quotes",
        "7: greting: found an unknown key, did you mean greeting?",
    ]


def test_very_many_problems_are_not_all_told() -> None:
    found = problems(MINIMAL + "".join(f"unknown{number}: 1\n" for number in range(500)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].endswith("and more problems; correct these first")


@pytest.mark.parametrize("piece", ["//", "://?", "//a@ ", "${{ ", "$", " ", "x: y ", "@", "?"])
def test_a_long_row_of_signs_takes_no_time(piece: str) -> None:
    """Would take minutes where a pattern goes back over what it has read."""
    text = piece * (200_000 // len(piece))
    card = f"agentCard: {{name: a, description: b, version: '1', url: '{text}'}}\n"
    assert len(problems_added(f"greeting: '{text}'\n{card}")) >= 2
    assert effective(added(f"prompts: [{{type: inline, id: a, prompt: 'a{text}b'}}]\n"))["prompts"]


def test_the_error_says_every_problem_and_brings_no_value_along() -> None:
    with pytest.raises(SojournError) as caught:
        loads("llm: {provider: openai, model: 5, apiKey: [k-secret]}\n", "a.yml")
    assert isinstance(caught.value, ConfigInvalid)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_loading_imports_no_framework_of_agents() -> None:
    code = "import sys, sojourn.config.loader as it; it.loads(sys.argv[1], 'a.yml'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, MINIMAL], capture_output=True, text=True, check=True)
    assert not {"pydantic_ai", "mcp", "openai", "apsw"} & set(done.stdout.split())
