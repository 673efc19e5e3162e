"""The small form of ``python -m tests.fuzz``."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc"),
]


@pytest.mark.parametrize(("kind", "cases"), [("studies", 8), ("data", 6)])
def test_mutated_inputs_end_with_a_status_and_a_line(kind, cases):
    command = [sys.executable, "-m", "fuzz", "--kind", kind, "--cases", str(cases), "--seed", "12", "--jobs", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"0 of {cases} ended as they should not" in done.stdout
