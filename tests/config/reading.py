"""Short ways to load a text."""

from __future__ import annotations

from collections.abc import Mapping

from sojourn.config.configuration import Configuration
from sojourn.config.loader import loads
from sojourn.errors import ConfigInvalid

#: The least that an agent needs, without a warning.
MINIMAL = """\
systemPrompt: Be kind.
llm: {provider: openai, model: gpt-5, apiKey: "k-1"}
"""


def read(text: str, environ: Mapping[str, str] | None = None, path: str = "/agents/support.yml") -> Configuration:
    return loads(text, path, environ=environ or {})


def added(text: str, environ: Mapping[str, str] | None = None) -> Configuration:
    """The minimal agent with more, which begins on line 3."""
    return read(MINIMAL + text, environ)


def problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with a text, without the file's name."""
    try:
        read(text, environ)
    except ConfigInvalid as error:
        return [problem.removeprefix("/agents/support.yml:").strip() for problem in error.problems]
    return []


def problems_added(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    return problems(MINIMAL + text, environ)


def warnings_added(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is said of the minimal agent with more, as `line key: text`."""
    return [f"{it.line} {it.key}: {it.text}" for it in added(text, environ).warnings]
