"""What is known of providers without asking their libraries: which one is needed, whether it is there, who is meant."""

from __future__ import annotations

from importlib.util import find_spec

from sojourn.config.schema import PROVIDERS
from sojourn.config.wording import did_you_mean

#: The extra that brings a provider's library, and a package of it; the others need what is always there.
_LIBRARIES = {
    "anthropic": ("anthropic", "anthropic"),
    "bedrock": ("bedrock", "boto3"),
    "cohere": ("cohere", "cohere"),
    "google": ("google", "google.genai"),
    "groq": ("groq", "groq"),
    "vertex": ("google", "google.genai"),
    "xai": ("xai", "xai_sdk"),
}

#: Servers and services that people name as a provider, and that answer as OpenAI does.
_SPEAK_AS_OPENAI = {
    "azure", "azureopenai", "cerebras", "cloudflare", "deepseek", "fireworks", "fireworksai", "github", "githubmodels",
    "huggingface", "llamacpp", "lmstudio", "local", "localai", "mistral", "mistralai", "moonshot", "moonshotai",
    "nebius", "nvidia", "ollama", "openwebui", "perplexity", "qwen", "sambanova", "together", "togetherai", "vllm",
    "zai",
}  # fmt: skip

#: What else people call a provider.
_MEANT = {"aws": "bedrock", "claude": "anthropic", "gemini": "google", "googleai": "google", "grok": "xai"}


def package_of(provider: str) -> str:
    """What pip installs for the provider's models."""
    return f"sojourn[{_LIBRARIES[provider][0]}]" if provider in _LIBRARIES else "sojourn"


def is_installed(provider: str) -> bool:
    """Whether the provider's library is there; nothing is imported to find that out."""
    if provider not in _LIBRARIES:
        return True
    try:
        return find_spec(_LIBRARIES[provider][1]) is not None
    except ModuleNotFoundError:  # of a package that would hold it
        return False


def missing_library(provider: str) -> str:
    """What to say where it is not there."""
    return f"{provider} needs a library that is not installed; run: pip install '{package_of(provider)}'"


def provider_meant(found: str) -> str:
    """The end of a sentence about an unknown provider, empty where nothing is near."""
    name = "".join(letter for letter in found.lower() if letter.isalnum())
    if name in _SPEAK_AS_OPENAI:
        return ", did you mean openai-compatible, with its address as baseURL?"
    if name in _MEANT:
        return f", did you mean {_MEANT[name]}?"
    return did_you_mean(found, PROVIDERS)
