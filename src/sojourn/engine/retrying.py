"""When a request to the model is made again, and what is said where it is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, ModelQuotaExceededError

from sojourn.abc import ModelRetried
from sojourn.engine.failures import UNREACHABLE, Passing, passing_failure
from sojourn.errors import ModelFailed, SojournError, without_secrets
from sojourn.records import Usage

#: Seconds before the second try and at most before a later one, each with up to a half taken off by chance, so that the
#: sessions that failed together do not come back together.
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0

#: Seconds that a provider may ask for; a turn that waited longer would look dead.
LONGEST_ASKED = 60.0

#: Of the provider's own words, this many characters are passed on.
MAX_QUOTE = 300

_REFUSALS = {
    401: "the model's provider refused the key (HTTP 401); check llm.apiKey",
    402: "the model's provider wants to be paid first (HTTP 402); check the account",
    403: "the model's provider refused access (HTTP 403); check llm.apiKey and what it may use",
    404: "the model's provider knows no such model or address (HTTP 404); check llm.model and llm.baseURL",
    413: "the request is too large for the model's provider (HTTP 413); set llm.maxInputTokens, or begin a new session",
}


class RequestFailed(Exception):
    """A request to the model failed, for the reason that this was raised from; with what it has used if known."""

    def __init__(self, error: Exception, model: str, usage: Usage | None) -> None:
        self.error, self.model, self.usage = error, model, usage
        super().__init__(str(error))


@dataclass
class Retries:
    """The tries of one request after another."""

    #: How often each request may be made again.
    limit: int
    #: A number from 0 to 1 for each wait.
    chance: Callable[[], float] = random.random
    _made: int = field(default=0, init=False)

    def answered(self) -> None:
        """The next request is another one."""
        self._made = 0

    def after(self, failed: RequestFailed, asked: Callable[[], str] = str) -> ModelRetried:
        """What to do after a failure; raises ModelFailed, or the error itself where it is none of the provider's.

        `asked` says who was asked, and where; it is said of a provider that could not be reached.
        """
        error = failed.error
        passing = None if isinstance(error, SojournError) else passing_failure(error)
        if passing is None:
            if (refused := refusal(error)) is None:
                raise error
            raise refused from error
        if passing.reason == UNREACHABLE and (whom := asked()):
            passing = replace(passing, reason=f"{UNREACHABLE} ({whom})")
        if self._made >= self.limit:
            raise ModelFailed(_gave_up(passing, self._made + 1)) from error
        if passing.wait is not None and passing.wait > LONGEST_ASKED:
            raise ModelFailed(
                f"{passing.reason} and asks to wait {passing.wait:.0f} s, more than the {LONGEST_ASKED:.0f} s that a "
                "turn waits; send the message again then"
            ) from error
        wait = max(passing.wait or 0.0, self._pause())
        self._made += 1
        tries = f"try {self._made + 1} of {self.limit + 1}"
        reason = f"{passing.reason}; asking again in {wait:.1f} s ({tries})"
        return ModelRetried(self._made + 1, wait, reason, failed.model, failed.usage)

    def _pause(self) -> float:
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0**self._made)
        return longest * (1 - self.chance() / 2)


def _gave_up(passing: Passing, tries: int) -> str:
    often = "" if tries == 1 else f", {tries} times in a row"
    return f"{passing.reason}{often}; send the message again later"


def refusal(error: Exception) -> ModelFailed | None:
    """What to say of a provider's error that will not pass; None for an error of somebody else."""
    if isinstance(error, ModelQuotaExceededError):
        return ModelFailed("the account at the model's provider has no quota left; check its billing")
    if isinstance(error, ModelHTTPError):
        said = _REFUSALS.get(error.status_code)
        return ModelFailed(
            said or f"the model's provider refused the request (HTTP {error.status_code}){_quote(error)}"
        )
    if isinstance(error, ModelAPIError):
        return ModelFailed(f"the request to the model failed: {_clean(str(error))}")
    return None


def _quote(error: ModelHTTPError) -> str:
    """The provider's own words, which may quote what it was sent."""
    words: object = error.body
    for name in ("error", "message"):
        if isinstance(words, Mapping) and name in words:
            words = words[name]
    return f": {_clean(words)}" if isinstance(words, str) and words.strip() else ""


def _clean(words: str) -> str:
    return without_secrets(" ".join(words.split()))[:MAX_QUOTE]
