"""`sojourn init`: asks for what an agent needs and writes a commented agent.yml."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sojourn.cli.exits import USAGE, Refusal
from sojourn.cli.init_file import text_of
from sojourn.cli.notes import errors, tell
from sojourn.cli.place import AGENT_FILE
from sojourn.cli.transfers import whole_file
from sojourn.config.providers import is_installed, missing_library, provider_meant
from sojourn.config.schema import PROVIDERS
from sojourn.errors import without_secrets

#: What is proposed for a provider: a model, and the variable that usually holds its key; none where a server of one's
#: own may answer, which must not be sent another service's key.
PROPOSED = {
    "openai": ("gpt-6-luna", "OPENAI_API_KEY"),
    "openai-compatible": ("llama3.2", ""),
    "anthropic": ("claude-sonnet-5-5", "ANTHROPIC_API_KEY"),
    "google": ("gemini-3.8-flash", "GOOGLE_GENERATIVE_AI_API_KEY"),
    "groq": ("openai/gpt-oss-120b", "GROQ_API_KEY"),
    "xai": ("grok-4.7", "XAI_API_KEY"),
    "cohere": ("command-a-plus-05-2026", "COHERE_API_KEY"),
    "openrouter": ("openai/gpt-6-luna", "OPENROUTER_API_KEY"),
    "litellm": ("gpt-6-luna", ""),
    "glama": ("openai/gpt-6-luna", "GLAMA_API_KEY"),
    "vertex": ("gemini-3.8-flash", "VERTEX_API_KEY"),
    "bedrock": ("global.anthropic.claude-sonnet-5-5", "AWS_BEARER_TOKEN_BEDROCK"),
}

#: Where a provider without an address of its own often answers.
PROPOSED_URL = {"openai-compatible": "http://localhost:11434/v1", "litellm": "http://localhost:4000"}

PROMPT = "You are a helpful assistant. Answer briefly, and say so when you do not know something."

TOOLS = ("none", "files", "web")

#: What is written where the answer is the data folder.
DEFAULT_STORAGE = "default"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True, kw_only=True)
class Answers:
    """What is known of the agent; None is asked for, or proposed."""

    provider: str | None = None
    model: str | None = None
    #: The name of the variable; empty for none.
    key_variable: str | None = None
    base_url: str | None = None
    system_prompt: str | None = None
    tools: str | None = None
    storage: str | None = None


Ask = Callable[[str, str], str]


def write_agent(file: Path | None, answers: Answers, *, yes: bool, force: bool) -> int:
    """Ask for what is not given, write the file, whole or not at all; 0."""
    target = Path(AGENT_FILE) if file is None else file
    if target.exists() and not force:
        raise Refusal(f"{target} is already there; give --force to replace it, or another name")
    if not yes and not sys.stdin.isatty():
        raise Refusal("init asks questions, and there is no terminal to ask in; give --yes to take the defaults", USAGE)
    complete(answers, _proposed if yes else _asked)
    text = text_of(answers)
    _check(text, target)
    with whole_file(target, force=force, mode=0o644) as out:
        out.write(text.encode())
    shown = shlex.quote(str(target))
    named, chosen = ("", "") if file is None else (f" {shown}", f" --agent {shown}")
    tell(f"wrote {target}; look at it with `sojourn check{named}`, then `sojourn chat{chosen}`")
    if answers.key_variable:
        tell(f"the key is read from the variable {answers.key_variable}; it is never written down")
    if not is_installed(answers.provider or ""):
        tell(missing_library(answers.provider or ""))
    return 0


def complete(answers: Answers, ask: Ask) -> None:
    """Fill in what is missing; raises Refusal for a given answer that cannot be."""
    answers.provider = _one_of("provider", "Who runs the model", answers.provider, ask, PROVIDERS)
    model, variable = PROPOSED[answers.provider]
    answers.model = _word("model", "Model", answers.model, model, ask)
    if answers.provider in PROPOSED_URL and answers.base_url is None:
        answers.base_url = ask("Where it answers (URL)", PROPOSED_URL[answers.provider])
    answers.key_variable = _variable(answers, variable, ask)
    answers.system_prompt = _word("system-prompt", "What it is told first", answers.system_prompt, PROMPT, ask)
    answers.tools = _one_of("tools", "Tools, from an MCP server", answers.tools, ask, TOOLS)
    question = f"Database file ({DEFAULT_STORAGE}: in your data folder)"
    answers.storage = _word("storage", question, answers.storage, DEFAULT_STORAGE, ask)


def _one_of(option: str, question: str, given: str | None, ask: Ask, allowed: Sequence[str]) -> str:
    """One of the allowed; the first is proposed."""
    found = given
    while found is None or found not in allowed:
        if found is not None:
            near = provider_meant(found) if allowed is PROVIDERS else ""
            _wrong(option, repr(found), f"one of {', '.join(allowed)}{near}", given)
        found = ask(f"{question} ({', '.join(allowed)})", allowed[0]).strip()
    return found


def _word(option: str, question: str, given: str | None, default: str, ask: Ask) -> str:
    found = given if given is not None else ask(question, default)
    if not found.strip() or not found.isprintable():
        raise Refusal(f"--{option}: found {found!r}, expected text on one line", USAGE)
    return found.strip()


def _variable(answers: Answers, proposed: str, ask: Ask) -> str:
    given = answers.key_variable
    optional = not proposed
    question = "Variable of the environment that holds its key" + (" (- for none)" if optional else "")
    found = given
    while found is None or not _is_name(found):
        if found is not None:
            if found in {"", "-"} and optional:
                return ""
            # never the value itself: it may be the key
            _wrong("key-variable", "something else", "the name of a variable, never the key itself", given)
        found = ask(question, proposed or "-").strip().removeprefix("$")
    return found


def _is_name(text: str) -> bool:
    """Whether it names a variable; a key could be a name too, but is seldom in capitals."""
    return _VARIABLE.fullmatch(text) is not None and (text.isupper() or without_secrets(text) == text)


def _wrong(option: str, found: str, expected: str, given: str | None) -> None:
    """A given answer ends the command; a typed one is asked for again."""
    if given is not None:
        raise Refusal(f"--{option}: found {found}, expected {expected}", USAGE)
    errors().print(f"found {found}, expected {expected}", style="yellow", markup=False)


def _proposed(_question: str, default: str) -> str:
    return default


def _asked(question: str, default: str) -> str:
    from rich.prompt import Prompt

    try:
        return Prompt.ask(question, default=default, console=errors())
    except EOFError:
        raise KeyboardInterrupt from None


def _check(text: str, target: Path) -> None:
    """Raises ConfigInvalid for a file that could not be used, before it is written."""
    from sojourn.config.loader import loads

    loads(text, target)
