"""`sojourn approvals …`: what waits for a person's decision. What a command does is loaded later."""

from __future__ import annotations

from typing import Annotated

import typer

from sojourn.cli.completion import session_ids
from sojourn.cli.exits import Refusal, explain, finish
from sojourn.cli.place import AgentOption, JsonOption, Place, StorageOption, UserOption
from sojourn.records import Remember

app = typer.Typer(no_args_is_help=True, help="List and decide what tools may run.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval's id, or its beginning if no other begins so.")]
NoRun = Annotated[
    bool, typer.Option("--no-run", help="Only decide; the turn goes on in the process that serves the session.")
]


@app.command("list")
def list_(
    *,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="ID", help="Only of this session.", autocompletion=session_ids),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """List the calls of tools that wait for a person, the oldest first.

    Example: sojourn approvals list --session mine
    """
    from sojourn.cli import deciding

    finish(deciding.list_approvals(Place(agent, storage, user, json), session, everything=all_))


@app.command()
def approve(
    id: Id,
    *,
    arguments: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Run it with these arguments instead; - reads them from standard input."),
    ] = None,
    remember: Annotated[
        Remember | None, typer.Option(help="Do not ask again: for the tool, or with _exact for these arguments only.")
    ] = None,
    no_run: NoRun = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
) -> None:
    """Let a call run. Behind the last decision the turn goes on here, and its answer is printed.

    Example: sojourn approvals approve 7c1e90aa --remember session
    """
    from sojourn.cli import deciding

    try:
        changed = deciding.arguments_of(arguments)
    except Refusal as refusal:
        raise typer.Exit(explain(refusal)) from refusal
    decision = deciding.Decision(yes=True, arguments=changed, remember=remember)
    finish(deciding.decide(Place(agent, storage, user), id, decision, run=not no_run))


@app.command()
def deny(
    id: Id,
    *,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; the model is told.")] = None,
    no_run: NoRun = False,
    agent: AgentOption = None,
    storage: StorageOption = None,
    user: UserOption = None,
) -> None:
    """Refuse a call. Behind the last decision the turn goes on here, and its answer is printed.

    Example: sojourn approvals deny 7c1e90aa --reason "not on a Sunday"
    """
    from sojourn.cli import deciding

    decision = deciding.Decision(yes=False, reason=reason)
    finish(deciding.decide(Place(agent, storage, user), id, decision, run=not no_run))
