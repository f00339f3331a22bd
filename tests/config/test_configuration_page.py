"""docs/configuration.md names every key with its default, and its examples load."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sojourn.config.loader import loads
from sojourn.config.notices import WITHOUT_EFFECT
from sojourn.config.schema import AgentConfig
from sojourn.config.shape import Kind, kind_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- agent file -->\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(example, id=f"{name}-{number}")
    for name in ("docs/configuration.md", "README.md")
    for number, example in enumerate(EXAMPLE.findall((ROOT / name).read_text(encoding="utf-8")), 1)
]
ROWS = re.findall(r"^\| (.+?) \| (.*?) ?\| (.*?) ?\|(?: (.*?) \|)?$", PAGE, re.MULTILINE)


def keys(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a section, as the page writes it."""
    for name, field in model.model_fields.items():
        key = path + (field.alias or name)
        yield key, field
        yield from below(kind_of(field.annotation), key)


def below(kind: Kind, key: str) -> Iterator[tuple[str, FieldInfo]]:
    if kind.members:
        for member in kind.members.values():
            yield from keys(member, f"{key}.")
    elif isinstance(kind.type, type) and issubclass(kind.type, BaseModel):
        yield from keys(kind.type, f"{key}.")
    elif get_origin(kind.type) is list:
        yield from below(kind_of(get_args(kind.type)[0]), f"{key}[]")
    elif get_origin(kind.type) is dict:
        yield from below(kind_of(get_args(kind.type)[1]), f"{key}.NAME")


def documented() -> dict[str, tuple[str, str]]:
    """The default and the effect of each key that has a row; several keys of one row share them."""
    found: dict[str, tuple[str, str]] = {}
    for named, default, _, effect in ROWS:
        for key in re.findall(r"`([^`]+)`", named):
            found[key] = (default, effect)
    return found


ALL = dict(keys(AgentConfig, ""))
CARD = [key for key in ALL if key.startswith("agentCard.")]


@pytest.mark.parametrize("key", [key for key in ALL if key not in CARD])
def test_every_key_is_on_the_page(key: str) -> None:
    rows = documented()
    assert key in rows or any(other.startswith((f"{key}.", f"{key}[")) for other in rows)


def test_every_key_of_the_card_is_on_the_page() -> None:
    assert {key.removeprefix("agentCard.") for key in CARD} <= set(re.findall(r"`(\w+)`", PAGE))


def test_no_key_is_on_the_page_that_does_not_exist() -> None:
    section = PAGE.split("## Every key")[1]
    rows = {
        key
        for named, *_ in re.findall(r"^\| (.+?) \| (.*?)\|", section, re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", named)
    }
    assert rows <= set(ALL)


@pytest.mark.parametrize("key", [key for key in ALL if key in documented() and key not in CARD])
def test_the_default_on_the_page_is_the_one_that_counts(key: str) -> None:
    shown, field = documented()[key][0], ALL[key]
    default: Any = field.get_default(call_default_factory=False)
    if field.is_required():
        assert shown in {"required", ""}
    elif isinstance(default, str | int | float | list | dict) and key != "logger.transports":
        assert f"`{json.dumps(default)}`" in shown
    else:
        assert "`" not in shown or "," in shown or key == "prompts[].user-invocable"


@pytest.mark.parametrize("path", WITHOUT_EFFECT, ids=".".join)
def test_what_has_no_effect_is_in_bold(path: tuple[str, ...]) -> None:
    key = ".".join(path)
    assert f"| **`{key}`** |" in PAGE
    assert documented()[key][1] in {"not yet", ""}


def test_nothing_else_is_in_bold() -> None:
    assert set(re.findall(r"^\| \*\*`([\w.]+)`", PAGE, re.MULTILINE)) == {".".join(path) for path in WITHOUT_EFFECT}


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_agent_on_a_page_loads(text: str) -> None:
    configuration = loads(
        text, "agent.yml", environ={"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "ORDERS_TOKEN": "t"}
    )
    assert {warning.key for warning in configuration.warnings} <= {"permissions.mode"}


def test_there_is_an_example() -> None:
    assert len(EXAMPLES) >= 2
