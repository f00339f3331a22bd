"""The model that a configuration names, of any of the twelve providers.

A provider's library takes up to two seconds to import, so it is imported when a model of that provider is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings, ThinkingLevel

from sojourn.config.providers import missing_library
from sojourn.config.schema import LLM
from sojourn.errors import AgentUnsupported, InvalidInput

#: The module below `providers` that builds a provider's models, where it has not the provider's name.
_MODULES = {
    **dict.fromkeys(("openai-compatible", "openrouter", "litellm", "glama"), "openai"),
    "vertex": "google",
}

#: `llm.reasoning.variant`, as pydantic-ai says it; None leaves it to the provider.
_THINKING: dict[str, ThinkingLevel | None] = {
    "default": None,
    **dict.fromkeys(("disabled", "none", "off"), False),
    **dict.fromkeys(("enabled", "on", "auto", "adaptive"), True),
    **{effort: cast(ThinkingLevel, effort) for effort in ("minimal", "low", "medium", "high", "xhigh", "max")},
}


def build_model(llm: LLM) -> Model[Any]:
    """A model with its settings and a connection pool of its own, which leaving `async with model:` closes.

    Nothing is taken from the environment but proxies and trusted certificates. Raises InvalidInput for what the
    provider lacks or cannot use, AgentUnsupported if its library is not installed.
    """
    settings = model_settings(llm)
    try:
        module = import_module(module_of(llm.provider))
    except ImportError as error:
        raise AgentUnsupported(f"llm.provider: {missing_library(llm.provider)}") from error
    model: Model[Any] = module.build(llm, settings)
    return model


def module_of(provider: str) -> str:
    """The module that builds the provider's models, and imports its library."""
    return f"sojourn.engine.providers.{_MODULES.get(provider, provider)}"


def model_settings(llm: LLM) -> ModelSettings:
    """What is asked of the model in each request; `build_model` gives it to the model already.

    Raises InvalidInput for a way of reasoning that the provider cannot be asked for.
    """
    settings = ModelSettings()
    if llm.temperature is not None:
        settings["temperature"] = llm.temperature
    if llm.max_output_tokens is not None:
        settings["max_tokens"] = llm.max_output_tokens
    thinking = _thinking(llm)
    if thinking is not None:
        settings["thinking"] = thinking
    more: dict[str, Any] = {**_budget(llm, thinking)}
    if llm.provider == "openai":
        # The history is ours: a session may be continued after what OpenAI keeps has expired, and is gone when deleted.
        more["openai_store"] = False
    return cast(ModelSettings, {**settings, **more})


def _thinking(llm: LLM) -> ThinkingLevel | None:
    variant = llm.reasoning.variant if llm.reasoning else None
    if variant is None:
        return None
    if variant not in _THINKING:
        raise InvalidInput("llm.reasoning.variant", variant, f"one of {', '.join(_THINKING)}")
    return _THINKING[variant]


def _budget(llm: LLM, thinking: ThinkingLevel | None) -> dict[str, Any]:
    """The setting that limits the tokens of thinking, which every provider that has one calls differently."""
    budget = llm.reasoning.budget_tokens if llm.reasoning else None
    if budget is None:
        return {}
    if thinking is False:
        raise InvalidInput("llm.reasoning.budgetTokens", budget, "no budget where the variant turns reasoning off")
    if llm.provider == "anthropic":
        return {"anthropic_thinking": {"type": "enabled", "budget_tokens": budget}}
    if llm.provider in ("google", "vertex"):
        return {"google_thinking_config": {"thinking_budget": budget, "include_thoughts": True}}
    if llm.provider == "openrouter":
        return {"openrouter_reasoning": {"max_tokens": budget}}
    if llm.provider == "bedrock" and "anthropic" in llm.model:
        fields = {"thinking": {"type": "enabled", "budget_tokens": budget}}
        return {"bedrock_additional_model_requests_fields": fields}
    raise InvalidInput(
        "llm.reasoning.budgetTokens", budget, f"no budget: {llm.provider} has none for {llm.model}; use variant"
    )
