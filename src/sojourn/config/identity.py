"""By which name an agent is known where something of it is kept."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from sojourn.config.schema import AgentConfig

#: The longest name, characters; in any script fewer bytes than a file name may have.
LONGEST = 48


def name_of(agent: AgentConfig, path: str) -> str:
    """The agent's id, else its card's name, else one made from the file's absolute path; safe in a file name."""
    given = agent.agent_id or (agent.agent_card.name if agent.agent_card else None)
    if given:
        name = _safe(given)
        # What was lost must not make two agents one.
        return name if name == re.sub(r"\s+", "-", given) else _with_hash(name, given)
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
    if stem == "agent":
        stem = os.path.basename(os.path.dirname(path))  # noqa: PTH119, PTH120
    return _with_hash(_safe(stem), path)


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")[:LONGEST]


def _with_hash(name: str, source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name}-{digest}" if name else f"agent-{digest}"
