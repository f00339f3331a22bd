"""What `sojourn init` proposes is what the installed libraries know."""

from __future__ import annotations

from typing import get_args

import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS
from pydantic_ai.models import KnownModelName

from sojourn.cli.init import PROPOSED

KNOWN = frozenset(get_args(KnownModelName.__value__))
#: pydantic-ai's names; the others ask a server of one's own, or pass on to one of these.
NAMES = {"vertex": "google-cloud"}


@pytest.mark.parametrize("provider", sorted(PROPOSED.keys() - {"openai-compatible", "litellm", "openrouter", "glama"}))
def test_the_proposed_model_is_a_current_one(provider: str) -> None:
    assert f"{NAMES.get(provider, provider)}:{PROPOSED[provider][0]}" in KNOWN


@pytest.mark.parametrize("provider", ["litellm", "openrouter", "glama"])
def test_a_gateway_is_proposed_a_current_model_of_openai(provider: str) -> None:
    assert f"openai:{PROPOSED[provider][0].removeprefix('openai/')}" in KNOWN


def test_the_proposed_models_of_anthropic_are_not_about_to_end() -> None:
    assert PROPOSED["anthropic"][0] not in DEPRECATED_MODELS
