"""The command `sojourn`: a thin layer over the library. What a command needs is loaded when it runs."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer

from sojourn.errors import InvalidInput, SojournError

#: Exit codes: the command did what it says / something went wrong / the command line or a value in it is wrong.
OK, FAILED, USAGE = 0, 1, 2
#: Ended by Ctrl-C, as shells count it.
INTERRUPTED = 130

app = typer.Typer(
    name="sojourn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Session = Annotated[str | None, typer.Option("--session", "-s", help="The conversation to go on with; new without it.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where conversations are kept, as sqlite:///PATH; SOJOURN_HOME moves the default.", metavar="URL"
    ),
]


@app.callback(invoke_without_command=True)
def root(*, version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Run one AI agent for many people at once."""
    if version:
        from sojourn import __version__

        typer.echo(f"sojourn {__version__}")
        raise typer.Exit


@app.command()
def run(prompt: str, session: Session = None, storage: Storage = None) -> None:
    """Say one thing and print the answer (demo model; your own agents come with agent.yml)."""
    from sojourn.cli.talk import say_once

    _finish(say_once(prompt, session, storage))


@app.command()
def chat(session: Session = None, storage: Storage = None) -> None:
    """Talk in the terminal; an empty line or Ctrl-D ends it, Ctrl-C cancels the answer."""
    from sojourn.cli.talk import converse

    _finish(converse(session, storage))


@app.command()
def demo(
    *,
    conversations: Annotated[int, typer.Option(min=2, max=500, help="How many conversations at once.")] = 50,
    max_sessions: Annotated[int, typer.Option(min=1, max=500, help="How many of them may live in memory.")] = 10,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of drawing.")] = False,
) -> None:
    """Show the main job: many conversations, few in memory, the process killed in the middle, nothing lost."""
    from sojourn.cli.demo import perform

    _finish(perform(conversations, max_sessions, plain=plain))


def main() -> NoReturn:
    """The console script."""
    app()
    sys.exit(OK)


def _terminated(number: int, _frame: object) -> NoReturn:
    """End as with Ctrl-C: whatever is open is closed on the way."""
    sys.exit(128 + number)


def _finish(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit code; an error is one sentence on standard error, never a traceback."""
    import asyncio
    import signal

    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = asyncio.run(work)
    except InvalidInput as error:
        typer.echo(f"error: {error}", err=True)
        code = USAGE
    except SojournError as error:
        typer.echo(f"error: {error}", err=True)
        code = FAILED
    except BrokenPipeError:
        sys.stdout = None  # whoever read it has left; nothing can be said to them
        code = FAILED
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)
