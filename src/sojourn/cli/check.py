"""`sojourn check`: what an agent.yml means, what it lacks on this machine, or all that is wrong with it."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from sojourn.bootstrap import storage_of
from sojourn.cli.exits import FAILED, OK, explain
from sojourn.cli.notes import tell, visible
from sojourn.cli.place import AGENT_FILE, file_of, shown_address
from sojourn.config.configuration import Configuration, Problem
from sojourn.errors import ConfigInvalid, SojournError


def check_file(file: Path | None, *, json: bool) -> int:
    """Print the effective configuration, or every problem; 0 or 1."""
    chosen = Path(AGENT_FILE) if file is None else file
    try:
        if file is None and not chosen.exists():
            raise ConfigInvalid(
                [f"there is no {AGENT_FILE} in this folder; name a file, or let `sojourn init` make one"]
            )
        configuration, address = _loaded(chosen)
    except (SojournError, OSError) as error:
        if json:
            problems = error.problems if isinstance(error, ConfigInvalid) else (str(error),)
            _print_json({"ok": False, "file": str(chosen), "problems": list(problems)})
        else:
            explain(error)
        return FAILED
    lacking = _lacking(chosen, configuration, address)
    warnings = [*configuration.warnings, *lacking]
    if json:
        _print_json(_shape(chosen, configuration, address, warnings, runs=not lacking and _has_key(configuration)))
        return OK
    _print_yaml(_yaml(configuration))
    for warning in warnings:
        typer.secho(f"warning: {visible(str(warning))}", err=True, fg="yellow")
    here = "can be used" if not lacking and _has_key(configuration) else "is valid, but cannot run here as it is"
    tell(f"{chosen} {here}; conversations are kept in {shown_address(address)}")
    return OK


def _lacking(file: Path, configuration: Configuration, address: str) -> list[Problem]:
    """What the file needs and this machine has not; the file itself is right."""
    from sojourn.config.providers import is_installed, missing_library

    provider, database = configuration.agent.llm.provider, file_of(address)
    found = []
    if not is_installed(provider):
        found.append(Problem(str(file), 0, "llm.provider", missing_library(provider)))
    if database is not None and not database.parent.is_dir():
        text = f"there is no folder {database.parent}; make it first"
        found.append(Problem(str(file), 0, "storage.database.path", text))
    return found


def _has_key(configuration: Configuration) -> bool:
    """Whether the model can be asked; what is wrong otherwise is a warning of the file's own."""
    from sojourn.config.rules import NEED_NO_KEY

    llm = configuration.agent.llm
    return bool(llm.api_key and llm.api_key.strip()) or llm.provider in NEED_NO_KEY


def _loaded(file: Path) -> tuple[Configuration, str]:
    from sojourn.config.loader import load

    configuration = load(file)
    return configuration, storage_of(configuration)


def _yaml(configuration: Configuration) -> str:
    from sojourn.config.effective import as_yaml

    return as_yaml(configuration)


def _print_yaml(text: str) -> None:
    if not sys.stdout.isatty():
        sys.stdout.write(text)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    Console().print(Syntax(text, "yaml", background_color="default", word_wrap=True))


def _shape(
    file: Path, configuration: Configuration, address: str, warnings: Sequence[Problem], *, runs: bool
) -> dict[str, Any]:
    from sojourn.config.effective import effective

    return {
        "ok": True,
        "file": str(file),
        "problems": [],
        "warnings": _warnings(warnings),
        "runs": runs,
        "storage": address,
        "configuration": effective(configuration),
    }


def _warnings(warnings: Sequence[Problem]) -> list[dict[str, Any]]:
    return [{"file": it.file, "line": it.line, "key": it.key, "text": it.text} for it in warnings]


def _print_json(shape: dict[str, Any]) -> None:
    json_.dump(shape, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")
