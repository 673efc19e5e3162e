"""Code of the user's own that a study file names: data sets, backbones, tasks and methods to register."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sfgsearch._registry import backbones
from sfgsearch.config._toml import show_value
from sfgsearch.errors import ConfigError

if TYPE_CHECKING:
    from sfgsearch.config._models import Config

KEY = "study.imports"


def import_user_code(raw: dict[str, Any], file: Path) -> None:
    """Import what ``study.imports`` and ``backbone.name`` name, each once per process, before names are looked up.

    Args:
        raw: The study file as read. Entries that end in ``.py`` are files, relative to the study file; others are
            modules that Python can import.
        file: The study file.

    Raises:
        ConfigError: If the list is malformed, or something in it is missing or fails.
    """
    study = raw.get("study", {})
    entries = study.get("imports", []) if isinstance(study, dict) else []
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not all(isinstance(e, str) for e in entries):
        raise ConfigError(f"must be a list of modules and Python files, got {show_value(entries)}", file=file, key=KEY)
    for entry in entries:
        _import(entry, file, KEY)
    section = raw.get("backbone", {})
    name = section.get("name") if isinstance(section, dict) else None
    if isinstance(name, str) and ":" in name:
        _register_backbone(name, file)


def imported(config: Config) -> tuple[str, ...]:
    """Return the modules and Python files whose code a study file names."""
    module, colon, _ = config.backbone.name.partition(":")
    return (*config.study.imports, module) if colon else config.study.imports


def _register_backbone(name: str, file: Path) -> None:
    """Register the function of a backbone that is named by module or file and function, ``"package.module:function"``.

    Raises:
        ConfigError: If there is no such function.
    """
    entry, _, function = name.partition(":")
    part = getattr(_import(entry, file, "backbone.name"), function, None)
    if not callable(part):
        raise ConfigError(f"{entry!r} has no function {function!r}", file=file, key="backbone.name")
    backbones.register(name, again=True)(part)  # studies of two folders may have a file of the same name


def _import(entry: str, file: Path, key: str) -> ModuleType:
    try:
        if entry.endswith(".py"):
            return _import_file((file.parent / entry).resolve())
        return importlib.import_module(entry)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot import {entry!r}: {reason}", file=file, key=key) from error


def import_digests(entries: Iterable[str], file: Path) -> dict[str, str]:
    """Return the SHA-256 of the code behind each entry of ``study.imports``; none for those without source files.

    Args:
        entries: Files and modules that were imported; of a package, all of its files count.
        file: The study file.
    """
    digests = {}
    for entry in entries:
        sources = [file.parent / entry] if entry.endswith(".py") else _sources(sys.modules.get(entry))
        try:
            contents = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
        except OSError:  # it was imported, and is gone since
            continue
        if contents:
            digests[entry] = hashlib.sha256("".join(contents).encode()).hexdigest()
    return digests


def _sources(module: ModuleType | None) -> list[Path]:
    """Return the files of a module or package, in the order of their paths."""
    folders = getattr(module, "__path__", None)
    if folders is not None:
        return sorted(source for folder in folders for source in Path(folder).rglob("*.py"))
    source = getattr(module, "__file__", None)
    return [Path(source)] if source else []


def _import_file(path: Path) -> ModuleType:
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or (path.exists() and not path.is_file()):
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
