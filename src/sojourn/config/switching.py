"""The model that one session uses instead of its agent's: checked as the section `llm` is, and completed by it.

What is kept of it never has a key or an address. A key is the agent.yml's, and goes where the agent.yml says: that of
`llm` to the address of `llm`, one of `sojourn.keys` to its provider's own address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sojourn.config.rules import NEED_BASE_URL, expected_model
from sojourn.config.schema import LLM, AgentConfig
from sojourn.config.shape import locate
from sojourn.config.wording import did_you_mean, masked_text
from sojourn.errors import InvalidInput

#: What may be said of a session's model.
KEYS = (
    "provider", "model", "baseURL", "maxIterations", "maxInputTokens", "maxOutputTokens", "temperature", "reasoning",
)  # fmt: skip

#: The longest id of a model, characters.
LONGEST = 200

_NEVER_KEPT = {"api_key", "base_url"}


def check(agent: AgentConfig, llm: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a session's model, as JSON; raises InvalidInput, which names the key."""
    given = {key: value for key, value in llm.items() if value is not None}
    _check_keys(given)
    given.setdefault("provider", agent.llm.provider)
    _check_address(agent, given.pop("baseURL", None), given["provider"])
    checked = _validated(given)
    _check_model(checked)
    _check_provider(agent, checked.provider)
    return checked.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True, exclude=_NEVER_KEPT
    )  # fmt: skip


def completed(agent: AgentConfig, kept: Mapping[str, Any]) -> LLM:
    """The whole section for a session's model, with its key; raises InvalidInput where it does not fit the agent.yml.

    What is not said is the agent.yml's where provider and model are the same. Another model has its own defaults for
    everything but `maxIterations`.
    """
    chosen, own = LLM.model_validate(check(agent, kept)), agent.llm
    said = {name: getattr(chosen, name) for name in chosen.model_fields_set}
    if (chosen.provider, chosen.model) == (own.provider, own.model):
        return own.model_copy(update=said)
    same = chosen.provider == own.provider
    default = {
        "max_iterations": own.max_iterations,
        "api_key": own.api_key if same else agent.sojourn.keys[chosen.provider],
        "base_url": own.base_url if same else None,
    }
    return chosen.model_copy(update=default | said)


def told(llm: LLM) -> dict[str, Any]:
    """A section for people: without its key, and with nothing secret in its address."""
    found = llm.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"api_key", "allowed_media_types"}
    )  # fmt: skip
    if "baseURL" in found:
        found["baseURL"] = masked_text(found["baseURL"])
    return found


def _check_keys(given: Mapping[str, Any]) -> None:
    if "apiKey" in given:
        raise InvalidInput("llm.apiKey", "…", "no key: keys belong into the agent.yml, under llm or sojourn.keys")
    for key in given:
        if key not in KEYS:
            raise InvalidInput("llm", key, f"no other keys than {', '.join(KEYS)}{did_you_mean(str(key), KEYS)}")


def _check_address(agent: AgentConfig, address: object, provider: object) -> None:
    if address is None or (provider == agent.llm.provider and address == agent.llm.base_url):
        return
    # A key would follow it there.
    found = masked_text(address) if isinstance(address, str) else address
    raise InvalidInput("llm.baseURL", found, "none, or the one that the agent.yml has for this provider")


def _validated(given: Mapping[str, Any]) -> LLM:
    try:
        return LLM.model_validate(given)
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_context=False)
    path, kind = locate(("llm", *first["loc"]))
    name, parent = ".".join(map(str, path)), ".".join(map(str, path[:-1]))
    if first["type"] == "extra_forbidden":
        known = locate(("llm", *first["loc"][:-1]))[1].keys
        raise InvalidInput(parent, path[-1], f"one of {', '.join(known)}{did_you_mean(str(path[-1]), known)}")
    found = None if first["type"] == "missing" else first["input"]
    raise InvalidInput(name, "…" if isinstance(found, Mapping | list) else found, kind.expected)


def _check_model(llm: LLM) -> None:
    if len(llm.model) > LONGEST or not llm.model.isprintable():
        raise InvalidInput("llm.model", llm.model, f"at most {LONGEST} printable characters")
    if (expected := expected_model(llm.provider, llm.model)) is not None:
        raise InvalidInput("llm.model", llm.model, expected)


def _check_provider(agent: AgentConfig, provider: str) -> None:
    if provider == agent.llm.provider:
        return
    if provider in NEED_BASE_URL:
        raise InvalidInput("llm.provider", provider, "a provider at a fixed address, or the agent.yml's own")
    if not agent.sojourn.keys.get(provider, "").strip():
        raise InvalidInput("llm.provider", provider, "a provider whose key the agent.yml has; add it to sojourn.keys")
