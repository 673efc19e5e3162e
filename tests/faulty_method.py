"""A manual method whose trainings can be made to fail from outside: ``study.imports`` names this file."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from sfgsearch.allocation import Allocation
from sfgsearch.methods import FixedAllocation, manual_methods


@dataclass(frozen=True)
class Faulty(FixedAllocation):
    """Fails, or kills its process, as long as a file says so."""

    switch: Path = Path()
    role: str = "trials"

    def build(self, spec, randomness, device):
        told = self.switch.read_text() if self.switch.exists() else ""
        if told == f"{self.role} die":
            os.kill(os.getpid(), signal.SIGKILL)
        if told == f"{self.role} fail":
            raise RuntimeError("broken on purpose")
        return super().build(spec, randomness, device)

    def retraining(self, structure):
        del structure
        return replace(self, role="finalists")


@manual_methods.register("faulty")
def faulty(spec, *, switch: str):
    """Return a method like equal parts; ``switch`` is the file that says what fails."""
    return Faulty(Allocation.equal(spec.filters, spec.task_names), switch=Path(switch))
