"""Starting: what is loaded, what the shell completes, what help says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sojourn.cli.app import app
from tests.cli.kit import environment, invoke, sojourn

HEAVY = {"pydantic_ai", "openai", "mcp", "httpx", "fastmcp", "prompt_toolkit"}
LOADED = """
import sys
from sojourn.cli.app import app
try:
    app({arguments!r}, prog_name="sojourn")
except SystemExit as end:
    assert not end.code, end.code
print("|".join(sorted({{name.split(".")[0] for name in sys.modules}})), file=sys.stderr)
"""


def loaded(home: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(arguments=arguments)], env=environment(home), capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stderr.splitlines()[-1].split("|"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("sessions", "list"),
        ("sessions", "show", "greece-2"),
        ("sessions", "history", "greece-2"),
        ("sessions", "export", "greece-2"),
        ("sessions", "rename", "greece-2", "x"),
        ("sessions", "delete", "greece-2", "--yes"),
        ("sessions", "stats"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_no_model_library_is_loaded_to_look_at_sessions(home: Path, arguments: tuple[str, ...]) -> None:
    assert not loaded(home, *arguments) & HEAVY


def test_with_an_agents_file_only_its_schema_is_loaded(home: Path) -> None:
    Path("agent.yml").write_text("llm: {provider: anthropic, model: m}\nsystemPrompt: be brief\n")
    assert not loaded(home, "sessions", "list") & HEAVY


def test_version_loads_neither_storage_nor_tables(home: Path) -> None:
    assert not loaded(home, "--version") & (HEAVY | {"apsw", "rich", "ruamel"})


# -- completion


def completed(home: Path, line: str) -> list[str]:
    """What bash is offered behind the line."""
    words = line.split(" ")
    done = sojourn(home, _SOJOURN_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.stderr == ""
    return done.stdout.split()


def test_ids_are_completed_from_storage(home: Path) -> None:
    assert completed(home, "sojourn sessions show gr") == ["greece-2", "greece-1"]
    assert completed(home, "sojourn sessions delete greece-1 ") == ["oslo-0000", "greece-2"]
    assert completed(home, "sojourn run --session os") == ["oslo-0000"]
    assert completed(home, "sojourn sessions show --user anna o") == ["of-anna"]


@pytest.mark.parametrize("storage", ["sqlite:///missing.db", "nonsense:", "sqlite:////no/such/folder/x.db"])
def test_where_nothing_can_be_read_nothing_is_offered(home: Path, storage: str) -> None:
    assert completed(home, f"sojourn sessions show --storage {storage} gr") == []
    assert list(Path().iterdir()) == []


def test_commands_are_completed(home: Path) -> None:
    assert completed(home, "sojourn sessions ex") == ["export"]


def test_the_shells_script_can_be_shown(home: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from sojourn.cli.app import main; main()", "--show-completion", "bash"],
        env=environment(home, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"), capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert "_SOJOURN_COMPLETE=complete_bash" in shown.stdout


# -- help


def commands() -> dict[str, Any]:
    """Every command by its words."""
    found: dict[str, Any] = {}

    def collect(command: Any, words: tuple[str, ...]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found[" ".join((*words, name))] = child
            collect(child, (*words, name))

    collect(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("name", [name for name in commands() if name not in {"chat", "demo", "serve"}])
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    shown = " ".join(invoke(*name.split(), "--help").stdout.split())
    assert "Example" in shown or hasattr(commands()[name], "commands")
    assert all(option.help for option in commands()[name].params)
