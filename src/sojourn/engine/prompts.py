"""The system prompt that an agent.yml describes: made anew for every run, sent with its requests, never stored.

The date has the granularity of a day and everything else changes only with the configuration and its files: providers
charge little for a request that begins as the last one did.
"""

from __future__ import annotations

import logging
import os
import platform
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import anyio.to_thread
from pydantic_ai import RunContext

from sojourn.clock import Clock, SystemClock
from sojourn.config.schema import AnyContributor, DynamicContributor, FileContributor, StaticContributor, SystemPrompt
from sojourn.errors import PromptFailed

_log = logging.getLogger(__name__)

#: What pydantic-ai takes as an agent's `instructions`.
Instructions: TypeAlias = Callable[[RunContext[Any]], Awaitable[str]]

#: What stands between two contributors.
_GAP = "\n\n"


def own_pieces(settings: Mapping[str, Any]) -> Sequence[StaticContributor]:
    """A session's own contributors, by priority, those that are switched off too."""
    return [
        StaticContributor.model_construct(type="static", **contributor)
        for contributor in settings.get("contributors", ())
    ]


def put_together(pieces: Iterable[str]) -> str:
    """One text of several, an empty line between them."""
    stripped = (piece.strip("\n") for piece in pieces)
    return _GAP.join(piece for piece in stripped if piece)


class Prompt:
    """The system prompt of an agent: the enabled contributors in the order of their priority, the lowest first.

    Relative paths of files begin at `base`.
    """

    def __init__(self, config: SystemPrompt, *, base: Path, clock: Clock | None = None) -> None:
        # The sort is stable: equals stay in the order of the file.
        self._contributors: Sequence[AnyContributor] = sorted(config.contributors, key=_priority)
        self._base, self._clock = base, clock or SystemClock()
        self._last = ""

    def of(self, own: Sequence[StaticContributor] = ()) -> Instructions:
        """The instructions of one run in a session with contributors of its own.

        Each takes the place of the agent's of the same id; of equal priorities the agent's come first. The run sees
        one prompt, whatever changes meanwhile: files are read when it makes its first request, in a thread. Raises
        PromptFailed there for a file that cannot be read and must be.
        """
        replaced = {contributor.id for contributor in own}
        contributors = [one for one in self._contributors if one.id not in replaced]
        chosen = [one for one in sorted([*contributors, *own], key=_priority) if one.enabled]
        reads = any(isinstance(one, FileContributor) for one in chosen)
        made: str | None = None

        async def instructions(_ctx: RunContext[Any]) -> str:
            nonlocal made
            if made is None:
                made = await anyio.to_thread.run_sync(self._make, chosen) if reads else self._make(chosen)
                # Runs share one text for as long as nothing changes: a thousand long ones would be a lot of memory.
                made = self._last = self._last if made == self._last else made
            return made

        return instructions

    def _make(self, contributors: Sequence[AnyContributor]) -> str:
        return put_together(self._piece(contributor) for contributor in contributors)

    def _piece(self, contributor: AnyContributor) -> str:
        if isinstance(contributor, StaticContributor):
            return contributor.content
        if isinstance(contributor, DynamicContributor):
            return _DYNAMIC[contributor.source](self._clock.now())
        return _files(contributor, self._base)


def _priority(contributor: AnyContributor) -> int:
    return contributor.priority


def _date(now: datetime) -> str:
    return f"Today is {now.astimezone(UTC):%A, %Y-%m-%d} (UTC)."


def _env(_now: datetime) -> str:
    shell = os.environ.get("SHELL") or os.environ.get("COMSPEC") or "unknown"
    return "\n".join(
        (
            "The environment that you run in:",
            f"- Working directory: {_cwd()}",
            f"- Platform: {platform.system()} {platform.release()} ({platform.machine()})",
            f"- Shell: {Path(shell).name}",
        )
    )


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "unknown"  # it was removed


def _resources(_now: datetime) -> str:
    return ""


_DYNAMIC: dict[str, Callable[[datetime], str]] = {"date": _date, "env": _env, "resources": _resources}


def _files(contributor: FileContributor, base: Path) -> str:
    """The texts of the files; those that cannot be read are left out or are an error, as the options say."""
    options = contributor.options
    texts: list[str] = []
    for name in contributor.files:
        path = base / Path(name).expanduser()
        try:
            text, modified = _read(path, options.max_file_size)
        except (OSError, ValueError) as error:
            why = f"file {str(path)!r} {_reason(error)}"
            if options.error_handling == "error":
                raise PromptFailed(contributor.id, why) from error
            _log.warning("contributor %r of the system prompt is without a file: %s", contributor.id, why)
            continue
        heads = _heads(name, text, modified, names=options.include_filenames, metadata=options.include_metadata)
        texts.append("\n".join((*heads, text)))
    return options.separator.join(texts)


def _heads(name: str, text: str, modified: float, *, names: bool, metadata: bool) -> Sequence[str]:
    heads = [f"## {name}"] if names else []
    if metadata:
        day = datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%d %H:%M UTC")
        heads.append(f"({len(text.encode()):,} bytes, changed {day})")
    return [*heads, ""] if heads else []


def _read(path: Path, limit: int) -> tuple[str, float]:
    """A file's text and when it was changed; raises OSError, ValueError."""
    # A pipe or a device would keep the thread for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is no regular file")
    with path.open("rb") as file:
        raw = file.read(limit + 1)
        modified = os.fstat(file.fileno()).st_mtime
    if len(raw) > limit:
        raise ValueError(f"is larger than maxFileSize, {limit:,} bytes")
    try:
        return raw.decode("utf-8-sig"), modified
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or type(error).__name__})"
    return str(error)
