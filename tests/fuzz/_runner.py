"""Running a command on a mutated input in a forked child, and judging how it ended."""

import contextlib
import gc
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

MEMORY = 6 << 30
MOST_LINES = 2


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        key: Its seed and number, which make it again.
        what: What was changed.
        study: The study file, in a folder of its own.
        options: What follows it on the command line.
    """

    key: str
    what: str
    study: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a case ended; no problems if as it should."""

    case: Case
    status: int
    seconds: float
    error: str
    problems: tuple[str, ...]


class Child:
    """A forked process that runs one case, its output in files beside the case's folder."""

    def __init__(self, case: Case, timeout: float) -> None:
        self.case, self._timeout, self._began = case, timeout, time.monotonic()
        self._folder = case.study.parent
        self._pid = os.fork()
        if self._pid == 0:
            _run(case, self._output("out"), self._output("err"))

    def _output(self, name: str) -> Path:
        return self._folder.with_name(f"{self._folder.name}.{name}")

    def outcome(self) -> Outcome | None:
        """Return how it ended, None as long as it runs; one that runs too long is killed."""
        done, status = os.waitpid(self._pid, os.WNOHANG)
        seconds = time.monotonic() - self._began
        if not done and seconds < self._timeout:
            return None
        hangs = not done
        if hangs:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
        error = self._output("err").read_text(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        problems = [f"no end after {seconds:.0f} s"] if hangs else self._judge(code, error)
        return Outcome(self.case, code, seconds, error, tuple(problems))

    def clean_up(self) -> None:
        """Remove the case's folder and output."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("out", "err"):
            self._output(name).unlink(missing_ok=True)

    def _judge(self, status: int, error: str) -> list[str]:
        problems = []
        if status not in (0, 1, 2):
            problems.append(f"status {status}")
        if "Traceback" in error or "Traceback" in self._output("out").read_text(errors="replace"):
            problems.append("traceback")
        if "Warning: " in error:
            problems.append("warning of a library")
        lines = len(error.strip().splitlines())
        if status == 2 and not 1 <= lines <= MOST_LINES:
            problems.append(f"{lines} lines")
        if status == 2 and list(self._folder.rglob("study.db")):
            problems.append("refused after the database was made")
        return problems


def _run(case: Case, out: Path, err: Path) -> None:
    """Be the child: run the command and end with its status."""
    from sfgsearch.cli import main

    status = 70
    try:
        os.setsid()
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115 - until it ends
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY,) * 2)
        os.chdir(case.study.parent)
        main(["run", case.study.name, *case.options])
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run_all(cases, *, jobs: int, timeout: float, keep: bool = False):
    """Run cases, so many at once, and yield their outcomes; an offender's folder stays if wanted."""
    gc.freeze()  # children share the pages
    running: list[Child] = []
    waiting = iter(cases)
    while True:
        while len(running) < jobs and (case := next(waiting, None)) is not None:
            running.append(Child(case, timeout))
        if not running:
            return
        for child in list(running):
            outcome = child.outcome()
            if outcome is not None:
                running.remove(child)
                if not (keep and outcome.problems):
                    child.clean_up()
                yield outcome
        time.sleep(0.01)
