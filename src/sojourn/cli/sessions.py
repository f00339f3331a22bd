"""`sojourn sessions …`: the stored conversations, looked at and put in order. What a command does is loaded later."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.completion import session_ids
from sojourn.cli.exits import USAGE, Refusal, explain, finish
from sojourn.cli.place import AgentOption, JsonOption, Place, StorageOption, UserOption
from sojourn.cli.times import moment
from sojourn.records import Role, SessionOrder, SessionStatus

app = typer.Typer(no_args_is_help=True, help="List, read, copy, move and delete conversations.")

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The session's id, or its beginning if no other begins so.", autocompletion=session_ids
    ),
]


@app.command("list")
def list_(
    *,
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Only those with these words in the title or a message.")
    ] = None,
    status: Annotated[
        list[SessionStatus] | None,
        typer.Option(
            metavar="STATUS", help="Only those that are idle, queued, running, waiting or held; may be repeated."
        ),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only those forked from this session.", autocompletion=session_ids),
    ] = None,
    active_since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Only those active then or later: 7d, 12h, 2026-05-01."),
    ] = None,
    active_before: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only those not active then or later.")
    ] = None,
    order: Annotated[
        SessionOrder, typer.Option(help="What they go by: times from the newest, ids from the smallest.")
    ] = SessionOrder.ACTIVITY,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="NEXT", help="Go on behind an earlier page; it said where.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every one, however many.")] = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """List conversations, the one spoken in last first unless another order is asked for.

    Examples: sojourn sessions list --query "invoice"; sojourn sessions list --status waiting --order created
    """
    from sojourn.cli import session_acts as acts

    wanted = acts.Listing(
        query=query, status=status or None, parent=parent, active_since=active_since, active_before=active_before,
        order=order, reverse=reverse, limit=limit, after=after, all=all_,
    )  # fmt: skip
    finish(acts.list_sessions(Place(agent, storage, user, json), wanted))


@app.command()
def show(
    id: Id,
    *,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is known of one conversation, without its messages.

    Example: sojourn sessions show 47e0366a
    """
    from sojourn.cli import session_acts as acts

    finish(acts.show(Place(agent, storage, user, json), id))


@app.command()
def history(
    id: Id,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many messages at most.")] = 50,
    before: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only messages before the one with this number.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every message.")] = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was said in a conversation, the newest messages last.

    Example: sojourn sessions history 47e0366a --limit 10
    """
    from sojourn.cli import session_acts as acts

    place = Place(agent, storage, user, json)
    finish(acts.history(place, id, limit=limit, before=before, everything=all_))


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS", help="All of them in one message; the last may be a beginning.")
    ],
    *,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="ID", help="Only in this one.", autocompletion=session_ids),
    ] = None,
    role: Annotated[Role | None, typer.Option(help="Only what they said; what tools returned is not searched.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many messages at most.")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="NEXT", help="Go on behind an earlier page; it said where.")
    ] = None,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Find messages by their words, in all conversations, the last said first.

    Example: sojourn sessions search favourite colour --role user
    """
    from sojourn.cli import session_acts as acts

    wanted = acts.Search(query=" ".join(words), session=session, role=role, limit=limit, after=after)
    finish(acts.search(Place(agent, storage, user, json), wanted))


@app.command()
def rename(
    id: Id,
    title: Annotated[str, typer.Argument(help="The new title, on one line.")],
    *,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Give a conversation another title.

    Example: sojourn sessions rename 47e0366a "Holidays in Lisbon"
    """
    from sojourn.cli import session_acts as acts

    finish(acts.rename(Place(agent, storage, user, json), id, title))


@app.command()
def fork(
    id: Id,
    *,
    at: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only up to the turn whose last message has this number.")
    ] = None,
    new_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The copy's id; made without it.")] = None,
    title: Annotated[str | None, typer.Option(help="The copy's title.")] = None,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Begin a second conversation with the history of a first one; prints its id.

    Example: sojourn sessions fork 47e0366a --title "Another way"
    """
    from sojourn.cli import session_acts as acts

    finish(acts.fork(Place(agent, storage, user, json), id, at=at, new_id=new_id, title=title))


@app.command()
def export(
    id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="The session's id, or its beginning.", autocompletion=session_ids),
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; - or nothing is standard output.")
    ] = None,
    *,
    all_: Annotated[
        Path | None, typer.Option("--all", metavar="DIR", help="Every conversation, a file each in this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are already there.")] = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
) -> None:
    """Write a conversation as JSON Lines, which `import` reads, in this or another database.

    Examples: sojourn sessions export 47e0366a chat.jsonl; sojourn sessions export --all backup/
    """
    from sojourn.cli import transfers

    place = Place(agent, storage, user)
    if (id is None) is (all_ is None):
        raise typer.Exit(explain(Refusal("name either a session or --all DIR", USAGE)))
    if all_ is not None:
        finish(transfers.export_all(place, all_, force=force))
    target = None if file is None or str(file) == "-" else file
    finish(transfers.export_one(place, id or "", target, force=force))


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Exported conversations or folders of them; - is standard input."),
    ],
    *,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Another id for the one that is imported.")
    ] = None,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Store exported conversations; each whole, or nothing of it.

    Examples: sojourn sessions import chat.jsonl --id copy; sojourn sessions import backup/
    """
    from sojourn.cli import transfers

    finish(transfers.import_files(Place(agent, storage, user, json), files, id=id))


@app.command()
def unload(id: Id, *, agent: AgentOption = None, storage: StorageOption = None, user: UserOption = None) -> None:
    """Say why a conversation cannot be taken out of memory from here: only the process that serves it holds it.

    Example: sojourn sessions unload 47e0366a
    """
    from sojourn.cli import session_acts as acts

    finish(acts.unload(Place(agent, storage, user), id))


@app.command()
def delete(
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID", help="Ids of sessions, or their beginnings.", autocompletion=session_ids),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Remove conversations and every trace of them from the database; asks first.

    Example: sojourn sessions delete 47e0366a
    """
    from sojourn.cli import session_acts as acts

    finish(acts.delete(Place(agent, storage, user, json), ids, yes=yes))


@app.command()
def stats(*, agent: AgentOption = None, storage: StorageOption = None, json: JsonOption = False) -> None:
    """Say how many conversations are stored, where, and how many may be in memory.

    Example: sojourn sessions stats --json
    """
    from sojourn.cli import session_acts as acts

    finish(acts.stats(Place(agent, storage, None, json)))
