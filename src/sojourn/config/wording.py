"""How places and values are shown to people: short, on one line, and never a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from sojourn.config.configuration import KeyPath

MASK = "***"
#: How much of a value is shown, characters.
LIMIT = 60
#: A text that is longer is not shown at all.
LONG = 500

WORD = re.compile(r"\S+")
PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
SECRET_NAME = re.compile(
    r"token|passw|passphrase|secret|credential|authorization|cookie|bearer|signature|connectionstring"
    r"|(key|pwd|pass|auth|dsn)s?$",
    re.IGNORECASE,
)
#: Such as `maxOutputTokens`.
COUNT_NAME = re.compile(r"(max|budget|limit|count|total)\w*tokens$", re.IGNORECASE)
#: An option of a program that is followed by its value, in the same argument or the next.
OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w-]*)(?P<value>=.*)?", re.DOTALL)
ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z][\w-]*)(?P<sign>[=:]\s*)\S.*", re.DOTALL)


def dotted(path: KeyPath) -> str:
    """A path as people write it, such as `mcpServers.files.args[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + _short(part if PLAIN_KEY.fullmatch(part) else repr(part))
    return text


def is_secret(path: KeyPath) -> bool:
    """Whether what lies there may be a secret, judged by the names of its keys."""
    for index, part in enumerate(path):
        # Names of servers and of tools and indices say nothing.
        named = path[:index] in {("mcpServers",), ("sojourn", "tools")}
        if isinstance(part, int) or named:
            continue
        name = re.sub(r"[^A-Za-z]", "", part)
        if part in {"env", "headers"} or (SECRET_NAME.search(name) and not COUNT_NAME.search(name)):
            return True
    return False


def shown(value: object, path: KeyPath, *, hidden: bool = False, lines: int = 1) -> str:
    """A value as an error shows it."""
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "nothing"
    if hidden or is_secret(path) or "args" in path:
        return MASK if isinstance(value, str) else f"{MASK} ({_kind(value)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # Where an indent or a colon is missing, the lines below are swallowed, whatever they hold.
        if lines > 1:
            return f"a text of {lines} lines"
        if len(value) > LONG:
            return f"a text of {len(value)} characters"
        return _short(repr(WORD.sub(lambda found: _guarded(found[0]), value)))
    return _short(_number(value))


def masked(value: Any, path: KeyPath, hidden: frozenset[KeyPath] = frozenset()) -> Any:
    """A value with all that may be a secret in it replaced by `***`."""
    if isinstance(value, dict):
        return {key: masked(inner, (*path, key), hidden) for key, inner in value.items()}
    if isinstance(value, list):
        inner = [masked(item, (*path, index), hidden) for index, item in enumerate(value)]
        return _arguments(inner) if path and path[-1] == "args" else inner
    if path in hidden or (is_secret(path) and value is not None):
        return MASK
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    """A text without the logins and queries of the URLs in it."""
    return WORD.sub(lambda found: _masked_url(found[0]), text) if "//" in text else text


def closest(found: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    words = {_folded(word): word for word in known}
    near = difflib.get_close_matches(_folded(found[:LIMIT]), words, n=1, cutoff=0.7)
    return words[near[0]] if near else None


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """The end of a sentence, empty where nothing is near."""
    near = closest(found, known)
    return f", did you mean {near}?" if near else ""


def _masked_url(word: str) -> str:
    # By hand, because a pattern would take hours over a long row of slashes.
    slashes, end = word.find("//"), word.rfind("@")
    if 0 <= slashes < end:
        word = f"{word[:slashes]}//{MASK}{word[end:]}"
    scheme = word.find("://")
    query = word.find("?", scheme)
    return f"{word[: query + 1]}{MASK}" if 0 <= scheme < query < len(word) - 1 else word


def _guarded(word: str) -> str:
    """A word that is wrong, and may be a URL whose beginning is what is wrong with it."""
    if "://" in word:
        return _masked_url(word)
    if "@" in word:
        word = MASK + word[word.rindex("@") :]
    return f"{word[: word.index('?') + 1]}{MASK}" if "?" in word[:-1] else word


def _arguments(arguments: list[Any]) -> list[Any]:
    """Arguments of a program without the values of options such as `--api-key`."""
    result: list[Any] = []
    secret_next = False
    for argument in arguments:
        option = OPTION.fullmatch(argument) if isinstance(argument, str) else None
        secret = bool(option and is_secret((option["name"],)))
        if secret_next and option is None:
            result.append(MASK)
        elif option and secret and option["value"]:
            result.append(argument[: option.start("value") + 1] + MASK)
        else:
            result.append(_assignment(argument))
        secret_next = secret and option is not None and not option["value"]
    return result


def _assignment(argument: Any) -> Any:
    """An argument such as `API_KEY=…` or `Authorization: …` without its value."""
    found = ASSIGNMENT.fullmatch(argument) if isinstance(argument, str) else None
    return f"{found['name']}{found['sign']}{MASK}" if found and is_secret((found["name"],)) else argument


def _kind(value: object) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def _number(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # thousands of digits
        return "a very large number"


def _short(text: str) -> str:
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"


def _folded(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())
