"""The data of a study as the seeds of its comparison divide them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sfgsearch.config import Config, load_data
from sfgsearch.data import MultiTaskData
from sfgsearch.errors import ConfigError


@dataclass
class DividedData:
    """Loads data as seeds divide them, and keeps the study's own and the last others.

    Args:
        config: The study file.
        own: The study's own data, divided by its seed.
    """

    config: Config
    own: MultiTaskData
    _last: Mapping[int, MultiTaskData] = field(default_factory=dict, repr=False)

    def by(self, seed: int) -> MultiTaskData:
        """Return the data as a seed divides them.

        Raises:
            ConfigError: If they lack then what training or measuring needs, such as a task's labels in a split.
        """
        if seed == self.config.study.seed:
            return self.own
        if seed not in self._last:
            self._last = {}  # before others take memory
            try:
                self._last = {seed: load_data(self.config, seed)}
            except ConfigError as error:
                reason = f'with seed {seed}: {error.message}; comparison.splits = "study" keeps the study\'s own splits'
                raise ConfigError(reason, file=error.file, key=error.key) from error
        return self._last[seed]
