"""Arguments, options, the study and the console that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import optuna
from rich.console import Console

from sfgsearch.config import Config, load_config
from sfgsearch.errors import ConfigError
from sfgsearch.reporting import WIDEST
from sfgsearch.search import load_study, study_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are reported with their reason

F = TypeVar("F", bound=Callable[..., Any])


class Whole(click.IntRange):
    """A whole number in ASCII digits, between bounds if there are any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or end the command."""
        if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        return int(super().convert(value, param, ctx))


class Number(click.FloatRange):
    """A finite number in ASCII characters, between bounds if there are any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or end the command."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number) or not str(value).isascii():
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


study_file = click.argument("study_file", metavar="STUDY.toml", type=click.Path(path_type=Path))
storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="SFGSEARCH_STORAGE",
    help="Database URL instead of the study file's; the environment variable SFGSEARCH_STORAGE does the same.",
)
data_option = click.option(
    "--data", metavar="PATH", type=click.Path(path_type=Path), help="Where the data are, instead of data.path."
)
retry_option = click.option(
    "--retry-failed", is_flag=True, help="Give trials and finalists that failed for good another chance first."
)
SEED = Whole(0, 2**32 - 1)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")


def read_study(
    path: Path,
    *,
    trials: int | None = None,
    seed: int | None = None,
    storage: str | None = None,
    data: Path | None = None,
    device: str | None = None,
) -> Config:
    """Read a study file and apply what the command line changes.

    Raises:
        ConfigError: If the file or an option is bad.
    """
    config = load_config(path)
    try:
        return config.with_overrides(trials=trials, seed=seed, storage=storage, data=data, device=device)
    except ValueError as error:
        raise ConfigError(str(error), file=path) from error


@contextmanager
def existing_study(config: Config) -> Iterator[optuna.Study]:
    """Open the study of a study file for reading, wherever it is, in the block.

    Raises:
        StudyError: If there is none.
    """
    with study_storage(config) as url:
        yield load_study(config, url)


def result_console() -> Console:
    """Return the console of standard output; files and pipes are as wide as tables need."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDEST
    return console
