import pytest

from sfgsearch.cli import main


@pytest.fixture
def call(capsys, monkeypatch):
    """Return a function that runs a command and returns its exit status, standard output and standard error."""
    monkeypatch.delenv("SFGSEARCH_STORAGE", raising=False)

    def call(*arguments):
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call
