"""Reading study files."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sfgsearch.config._bounds import Name
from sfgsearch.config._imports import import_user_code
from sfgsearch.config._models import Config
from sfgsearch.config._toml import read_toml, show_value
from sfgsearch.config._validation import first_error
from sfgsearch.errors import ConfigError


def load_config(path: str | Path) -> Config:
    """Read a study file (TOML).

    Args:
        path: The study file.

    Raises:
        ConfigError: If the file is missing or no TOML, what it imports fails, or a key is unknown, missing or has a
            value that is not allowed; the error names file, key, value and what is allowed.
    """
    path = Path(path)
    raw = read_toml(path)
    import_user_code(raw, path)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise first_error(error, Config, raw, path) from None
    config._path = path
    _check_names(config)
    _check_finalists(config)
    if config.quota.refined and not config.quota.learned:
        raise ConfigError(
            "refined trials start from learned ones; set quota.learned to at least 1",
            file=config.path,
            key="quota.refined",
        )
    if config.comparison.controls and config.comparison.match == "none":
        raise ConfigError(
            'compares at equal multiply-adds; set comparison.match = "macs", or leave controls out',
            file=path,
            key="comparison.controls",
        )
    return config


def _check_finalists(config: Config) -> None:
    """Check that a comparison asks for no more finalists of a kind than the kind has trials."""
    for kind, number in config.finalists.items():
        trials = config.budget[kind]
        if trials < number:
            raise ConfigError(
                f"asks for {number} finalists, and the study has {trials} {kind} "
                f"trial{'' if trials == 1 else 's'}; lower it, or ask for more trials",
                file=config.path,
                key=f"comparison.{kind}",
            )


def _check_names(config: Config) -> None:
    """Check the study's name and folder where the file's own name stands for them."""
    try:
        TypeAdapter(Name).validate_python(config.name)
    except ValidationError:
        raise ConfigError(
            f"the file's name {config.name!r} cannot be a study's, which has 1 to 200 printable characters and no "
            "blanks at its ends; set study.name",
            file=config.path,
            key="study.name",
        ) from None
    try:
        is_taken = config.folder.exists() and not config.folder.is_dir()
        str(config.folder).encode()  # for the URL of a database in it
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no UTF-8 or no path at all"
        raise ConfigError(
            f"{show_value(str(config.folder))}: {reason}", file=config.path, key="study.folder"
        ) from error
    if is_taken:
        raise ConfigError(
            f"{config.folder} is a file; set study.folder to a folder, which need not be there yet",
            file=config.path,
            key="study.folder",
        )
