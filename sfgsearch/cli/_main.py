"""The entry point: commands, and how errors end them."""

from __future__ import annotations

import sys

import click
import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from sfgsearch._faults import explain_os_error, first_line, is_out_of_memory
from sfgsearch._version import __version__
from sfgsearch.cli._bench import bench
from sfgsearch.cli._compare import compare
from sfgsearch.cli._dashboard import dashboard
from sfgsearch.cli._export import export
from sfgsearch.cli._launch import launch
from sfgsearch.cli._run import run
from sfgsearch.cli._show import show
from sfgsearch.cli._status import status
from sfgsearch.cli._worker import worker
from sfgsearch.errors import SFGSearchError

BAD_INPUT, INTERRUPTED = 2, 130
_LONGEST = 4000


@click.group()
@click.version_option(__version__, prog_name="sfgsearch")
def commands() -> None:
    """Search multi-task CNNs: which filters serve one task, which are shared?"""


for command in (run, worker, launch, status, compare, show, dashboard, export, bench):
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 2 for bad input after one line on standard error.

    ``run`` and ``launch`` exit with 1 where something that the study asks for is missing for good.

    Args:
        arguments: What follows the program's name; those of the process if None.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are reported with their reason
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
    except click.ClickException as error:
        _fail(error.format_message())
    except SFGSearchError as error:
        _fail(str(error))
    except (SQLAlchemyError, StorageInternalError) as error:
        _fail(f"{type(error).__name__}: {first_line(error.__cause__ or error)}")
    except Exception as error:
        if is_out_of_memory(error):
            _fail(f"out of memory ({first_line(error)}); free some, or lower training.batch_size")
        if not isinstance(error, OSError):
            raise
        _fail(explain_os_error(error))


def _fail(message: str) -> None:
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in _one_line(message))
    click.echo(f"sfgsearch: {line}", err=True)
    sys.exit(BAD_INPUT)


def _one_line(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} .."
