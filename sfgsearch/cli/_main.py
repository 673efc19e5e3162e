"""The entry point: commands, and how errors end them."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from sfgsearch._exit_status import BAD_INPUT, INTERRUPTED
from sfgsearch._faults import explain_os_error, first_line, is_out_of_memory
from sfgsearch._version import __version__
from sfgsearch.errors import SFGSearchError

_LONGEST = 4000

_COMMANDS = {
    "run": "Create or continue the study, train and record its trials, and compare the winners.",
    "worker": "Join a study: train its trials and finalists, beside any number of other workers, until none is left.",
    "launch": "Train a study with N workers, and compare the winners.",
    "status": "Show how far a study is: quotas, running trials and their workers, failures, and the time left.",
    "compare": "Compare the retrained finalists: test metrics, size, and what the search cost.",
    "show": "Show one trial: allocation by layer, probabilities, metrics and parameters.",
    "dashboard": "Serve optuna-dashboard with the trials of a study, their pictures and the comparison, until Ctrl-C.",
    "export": "Write a recorded network with its trained weights into a file.",
    "bench": "Measure what training costs with this study's network and data on this machine.",
}
"""The first sentences of commands, so that listing them imports none."""


class _LazyGroup(click.Group):
    """Commands in modules of their own names, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"sfgsearch.cli._{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="sfgsearch")
def commands() -> None:
    """Search multi-task CNNs: which filters serve one task, which are shared?"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 2 for bad input after one line on standard error.

    ``run`` and ``launch`` exit with 1 where something that the study asks for is missing for good.

    Args:
        arguments: What follows the program's name; those of the process if None.
    """
    try:
        commands.main(args=arguments, prog_name="sfgsearch", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # of which click thinks that it was typed at a prompt
            _fail(f"EOFError: {error.__cause__}")
        click.echo("sfgsearch: interrupted; the same command continues", err=True)
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        sys.exit(BAD_INPUT)
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        _fail(message)


def _explain(error: Exception) -> str | None:
    """Return what a user should read of an error; None for one that is a fault of this program."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, SFGSearchError):
        return str(error)
    from optuna.exceptions import StorageInternalError  # here, where whatever raised them has loaded them
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, SQLAlchemyError | StorageInternalError):
        return f"{type(error).__name__}: {first_line(error.__cause__ or error)}"
    if is_out_of_memory(error):
        return f"out of memory ({first_line(error)}); free some, or lower training.batch_size"
    return explain_os_error(error) if isinstance(error, OSError) else None


def _fail(message: str) -> None:
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in _one_line(message))
    click.echo(f"sfgsearch: {line}", err=True)
    sys.exit(BAD_INPUT)


def _one_line(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} .."
