"""The system prompt that an agent.yml describes: made anew for every run, sent with its requests, never stored.

The date has the granularity of a day and everything else changes only with the configuration and its files: providers
charge little for a request that begins as the last one did.
"""

from __future__ import annotations

import logging
import os
import platform
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
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

#: So many runs are remembered; one that was forgotten reads its files once more.
MAX_RUNS = 1024

#: What stands between two contributors.
_GAP = "\n\n"


def system_prompt(config: SystemPrompt, *, base: Path, clock: Clock | None = None) -> Instructions:
    """The instructions of an agent: the enabled contributors in the order of their priority, the lowest first.

    Relative paths of files begin at `base`. One run sees one prompt, whatever changes meanwhile: files are read when
    it makes its first request, in a thread. Raises PromptFailed there for a file that cannot be read and must be.
    """
    return _Prompt(config, base, clock or SystemClock())


class _Prompt:
    def __init__(self, config: SystemPrompt, base: Path, clock: Clock) -> None:
        enabled = [contributor for contributor in config.contributors if contributor.enabled]
        # The sort is stable: equals stay in the order of the file.
        self._contributors = sorted(enabled, key=lambda contributor: contributor.priority)
        self._reads = any(isinstance(contributor, FileContributor) for contributor in enabled)
        self._base, self._clock = base, clock
        self._made: OrderedDict[str, str] = OrderedDict()
        self._last = ""

    async def __call__(self, ctx: RunContext[Any]) -> str:
        run = ctx.run_id or ""
        found = self._made.get(run) if run else None
        if found is None:
            found = await anyio.to_thread.run_sync(self.make) if self._reads else self.make()
            # Runs share one text for as long as nothing changes: a thousand long ones would be a lot of memory.
            found = self._last = self._last if found == self._last else found
            if run:
                self._made[run] = found
                while len(self._made) > MAX_RUNS:
                    self._made.popitem(last=False)
        return found

    def make(self) -> str:
        """The whole prompt as of now."""
        pieces = (self._piece(contributor).strip("\n") for contributor in self._contributors)
        return _GAP.join(piece for piece in pieces if piece)

    def _piece(self, contributor: AnyContributor) -> str:
        if isinstance(contributor, StaticContributor):
            return contributor.content
        if isinstance(contributor, DynamicContributor):
            return _DYNAMIC[contributor.source](self._clock.now())
        return _files(contributor, self._base)


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
