"""The objective that plain ``study.optimize`` accepts."""

from __future__ import annotations

from collections.abc import Sequence

from sfgsearch.config import Config
from sfgsearch.reporting._trial_page import TrialPages
from sfgsearch.search import PlainObjective, TrialHooks


class Objective(PlainObjective):
    """Trains the candidate that a trial asks for and returns its relative error on the validation split.

    Works with any sampler, pruner and callbacks. The kind is the categorical parameter ``kind``: enqueued trials of
    :func:`sfgsearch.create_study` fix it, in a study of your own the sampler chooses it. A trial in a study that
    is in a database is recorded there, and has a page in optuna-dashboard: pictures, a table of its layers and a note.

    Args:
        config: The study file.
        hooks: Are called at the ends of epochs and trials, after those that make the pages.

    Raises:
        ConfigError: If data, network or manual candidates of the study file cannot be built.
    """

    def __init__(self, config: Config, hooks: Sequence[TrialHooks] = ()) -> None:
        super().__init__(config, [TrialPages(has_pictures=config.review.pictures), *hooks])
