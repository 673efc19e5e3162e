"""Which trials of a study run or wait."""

from __future__ import annotations

from typing import NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy import select


class Unfinished(NamedTuple):
    """A trial that runs or waits.

    Args:
        number: Its number.
        id: Optuna's id of it in the database.
        state: Whether it runs or waits.
    """

    number: int
    id: int
    state: TrialState


_STATES = (TrialState.RUNNING, TrialState.WAITING)


def unfinished_trials(study: optuna.Study) -> list[Unfinished]:
    """Return the trials that run or wait, running ones first, then by number.

    Optuna's own list brings all that is known of every trial, by half a dozen queries; whoever looks for something to
    do needs their states.

    Args:
        study: The study.
    """
    storage = getattr(study._storage, "_backend", study._storage)
    if isinstance(storage, RDBStorage):
        query = select(TrialModel.number, TrialModel.trial_id, TrialModel.state)
        query = query.where(TrialModel.study_id == study._study_id, TrialModel.state.in_(_STATES))
        with storage.engine.connect() as connection:
            found = [Unfinished(*row) for row in connection.execute(query)]
    else:
        trials = study.get_trials(deepcopy=False, states=_STATES)
        found = [Unfinished(trial.number, trial._trial_id, trial.state) for trial in trials]
    return sorted(found, key=lambda trial: (trial.state is TrialState.WAITING, trial.number))
