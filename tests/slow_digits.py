"""A data set for study files whose training can be held up from outside: ``study.imports`` names this file."""

import time
from dataclasses import replace
from pathlib import Path

from sfgsearch.data import InMemory, data_sets


class _Slow(InMemory):
    """Takes as many seconds longer for an epoch as a file says, while there is one."""

    def __init__(self, split, pause):
        super().__init__(split.images, split.targets)
        self._pause = pause

    def begin_epoch(self, _generator):
        time.sleep(float(self._pause.read_text()) if self._pause.exists() else 0.0)


@data_sets.register("slow_digits")
def slow_digits(seed: int, *, pause: str):
    """Return the pairs of digits; ``pause`` is the file that says how many seconds an epoch takes longer."""
    data = data_sets["digit_pairs"](seed, pairs_per_digit=1)
    return replace(data, train=_Slow(data.train, Path(pause)))
