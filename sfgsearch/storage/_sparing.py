"""Optuna's storage in a database, without reading again what waits."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import or_, select


class SparingStorage(RDBStorage):
    """Optuna's storage, which reads a waiting trial once.

    Whoever asks Optuna for the trials of a study, which samplers do several times per trial, makes it read all that are
    not finished anew, with everything that is known of them: in a study of hundreds of waiting trials that costs more
    than all other uses of the database. But a trial that waits does not change, until it runs; and every beginning of a
    run leaves its time in the trial, whether it waits again since or not.

    Args:
        arguments: As for :class:`optuna.storages.RDBStorage`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._waiting: dict[int, tuple[datetime | None, FrozenTrial]] = {}

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return the trials of some ids and of all above one; Optuna's own method reads those that may have changed."""
        if states is not None:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        unchanged: list[FrozenTrial] = []
        changed: dict[int, datetime | None] = {}
        for number, state, begun in self._glance(study_id, included_trial_ids, trial_id_greater_than):
            earlier = self._waiting.get(number)
            if earlier and state is TrialState.WAITING and earlier[0] == begun:
                unchanged.append(earlier[1])
            else:
                self._waiting.pop(number, None)
                changed[number] = begun
        last = max([*changed, *(trial._trial_id for trial in unchanged), trial_id_greater_than])
        read = super()._get_trials(study_id, None, set(changed), last)
        for trial in read:
            if trial.state is TrialState.WAITING and trial._trial_id in changed:
                self._waiting[trial._trial_id] = changed[trial._trial_id], trial
        return sorted([*unchanged, *read], key=lambda trial: trial._trial_id)

    def _glance(self, study_id: int, included: set[int], above: int) -> list[Any]:
        """Return id, state and the last beginning of the same trials, which is one query and no more."""
        query = select(TrialModel.trial_id, TrialModel.state, TrialModel._datetime_start_utc)
        chosen = or_(TrialModel.trial_id.in_(included), TrialModel.trial_id > above)
        with self.engine.connect() as connection:
            return list(connection.execute(query.where(TrialModel.study_id == study_id, chosen)))
