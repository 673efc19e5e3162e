"""Which trials of a study run or wait."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy import BindParameter, CompoundSelect, Integer, Select, bindparam, select, union_all


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


def unfinished_trials(study: optuna.Study, most_waiting: int | None = None) -> list[Unfinished]:
    """Return the trials that run or wait, running ones first, then by number.

    Optuna's own list brings all that is known of every trial, by half a dozen queries; whoever looks for something to
    do needs their states.

    Args:
        study: The study.
        most_waiting: How many waiting ones to return at most, the first by number; all if None.
    """
    storage = getattr(study._storage, "_backend", study._storage)
    if isinstance(storage, RDBStorage):
        query = _query(is_limited=most_waiting is not None)
        chosen = {"study": study._study_id, "most": most_waiting}
        with storage.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            found = [Unfinished(*row) for row in connection.execute(query, chosen)]
    else:
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
        found = [Unfinished(trial.number, trial._trial_id, trial.state) for trial in trials]
    found.sort(key=lambda trial: (trial.state is TrialState.WAITING, trial.number))
    if most_waiting is None:
        return found
    return found[: most_waiting + sum(trial.state is TrialState.RUNNING for trial in found)]


@cache
def _query(*, is_limited: bool) -> CompoundSelect[Any]:
    most = bindparam("most", type_=Integer) if is_limited else None
    return union_all(_rows(TrialState.RUNNING), _rows(TrialState.WAITING, most))


def _rows(state: TrialState, most: BindParameter[int] | None = None) -> Select[Any]:
    query = select(TrialModel.number, TrialModel.trial_id, TrialModel.state)
    query = query.where(TrialModel.study_id == bindparam("study"), TrialModel.state == state)
    # A part of a union may be ordered and cut off in all databases if it is a query within a query.
    return select(query.order_by(TrialModel.number).limit(most).subquery())
