"""Session ids for the shell's completion: from storage, quickly, and nothing at all where anything is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

#: How many ids are offered, and among how many of the newest sessions they are looked for.
_OFFERED, _AMONG = 50, 5000


def session_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids that begin with what is typed, newest activity first, without those that are on the line already."""
    logging.disable()
    try:
        import asyncio

        said = context.params
        agent, named = said.get("agent"), said.get("ids") or ()
        found = asyncio.run(_ids(Path(agent) if agent else None, said.get("storage"), said.get("user"), incomplete))
        return [offered for offered in found if offered not in named]
    except Exception:  # noqa: BLE001 - a completion must never disturb what is being typed
        return []
    finally:
        logging.disable(logging.NOTSET)


async def _ids(agent: Path | None, storage: str | None, user: str | None, prefix: str) -> list[str]:
    from sojourn.cli.finding import beginning
    from sojourn.cli.place import Place, opened

    async with opened(Place(agent, storage, user, json=True)) as open_:
        return [session.id for session in await beginning(open_.scope, prefix, _OFFERED, among=_AMONG)]
