"""Run the command line as ``python -m sfgsearch``."""

from sfgsearch.cli import main

main()
