"""Reading the trials of a study again and again, without those that wait."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime

from optuna.storages._rdb.models import NOT_FOUND_MSG, StudyModel, TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, or_, select

from sfgsearch.storage._trial_rows import TrialRow, read_rows, read_trials, rows_where

_FEW = 50
"""Ids that are written down; a range of more is read faster, even if trials lie in it that nobody asked for."""

_MAY_DIFFER = or_(
    TrialModel.state != TrialState.WAITING,
    TrialModel._datetime_start_utc.is_not(None),
    TrialModel.trial_id > bindparam("known"),
)
_OF_STUDY = rows_where(TrialModel.study_id == bindparam("study"), _MAY_DIFFER)
_RANGE = _OF_STUDY.where(TrialModel.trial_id >= bindparam("first"))
_SOME = _OF_STUDY.where(
    or_(TrialModel.trial_id.in_(bindparam("ids", expanding=True)), TrialModel.trial_id > bindparam("above"))
)


class StudyTrials:
    """The trials of one study, which keeps those that wait.

    A trial that waits does not change until it runs, and every beginning of a run leaves its time in the trial, whether
    it waits again since or not. Ids grow in the order in which trials are created, for which Optuna locks the study. So
    the database is asked neither for what belongs to a waiting trial that is known, nor, if it never ran, for its row.

    Args:
        study_id: Optuna's id of the study.
    """

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self._waiting: dict[int, tuple[datetime | None, FrozenTrial]] = {}

    def read(self, connection: Connection, included: AbstractSet[int], above: int) -> list[FrozenTrial]:
        """Return the trials of some ids and of all above one, by id.

        Args:
            connection: A connection.
            included: Ids.
            above: All ids above this one.

        Raises:
            KeyError: If there is no such study.
        """

        def is_asked_for(number: int) -> bool:
            return number > above or number in included

        rows = self._rows(connection, included, above)
        changed = [row for row in rows if is_asked_for(row.id) and not self._is_as_before(row)]
        read = {trial._trial_id: trial for trial in read_trials(connection, changed)}
        for row in changed:
            self._waiting.pop(row.id, None)
            if row.state is TrialState.WAITING:
                self._waiting[row.id] = row.begun, read[row.id]
        found = {number: trial for number, (_, trial) in self._waiting.items() if is_asked_for(number)} | read
        return [found[number] for number in sorted(found)]

    def _rows(self, connection: Connection, included: AbstractSet[int], above: int) -> list[TrialRow]:
        """Return the rows of these trials, perhaps of some between them, but of no known one that never ran."""
        chosen = {"study": self._study_id, "known": max(self._waiting, default=0)}
        if len(included) > _FEW:
            rows = read_rows(connection, _RANGE, {**chosen, "first": min(*included, above + 1)})
        else:
            rows = read_rows(connection, _SOME, {**chosen, "ids": list(included), "above": above})
        if (
            not rows
            and connection.execute(select(StudyModel.study_id).filter_by(study_id=self._study_id)).first() is None
        ):
            raise KeyError(NOT_FOUND_MSG)
        return rows

    def _is_as_before(self, row: TrialRow) -> bool:
        """Tell whether a trial waits as it did when it was read."""
        earlier = self._waiting.get(row.id)
        return earlier is not None and row.state is TrialState.WAITING and earlier[0] == row.begun
