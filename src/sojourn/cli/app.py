"""The command `sojourn`: a thin layer over the library. What a command needs is loaded when it runs."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sojourn.cli import approvals, sessions
from sojourn.cli.completion import session_ids
from sojourn.cli.exits import OK, finish, guarded
from sojourn.cli.place import AgentOption, JsonOption, StorageOption

app = typer.Typer(name="sojourn", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(sessions.app, name="sessions")
app.add_typer(approvals.app, name="approvals")

Session = Annotated[
    str | None,
    typer.Option(
        "--session",
        "-s",
        help="The conversation to go on with, or a new one's id; a new one without it.",
        metavar="ID",
        autocompletion=session_ids,
    ),
]


@app.callback(invoke_without_command=True)
def root(*, version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Run one AI agent for many people at once."""
    if version:
        _print_version()
        raise typer.Exit


@app.command()
def run(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to say; - reads it from standard input, as does nothing in a pipe."
        ),
    ] = None,
    *,
    session: Session = None,
    agent: AgentOption = None,
    storage: StorageOption = None,
    json: JsonOption = False,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Give up a turn of the conversation that waits for a decision.")
    ] = False,
) -> None:
    """Say one thing and print the answer on standard output; everything else goes to standard error.

    Example: sojourn run "What is my favourite colour?" --session mine
    """
    from sojourn.cli.run import Wanted, say_once

    wanted = Wanted(
        prompt=prompt, session=session, agent=agent, storage=storage, json=json, supersede=supersede
    )  # fmt: skip
    finish(say_once(wanted))


@app.command()
def chat(
    *,
    newest: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the newest conversation.")] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", "-r", help="Go on with this conversation.", metavar="ID", autocompletion=session_ids),
    ] = None,
    session: Session = None,
    agent: AgentOption = None,
    storage: StorageOption = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines only; always so where there is no terminal.")] = False,
) -> None:
    """Talk with the agent; /help in it lists what else it does, Ctrl-D ends it.

    Example: sojourn chat --continue
    """
    from sojourn.cli.chat import converse
    from sojourn.cli.chat_start import Options

    finish(converse(Options(newest, resume, session, agent, storage, plain)))


@app.command(name="serve")
def serve_http(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The agent's file; as --agent.")] = None,
    *,
    agent: AgentOption = None,
    storage: StorageOption = None,
    host: Annotated[str, typer.Option(help="Where to listen; wider than this machine only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8700,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; lines of JSON on standard error.", metavar="LEVEL")
    ] = "info",
) -> None:
    """Serve the agent over HTTP, with Dexto's API, until Ctrl-C or SIGTERM.

    Example: sojourn serve agent.yml --port 8700
    """
    from sojourn.cli.serve import Wanted, serve

    finish(serve(Wanted(agent=file or agent, host=host, port=port, storage=storage, log_level=log_level)))


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The agent's file; agent.yml without it.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Say whether an agent.yml can be used: print what is in effect, secrets masked, or all that is wrong.

    Example: sojourn check agents/support.yml
    """
    from sojourn.cli.check import check_file

    guarded(lambda: check_file(file, json=json))


@app.command()
def init(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="What to write; agent.yml without it.")] = None,
    *,
    provider: Annotated[str | None, typer.Option(help="Who runs the model, such as openai or anthropic.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment's variable that holds the key.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Where the provider answers.")] = None,
    system_prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told first.")] = None,
    tools: Annotated[
        str | None, typer.Option(help="An MCP server to begin with: none, files (by npx) or web (by uvx).")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="PATH", help="The database's file; default is one in your data folder.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take what is proposed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is already there.")] = False,
) -> None:
    """Make an agent.yml: asks for provider, model, prompt, tools and storage, and never for a key.

    Example: sojourn init --yes --provider anthropic
    """
    from sojourn.cli.init import Answers, write_agent

    answers = Answers(
        provider=provider, model=model, key_variable=key_variable, base_url=base_url, system_prompt=system_prompt,
        tools=tools, storage=storage,
    )  # fmt: skip
    guarded(lambda: write_agent(file, answers, yes=yes, force=force))


@app.command()
def demo(
    *,
    conversations: Annotated[int, typer.Option(min=2, max=500, help="How many conversations at once.")] = 50,
    max_sessions: Annotated[int, typer.Option(min=1, max=500, help="How many of them may live in memory.")] = 10,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of drawing.")] = False,
) -> None:
    """Show the main job: many conversations, few in memory, the process killed in the middle, nothing lost."""
    from sojourn.cli.demo import perform

    finish(perform(conversations, max_sessions, plain=plain))


def main() -> NoReturn:
    """The console script."""
    if sys.argv[1:] == ["--version"]:  # what reads a command line takes as long to load as all else
        _print_version()
        sys.exit(OK)
    if logging.lastResort is not None:  # what nobody asked to be logged; of turns the commands tell themselves
        logging.lastResort.addFilter(lambda record: record.name != "sojourn.turns" or record.levelno > logging.WARNING)
    try:
        app(prog_name="sojourn")
    finally:
        gc.freeze()  # the interpreter would walk once more over all that is loaded, for up to a second
    sys.exit(OK)


def _print_version() -> None:
    from sojourn import __version__

    typer.echo(f"sojourn {__version__}")
