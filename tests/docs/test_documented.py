"""The documentation is complete: whatever is public is in it, and what it points to is there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import typer.main

import sojourn
from sojourn import errors, records, testing
from sojourn.bootstrap import Sojourn
from sojourn.cli.app import app
from sojourn.errors import SojournError
from sojourn.sessions.handle import SessionHandle
from sojourn.sessions.runtime import Runtime, Settings
from sojourn.sessions.scope import Scope
from sojourn.sessions.turns import TABLE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`\n]+)`")
#: Every name between backquotes.
NAMES = set(re.findall(r"[A-Za-z_][A-Za-z0-9_-]*|--[a-z-]+|-[a-z]\b", " ".join(CODE.findall(REFERENCE))))

#: Enums that only stores and engines see.
INTERNAL = {"EntryKind"}


def section(title: str) -> str:
    """The names between backquotes below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#+ |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def errors_of(base: type[SojournError]) -> Iterator[type[SojournError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from errors_of(child)


def public_enums() -> list[type[StrEnum]]:
    found = [value for value in vars(records).values() if inspect.isclass(value) and issubclass(value, StrEnum)]
    return [enum for enum in found if enum is not StrEnum and enum.__name__ not in INTERNAL]


def public_records() -> list[type[Any]]:
    return [value for value in vars(records).values() if inspect.isclass(value) and is_dataclass(value)]


def methods(owner: type[Any]) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(owner).items() if inspect.isfunction(value) and name[0] != "_"}


def commands() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def collect(command: Any, *words: str) -> None:
        found[" ".join(words)] = command
        for name, child in getattr(command, "commands", {}).items():
            collect(child, *words, name)

    collect(typer.main.get_command(app))
    return found


@pytest.mark.parametrize("error", [*errors_of(SojournError)], ids=lambda error: error.code)
def test_every_error_has_a_row_with_its_code_and_class(error: type[SojournError]) -> None:
    assert re.search(rf"^\| `{error.code}` \| (· )?`{error.__name__}` \|", section("Errors"), re.MULTILINE)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in errors_of(SojournError)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("enum", public_enums(), ids=lambda enum: enum.__name__)
def test_every_member_of_an_enum_is_in_its_section(enum: type[StrEnum]) -> None:
    assert {member.value for member in enum} <= set(CODE.findall(section(enum.__name__)))


@pytest.mark.parametrize("record", public_records(), ids=lambda record: record.__name__)
def test_every_field_of_a_record_is_in_its_table(record: type[Any]) -> None:
    found = re.search(rf"^\| `{record.__name__}` \|.*?(?=\n\n|\Z)", section("Records"), re.MULTILINE | re.DOTALL)
    assert found, f"no table for {record.__name__}"
    assert {field.name for field in fields(record)} <= set(CODE.findall(found[0]))


def test_every_setting_is_there() -> None:
    parameters = [*inspect.signature(Sojourn).parameters, *(field.name for field in fields(Settings))]
    rows = set(re.findall(r"^\| `(\w+)` \|", section("Sojourn"), re.MULTILINE))
    assert set(parameters) <= rows


@pytest.mark.parametrize("owner", [Scope, SessionHandle, Runtime], ids=lambda owner: owner.__name__)
def test_every_public_call_is_there(owner: type[Any]) -> None:
    title = "Calls of the runtime" if owner is Runtime else "Calls of a scope and of a handle"
    called = set(re.findall(r"`(\w+)\(", section(title)))
    assert set(methods(owner)) <= called


@pytest.mark.parametrize(("name", "call"), methods(Scope).items(), ids=methods(Scope))
def test_every_parameter_of_a_call_is_there(name: str, call: Callable[..., Any]) -> None:
    shown = re.search(rf"`{name}\((.*?)\)`", section("Calls of a scope and of a handle"))
    assert shown
    given = [part.split("=")[0].strip() for part in shown[1].split(",")]
    expected = [parameter for parameter in inspect.signature(call).parameters if parameter != "self"]
    assert [part for part in given if part not in {"*", ""}] == expected


def test_every_exported_name_is_there() -> None:
    assert {*sojourn.__all__, *testing.__all__} <= NAMES


@pytest.mark.parametrize(("name", "command"), commands().items(), ids=commands())
def test_every_command_and_option_is_there(name: str, command: Any) -> None:
    assert f"`sojourn {name}".strip() in section("Commands")
    options = {word for option in command.get_params(typer.Context(command)) for word in option.opts if word[0] == "-"}
    assert options <= set(CODE.findall(section("Commands")))


def test_every_environment_variable_is_there() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert set(re.findall(r"\bSOJOURN_[A-Z_]+", source)) <= NAMES


def test_the_table_of_turns_is_the_code() -> None:
    page = (ROOT / "docs" / "turns.md").read_text(encoding="utf-8")
    shown = page.split("<!-- table: sojourn.sessions.turns.TABLE -->")[1].split("<!-- end of table -->")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in shown.strip().splitlines()[2:]]
    expected = [
        (
            status.value if status else "none",
            event.value,
            move.to.value,
            move.writer.value,
            "yes" if move.releases else "no",
        )
        for (status, event), move in TABLE.items()
    ]
    assert rows == expected


def test_every_promise_has_its_section_and_its_line() -> None:
    page, readme = (path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "promises.md", ROOT / "README.md"))
    for number in range(1, 11):
        assert re.search(rf"^## P{number} ", page, re.MULTILINE), f"P{number} has no section"
        assert re.search(rf"^\| P{number} \|", readme, re.MULTILINE), f"P{number} has no line"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_points_to_something(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:tests|benchmarks|src|docs)(?:/[\w./-]*)?)`", page.read_text(encoding="utf-8"))
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_path_of_somebodys_machine(page: Path) -> None:
    assert not re.search(r"/(?:home|work|root|Users)/", page.read_text(encoding="utf-8"))


def test_every_module_has_its_line() -> None:
    package = ROOT / "src" / "sojourn"
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if path.stat().st_size and (path.parent == package or path.name != "__init__.py")
    }
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert modules == set(
        re.findall(r"^\| `([\w.]+)` \|", page.split("## Every module")[1].split("\n## ")[0], re.MULTILINE)
    )
