"""A session's own model: checked as an agent.yml's is, kept without key and address, completed by the agent.yml."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sojourn.config.effective import as_yaml
from sojourn.config.schema import AgentConfig
from sojourn.config.switching import KEYS, check, completed, told
from sojourn.errors import InvalidInput
from tests.config.reading import added, problems_added, read, warnings_added

OWN = """\
systemPrompt: Be kind.
llm:
  {provider: openai, model: gpt-5, apiKey: own-key, baseURL: "https://u:hidden@proxy.example/v1", temperature: 0.5,
   maxIterations: 7, maxOutputTokens: 900, reasoning: {variant: low}}
sojourn: {keys: {anthropic: $OTHER, groq: $NOT_SET, xai: "x-key"}}
"""


def agent() -> AgentConfig:
    return read(OWN, {"OTHER": " other-key "}).agent


def test_keys_of_other_providers_come_from_the_environment_and_are_shown_nowhere() -> None:
    configuration = read(OWN, {"OTHER": " other-key "})
    assert configuration.agent.sojourn.keys == {"anthropic": "other-key", "groq": "", "xai": "x-key"}
    assert [it.key for it in configuration.warnings] == ["sojourn.keys.groq"]
    everything = repr(configuration) + as_yaml(configuration) + str(configuration.warnings)
    assert not [key for key in ("other-key", "x-key", "own-key", "hidden") if key in everything]


def test_a_key_that_no_session_can_use_is_told() -> None:
    [problem] = problems_added("sojourn: {keys: {antropic: k}}")
    assert problem.startswith("3: sojourn.keys.antropic: found an unknown provider")
    assert problem.endswith("did you mean anthropic?")
    assert [it.split(":")[0] for it in warnings_added("sojourn: {keys: {openai: k, litellm: l, groq: g}}")] == [
        "3 sojourn.keys.openai",
        "3 sojourn.keys.litellm",
    ]
    assert problems_added("sojourn: {keys: {groq: 5}}") == [
        "3: sojourn.keys.groq: found *** (a number), expected a text; put it in quotes"
    ]


def test_names_of_tools_are_no_secrets() -> None:
    configuration = added("sojourn: {tools: {get_token: {idempotent: true}, mcp--a--b: {}}}")
    assert configuration.agent.sojourn.tools["get_token"].idempotent
    assert not configuration.agent.sojourn.tools["mcp--a--b"].idempotent
    assert "idempotent: true" in as_yaml(configuration)


def test_what_is_not_said_is_the_agents_for_its_own_model() -> None:
    kept = check(agent(), {"model": "gpt-5", "temperature": 0, "maxInputTokens": "5000", "reasoning": None})
    assert kept == {"provider": "openai", "model": "gpt-5", "temperature": 0.0, "maxInputTokens": 5000}
    whole = completed(agent(), kept)
    assert (whole.temperature, whole.max_input_tokens, whole.max_output_tokens) == (0, 5000, 900)
    assert (whole.api_key, whole.base_url) == ("own-key", "https://u:hidden@proxy.example/v1")
    assert whole.reasoning == agent().llm.reasoning


def test_another_model_of_the_same_provider_keeps_key_address_and_limit_of_requests_only() -> None:
    whole = completed(agent(), check(agent(), {"model": " gpt-5-mini "}))
    assert (whole.model, whole.api_key, whole.base_url) == ("gpt-5-mini", "own-key", agent().llm.base_url)
    assert (whole.temperature, whole.max_output_tokens, whole.reasoning) == (None, None, None)
    assert whole.max_iterations == 7


def test_the_key_of_another_provider_goes_to_its_own_address_and_the_agents_key_stays() -> None:
    kept = check(agent(), {"provider": "anthropic", "model": "claude-sonnet-4-5", "maxIterations": 3})
    whole = completed(agent(), kept)
    assert (whole.api_key, whole.base_url, whole.max_iterations) == ("other-key", None, 3)


@pytest.mark.parametrize(
    "llm",
    [
        {"model": "gpt-5", "baseURL": "https://u:hidden@proxy.example/v1"},
        {"provider": "anthropic", "model": "m", "reasoning": {"budgetTokens": 5}, "baseURL": None},
    ],
)
def test_what_is_kept_has_no_key_and_no_address_and_can_be_checked_again(llm: dict[str, Any]) -> None:
    kept = check(agent(), llm)
    assert not {"apiKey", "baseURL"} & set(kept)
    assert check(agent(), json.loads(json.dumps(kept))) == kept
    shown = json.dumps(told(completed(agent(), kept)))
    assert not [secret for secret in ("own-key", "other-key", "hidden", "apiKey") if secret in shown]
    assert set(json.loads(shown)) <= set(KEYS)


@pytest.mark.parametrize(
    ("llm", "what", "said"),
    [
        ({}, "llm.model", "found None, expected a text that is not empty"),
        ({"model": ""}, "llm.model", "found '', expected a text that is not empty"),
        ({"model": "x" * 201}, "llm.model", "at most 200 printable characters"),
        ({"model": "a\x00b"}, "llm.model", "printable"),
        ({"model": "m", "apiKey": "sk-1"}, "llm.apiKey", "keys belong into the agent.yml"),
        ({"model": "m", "temprature": 1}, "llm", "did you mean temperature?"),
        ({"model": "m", "allowedMediaTypes": []}, "llm", "found 'allowedMediaTypes'"),
        ({"model": "m", 5: 6}, "llm", "found 5"),
        ({"model": "m", "temperature": 7}, "llm.temperature", "found 7, expected a number from 0 to 1"),
        ({"model": "m", "temperature": float("nan")}, "llm.temperature", "a number from 0 to 1"),
        ({"model": "m", "maxOutputTokens": 0}, "llm.maxOutputTokens", "a whole number greater than 0"),
        ({"model": "m", "maxIterations": True}, "llm.maxIterations", "a whole number greater than 0"),
        ({"model": "m", "reasoning": "low"}, "llm.reasoning", "expected a mapping"),
        ({"model": "m", "reasoning": {"varriant": "low"}}, "llm.reasoning", "did you mean variant?"),
        ({"model": ["m"]}, "llm.model", "found '…'"),
        ({"model": "m", "provider": "opnai"}, "llm.provider", "found 'opnai', expected one of openai"),
        ({"model": "m", "provider": []}, "llm.provider", "expected one of openai"),
        ({"model": "m", "provider": "google"}, "llm.provider", "a provider whose key the agent.yml has"),
        ({"model": "m", "provider": "groq"}, "llm.provider", "a provider whose key the agent.yml has"),
        ({"model": "m", "provider": "litellm"}, "llm.provider", "a provider at a fixed address"),
        ({"model": "m", "baseURL": "https://evil.example"}, "llm.baseURL", "none, or the one that the agent.yml has"),
        ({"model": "m", "provider": "xai", "baseURL": "https://proxy.example/v1"}, "llm.baseURL", "none, or"),
        ({"model": "m", "baseURL": 5}, "llm.baseURL", "found 5"),
    ],
)
def test_what_cannot_be_chosen_is_named(llm: dict[str, Any], what: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(agent(), llm)
    assert refused.value.what == what
    assert said in str(refused.value)
    assert "hidden" not in str(refused.value)
    assert "sk-1" not in str(refused.value)


def test_a_provider_of_ones_own_keeps_its_address_under_another_model() -> None:
    own = read("systemPrompt: x\nllm: {provider: litellm, model: a, baseURL: http://127.0.0.1:1/v1}\n").agent
    whole = completed(own, check(own, {"provider": "litellm", "model": "b"}))
    assert (whole.model, whole.base_url, whole.api_key) == ("b", "http://127.0.0.1:1/v1", None)


def test_openrouters_models_have_a_slash_here_too() -> None:
    own = read("systemPrompt: x\nllm: {provider: openrouter, model: a/b, apiKey: k}\n").agent
    with pytest.raises(InvalidInput, match="an id with a /"):
        check(own, {"model": "gpt-5"})


def test_what_was_kept_does_not_outlive_its_key() -> None:
    kept = check(agent(), {"provider": "xai", "model": "grok-4"})
    with pytest.raises(InvalidInput, match="a provider whose key"):
        completed(read("systemPrompt: x\nllm: {provider: openai, model: gpt-5, apiKey: k}\n").agent, kept)
