"""A hook from a function."""

from sfgsearch.search import TrialHooks


class EpochHook(TrialHooks):
    """Calls a function at the ends of epochs."""

    def __init__(self, call):
        self._call = call

    def on_epoch(self, number, name, report):
        self._call(number, name, report)
