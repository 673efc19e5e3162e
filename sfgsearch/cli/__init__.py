"""The command line."""

from sfgsearch.cli._main import main

__all__ = ["main"]
